"""Which event loop serves."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

__all__ = ("import_asyncio_without_tls", "new_loop")


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


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """Return a new loop: "uvloop", "asyncio", or "auto" for uvloop where it is installed and has TLS, which it needs."""
    import asyncio

    if name == "uvloop" or (name == "auto" and "ssl" in sys.modules):
        try:
            import uvloop

            return uvloop.new_event_loop()
        except ImportError:
            if name == "uvloop":
                raise
    return asyncio.new_event_loop()
