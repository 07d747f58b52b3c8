"""Which event loop serves, and how it is closed."""

from __future__ import annotations

import os
import sys
import time

from arun.core.failures import LOOP_UNAVAILABLE, StartupFailure
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

__all__ = ("close", "import_asyncio_without_tls", "new_loop")

#: Descriptors that a loop of uvloop opens, and some more.
_DESCRIPTORS = 10


def import_asyncio_without_tls() -> None:
    """Import asyncio as on a Python that was built without OpenSSL, which it provides for; ``ssl`` itself stays free.

    OpenSSL is a tenth of the time and a fifth of the memory of a start. Only for a process that runs no code of an
    app's and serves no TLS.
    """
    if "ssl" not in sys.modules and "asyncio" not in sys.modules:
        sys.modules["ssl"] = None  # type: ignore[assignment] # what the import system documents for "there is none"
        try:
            import asyncio  # noqa: F401
        finally:
            del sys.modules["ssl"]


def new_loop(name: str, *, origin: str = "") -> asyncio.AbstractEventLoop:
    """Return a new loop: "uvloop", "asyncio", or "auto" for uvloop where it works and has TLS, which it needs.

    Raises:
        StartupFailure(LOOP_UNAVAILABLE): "uvloop" is asked for, and cannot be imported or makes no loop.
    """
    import asyncio

    if name == "uvloop" or (name == "auto" and "ssl" in sys.modules):
        try:
            import uvloop

            _need_descriptors()
            return uvloop.new_event_loop()
        except Exception as error:  # a broken library raises anything, and asyncio serves as well
            reason = f"uvloop cannot be used: {type(error).__name__}: {error}"
            if name == "uvloop":
                raise StartupFailure(LOOP_UNAVAILABLE, reason, origin=origin) from error
            logs.warning(f"{reason}; asyncio serves")
    return asyncio.new_event_loop()


def _need_descriptors() -> None:
    """Make sure that there are descriptors for a loop: libuv aborts the process where it gets none for its own.

    Raises:
        OSError: there are not.
    """
    held: list[int] = []
    try:
        while len(held) < _DESCRIPTORS:
            held.append(os.dup(0))
    finally:
        for fd in held:
            os.close(fd)


def close(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Close a loop as ``asyncio.run`` does, within so many seconds; what it fails with is told, and nothing raised.

    Tasks that are left are cancelled and awaited, then asynchronous generators and the default executor are shut down.
    """
    if loop.is_running() or loop.is_closed():
        return
    try:
        if loop.run_until_complete(_end(loop, seconds)):
            loop.close()
    except BaseException as error:  # noqa: BLE001 - an app may raise SystemExit in there: the process ends in any case
        logs.warning(f"the event loop could not be closed: {type(error).__name__}: {error}")


async def _end(loop: asyncio.AbstractEventLoop, seconds: float) -> bool:
    """End what is left on the loop; return False if the time was too short."""
    import asyncio

    ends = time.monotonic() + seconds
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        ended, tasks = await asyncio.wait(tasks, timeout=seconds)
        for task in ended:
            if not task.cancelled() and (error := task.exception()) is not None:
                told = {"message": "a task that was left at the stop failed", "exception": error, "task": task}
                loop.call_exception_handler(told)
        for task in tasks:
            logs.warning(f"{task.get_name()} of the app was cancelled at the stop, and goes on")
    for step in (loop.shutdown_asyncgens, loop.shutdown_default_executor):
        ending = asyncio.ensure_future(
            step()
        )  # and no wait_for: the executor joins its threads also when it is cancelled
        await asyncio.wait({ending}, timeout=max(0.0, ends - time.monotonic()))
        if not ending.done():
            return False
        ending.result()
    return not tasks
