"""An app with some 40 MB of objects of its own: what several workers of it hold, with and without a common import."""

from __future__ import annotations

from asgi_hello import app

__all__ = ("HELD", "app")

#: A table as an app may load it: a key, and a record of several fields.
HELD = {f"key {number}": (number, f"value {number}", [float(number)]) for number in range(115_000)}
