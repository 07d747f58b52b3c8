"""Arm the exit shim, start, leave: the entry of the command ``arun`` and of ``python -m arun``."""

from __future__ import annotations

import sys

from arun import COMMANDS, __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run one instance; the process ends, or becomes its fallback, in here. Or run a command, and end with its status."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        from arun.commands import entry

        raise SystemExit(entry.run(sys.argv[1], sys.argv[2:]))
    _serve()


def _serve() -> NoReturn:
    """Run one instance."""
    import gc  # a command does without all of these, and is to be quick
    import signal
    from functools import partial

    from arun.core import exits

    gc_threshold = gc.get_threshold()
    gc.set_threshold(50_000)  # imports make little garbage, and looking for it is a tenth of a start
    # Until the handlers stand, in install(): process 1 of a container does not even get what it has no handler for.
    asking = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, *asking))
    exits.arm()  # before any import that registers a hook of its own: the first registered runs last
    from arun.instance.instance import Instance
    from arun.lifecycle import end, start
    from arun.system import descriptors, process

    process.open_standard_streams()
    descriptors.allow_descriptors()
    instance = Instance.of_process(gc_threshold)
    exits.reserve_descriptors()
    if instance.past.trial is not None:
        from arun.lifecycle import probe

        probe.run(instance, instance.past.trial)
    end.finish(instance, start.run(instance, partial(end.finish, instance)))


def load() -> str:
    """Load all that a start needs, and return the version: an arun that runs asks so whether this one can take over.

    The name of this function stays for good.
    """
    import importlib

    importlib.import_module("arun.lifecycle.end")
    importlib.import_module("arun.lifecycle.reload")
    importlib.import_module("arun.server.server")
    return __version__


if __name__ == "__main__":
    main()
