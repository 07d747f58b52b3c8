"""Arm the exit shim, start, leave: the entry of the command ``arun`` and of ``python -m arun``."""

from __future__ import annotations

import gc
import signal

from arun.core import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run one instance; the process ends, or becomes its fallback, in here."""
    collector = gc.get_threshold()
    gc.set_threshold(50_000)  # imports make little garbage, and looking for it is a tenth of a start
    # Until the handlers stand, in install(): process 1 of a container does not even get what it has no handler for.
    asking = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, *asking))
    exits.arm()  # before any import that registers a hook of its own: the first registered runs last
    from arun.lifecycle import start

    start.main(collector)


if __name__ == "__main__":
    main()
