"""Standard streams that are closed, full or without a reader: they neither hold a start back nor mix with its sockets."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SAFE = "[arun]\nbind = {address}\n"
OWN = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'own']\n"
CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-", "stdin and stdout": "<&- >&-"}


@pytest.mark.parametrize("closing", CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize("named", ["own.py", "gone.py"], ids=["app", "fallback"])
def test_closed_streams_are_dev_null_and_never_a_socket(arun: Any, named: str, closing: str) -> None:
    """A stray print of the app must not reach a client, so no socket may get the number of a stream."""
    arun.write("own.py", OWN)
    arun.write("safe.ini", SAFE)
    command = ["sh", "-c", f'exec "$@" {closing}', "sh", str(arun.command)]
    instance = arun(named, "--bind", "{address}", "--fallback-config", "safe.ini", command=command)
    assert instance.eventually().status == (200 if named == "own.py" else 503)
    open_files = instance.descriptors()
    streams = [number for number, mark in enumerate(("<&-", ">&-", "2>&-")) if mark in closing.split()]
    assert [open_files[number] for number in streams] == ["/dev/null"] * len(streams)
    assert [open_files[number] for number in range(3) if open_files[number].startswith("socket:")] == []
    assert instance.stop() == 0


@pytest.mark.parametrize("streams", [("stdout",), ("stderr",), ("stdout", "stderr")], ids="+".join)
def test_full_pipe_without_a_reader_does_not_hold_the_fallback_back(arun: Any, streams: tuple[str, ...]) -> None:
    """The page answers within seconds, although not one more byte can be written; buffered output is given up."""
    arun.write("broken.py", "print('in the buffer')\n1 / 0\n")
    arun.write("safe.ini", SAFE + "print = safe\n")
    with full_pipe() as pipe:
        began = time.monotonic()
        command = ["broken.py", "--bind", "{address}", "--fallback-config", "safe.ini"]
        instance = arun(*command, **dict.fromkeys(streams, pipe))
        assert instance.eventually().status == 503
        assert time.monotonic() - began < 15
        assert instance.argv()[-1] == str(arun.folder / "safe.ini")
        assert instance.stop() == 0


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_pipe_whose_reader_is_gone_does_not_end_an_instance(arun: Any, stream: str) -> None:
    arun.write("broken.py", "print('without a reader', flush=False)\n1 / 0\n")
    arun.write("safe.ini", SAFE)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        instance = arun("broken.py", "--bind", "{address}", "--fallback-config", "safe.ini", **{stream: writing})
    finally:
        os.close(writing)
    assert instance.eventually().status == 503
    assert instance.stop() == 0


def test_what_the_app_printed_is_not_lost(arun: Any) -> None:
    """Buffered output of the failed start comes out before the process becomes another."""
    arun.write("broken.py", "import sys\nprint('to stdout', end='')\n1 / 0\n")
    arun.write("safe.ini", SAFE)
    with open(arun.folder / "out", "wb") as out:
        instance = arun("broken.py", "--bind", "{address}", "--fallback-config", "safe.ini", stdout=out).ready()
    assert (arun.folder / "out").read_text() == "to stdout"
    assert instance.fallbacks() == ["safe.ini"]


def test_full_device_does_not_hold_the_fallback_back(arun: Any) -> None:
    arun.write("broken.py", "print('no room for this')\n1 / 0\n")
    arun.write("safe.ini", SAFE)
    with open("/dev/full", "wb") as full:
        instance = arun("broken.py", "--bind", "{address}", "--fallback-config", "safe.ini", stdout=full, stderr=full)
    assert instance.eventually().status == 503


@contextlib.contextmanager
def full_pipe() -> Iterator[int]:
    """The writing end of a pipe that has no room left and whose reader does not read."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("options", [("--preload",), ("--supervise",)], ids=" ".join)
def test_what_an_app_has_in_a_buffer_is_written_once_however_many_workers_are_forked(
    arun: Any, options: tuple[str, ...]
) -> None:
    """By ``print``, into a file of its own, and by C code into the stream of C."""
    arun.write(
        "shop.py",
        """
import ctypes, os
print("printed", os.getpid())
kept = open("kept", "a")
kept.write("written\\n")
ctypes.PyDLL(None).printf(b"by C\\n")

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
""",
    )
    out = arun.folder / "out"
    workers = 3 if options == ("--preload",) else 1
    with out.open("wb") as stdout:
        instance = arun("shop.py", "--bind", "{address}", "--workers", str(workers), *options, stdout=stdout).ready()
    instance.wait_for("serving shop.py")
    assert instance.stop() == 0
    assert out.read_text().count("printed") == 1
    if workers > 1:  # else no process forks with the app in it, and os._exit drops what is C's
        assert out.read_text().count("by C") == 1
        assert (arun.folder / "kept").read_text() == "written\n"
