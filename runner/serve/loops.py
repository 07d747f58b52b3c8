"""Which event loop serves."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

__all__ = ("new_loop",)


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """Return a new loop: "uvloop", "asyncio", or "auto" for uvloop where it is installed."""
    import asyncio

    if name != "asyncio":
        try:
            import uvloop

            return uvloop.new_event_loop()
        except ImportError:
            if name == "uvloop":
                raise
    return asyncio.new_event_loop()
