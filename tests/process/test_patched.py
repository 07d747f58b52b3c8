"""Apps that exchange Python's threads, locks and waiting for their own, as gevent and eventlet do when they patch."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.process.conftest import Starter

BIND = ("--bind", "{address}")
#: Threads that run only when another one yields to them, and locks that belong to the thread which made them.
PATCHED = """
import _thread, queue, select, selectors, threading, time
own, genuine = _thread.get_ident, _thread.allocate_lock

class Lock:
    def __init__(self):
        self.lock, self.maker = genuine(), own()
    def acquire(self, *arguments, **more):
        if own() != self.maker:
            raise RuntimeError("cannot switch to a different thread")
        return self.lock.acquire(*arguments, **more)
    def release(self):
        self.lock.release()
    def locked(self):
        return self.lock.locked()
    def _at_fork_reinit(self):
        self.lock, self.maker = genuine(), own()
    __enter__ = acquire
    def __exit__(self, *raised):
        self.release()

def start(*arguments, **more):
    return 1

class Queue(list):
    put = list.append
    def get(self):
        raise RuntimeError("no hub runs here")

_thread.start_new_thread = start
for name in ("_start_new_thread", "_start_joinable_thread"):
    if hasattr(threading, name):
        setattr(threading, name, start)
_thread.allocate_lock = threading._allocate_lock = threading.Lock = Lock
queue.SimpleQueue = Queue
del select.poll, select.epoll, selectors.PollSelector
threading.Thread.start = start

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    yield b"%d " % len(body)
    yield b"x" * 300_000  # more than is handed over without a word of the loop's
"""


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--loop", "uvloop"),
        ("--threads", "0"),
        ("--workers", "2"),
        ("--timeout-request", "20"),
        ("--preload", "--supervise"),
    ],
    ids=" ".join,
)
def test_an_app_that_exchanges_threads_and_locks_is_answered(arun: Starter, options: tuple[str, ...]) -> None:
    arun.write("shop.py", PATCHED)
    instance = arun("shop.py", *BIND, *options).ready()
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: instance.get(), range(16)))
    assert {(answer.status, answer.body[:2], len(answer.body)) for answer in answers} == {(200, b"0 ", 300_002)}
    assert instance.stop() == 0


def test_such_an_app_that_cannot_be_imported_is_answered_for(arun: Starter) -> None:
    arun.write("shop.py", f"{PATCHED}\nimport nowhere\n")
    instance = arun("shop.py", *BIND, "--fallback-config", "welcome").ready()
    assert instance.get().status == 503
    assert instance.failures() == ["app-dependency-missing"]
    assert instance.stop() == 0
