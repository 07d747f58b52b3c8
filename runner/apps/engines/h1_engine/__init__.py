"""The h1 engine: ASGI and WSGI apps over HTTP/1.1, an asyncio.Protocol over httptools. It knows nothing of aiohttp."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
