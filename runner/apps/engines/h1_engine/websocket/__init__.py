"""WebSockets (RFC 6455, RFC 7692) for ASGI apps; nothing here is imported before the first upgrade asks for it."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
