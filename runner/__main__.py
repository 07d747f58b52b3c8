"""Arm the exit shim, start, leave: the entry of the command ``arun`` and of ``python -m runner``."""

from __future__ import annotations

from runner import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run one instance; the process ends, or becomes its fallback, in here."""
    exits.arm()  # before any import that registers a hook of its own: the first registered runs last
    from runner import start

    start.main()


if __name__ == "__main__":
    main()
