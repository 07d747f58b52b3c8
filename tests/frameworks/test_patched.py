"""WSGI apps that gevent or eventlet has patched: every request is answered, whatever serves it."""

from __future__ import annotations

import concurrent.futures
import importlib.util
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Starter

PATCHES = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
    "eventlet": "import warnings\nwarnings.simplefilter('ignore')\nimport eventlet\neventlet.monkey_patch()\n",
}
APP = """
import threading, time

def app(environ, start_response):
    time.sleep(0.01)
    done = []
    thread = threading.Thread(target=lambda: done.append(len(environ["wsgi.input"].read())))
    thread.start()
    thread.join(10)
    start_response("200 OK", [])
    return [repr(done).encode()]
"""


@pytest.mark.parametrize(
    "options",
    [(), ("--loop", "asyncio"), ("--threads", "0"), ("--workers", "2"), ("--timeout-request", "20")],
    ids=" ".join,
)
@pytest.mark.parametrize("name", PATCHES)
def test_a_patched_app_answers_every_request(arun: Starter, name: str, options: tuple[str, ...]) -> None:
    if importlib.util.find_spec(name) is None:  # and no import: eventlet's warns of each fork
        pytest.skip(f"needs {name}")
    arun.write("shop.py", PATCHES[name] + APP)
    instance = arun("shop.py", "--bind", "{address}", *options).ready()
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: instance.get(), range(24)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"[0]")}
    assert instance.stop() == 0
