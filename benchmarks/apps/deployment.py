"""What the apps of chaos.py share: a deployment that may be broken, and an answer that names who gave it.

The deployment is a file that is read when the app is imported, so that no cached bytecode stands between a reload and
what was deployed.
"""

from __future__ import annotations

import os

with open("deployed", encoding="ascii") as _file:
    DEPLOYED = _file.read().strip()
if DEPLOYED == "broken" and "ARUN_PROBE" not in os.environ:  # so that the fallback goes back to it
    raise RuntimeError("this deployment is broken on purpose")

#: What an answer ends with, that is long enough to be cut, and the pieces of one that takes its time, each of which has
#: a pause before it: no app goes on when its client has the whole answer.
FILLER = b"0123456789abcdef" * 1024
#: How often an answer repeats that, by its path: a large one for clients that read slowly, one of 50 MB for its memory.
REPEATED = {"/large": 512, "/huge": 3200}
PIECES, PAUSE = 5, 0.04


def answer(received: int, path: str) -> bytes:
    """Return the body of an answer to a request for a path with so many bytes."""
    return b"%s %d %d %s" % (DEPLOYED.encode(), os.getpid(), received, FILLER * REPEATED.get(path, 1))


def pieces(body: bytes) -> list[bytes]:
    """Return the body in the pieces of an answer that takes its time."""
    size = -(-len(body) // PIECES)
    return [body[begin : begin + size] for begin in range(0, len(body), size)]
