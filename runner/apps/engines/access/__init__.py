"""The access log: entries, their formats, and how both become lines."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
