"""What ends an outage, for start.py: the app is mended on disk, or what it had waited for answers."""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import contextmanager

import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

__all__ = ("WAYS", "answer_of_primary", "broken", "mended")

#: How a fallback learns that its primary would start: a file has changed, or an address answers.
WAYS = ("watch", "cause")
#: Seconds that the outage lasts, so that the fallback has tried its primary before: longer than a start takes.
OUTAGE = 1.5
#: An app whose start-up needs a server, and is otherwise the one that says hello.
_NEEDS = """
import asyncio
import asgi_hello

async def app(scope, receive, send):
    async def received():
        event = await receive()
        if event["type"] == "lifespan.startup":
            await asyncio.open_connection("127.0.0.1", {port})
        return event

    await asgi_hello.app(scope, received, send)
"""


def broken(way: str, folder: str) -> int:
    """Put an app into the folder that cannot start, ``mending.py``; return the port that it needs."""
    needed = instances.free_port()
    if way == "watch":
        shutil.copy(os.path.join(folder, "broken.py"), os.path.join(folder, "mending.py"))
    else:
        with open(os.path.join(folder, "mending.py"), "w", encoding="ascii") as app:
            app.write(_NEEDS.format(port=needed))
    return needed


@contextmanager
def mended(way: str, folder: str, needed: int) -> Iterator[float]:
    """Let the outage last for a while, then end it; yield the moment of that."""
    time.sleep(OUTAGE)
    fresh = os.path.join(folder, "fresh.py")
    shutil.copy(os.path.join(folder, "asgi_hello.py"), fresh)
    if way == "watch":
        begin = time.perf_counter()
        os.replace(fresh, os.path.join(folder, "mending.py"))
        yield begin
        return
    begin = time.perf_counter()
    with socket.create_server(("127.0.0.1", needed)):
        yield begin


def answer_of_primary(process: subprocess.Popen[bytes], port: int, limit: float) -> instances.Answer:
    """Ask again and again until the primary answers: the fallback never refuses, and answers 503."""
    end = time.perf_counter() + limit
    while (answer := instances.first_answer(process, port, limit)).status != 200:
        if time.perf_counter() > end:
            raise TimeoutError(f"the fallback still answers after {limit} s")
        time.sleep(instances.PAUSE)
    return answer
