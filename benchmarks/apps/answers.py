"""What the apps under load answer, the same bytes whatever the kind of app: what is measured is the server."""

from __future__ import annotations

import json

HELLO = b"hello"
JSON = json.dumps([{"id": n, "name": f"item {n:05}", "in stock": True} for n in range(19)]).encode().ljust(1024)
CHUNK = b"0123456789abcdef" * 4096
CHUNKS = 16

#: Media type and body of what is answered at once, by path.
ANSWERS = {"/": ("text/plain", HELLO), "/json": ("application/json", JSON)}
