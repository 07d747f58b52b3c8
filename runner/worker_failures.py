"""What can go wrong with workers: causes of failure as those in runner/failures.py."""

from __future__ import annotations

from runner.failures import StartupFailure

__all__ = ("CrashLoop", "WorkerDied", "WorkersLost")


class WorkerDied(
    StartupFailure,
    identifier="worker-died",
    stage="startup",
    hint="something ended the process: code in C, os._exit, or the system when memory ran out (see dmesg)",
):
    """A worker that ended before it was ready, without a word of why."""


class CrashLoop(
    StartupFailure,
    identifier="crash-loop",
    stage="serve",
    hint="the lines above tell how each ended; --crash-limit and --crash-interval say how many deaths are too many",
):
    """Workers that die again and again although they had started well."""


class WorkersLost(
    StartupFailure,
    identifier="workers-lost",
    stage="serve",
    hint="the lines above tell why the upgrade could not start workers of its own",
):
    """Nobody serves any more: the workers that an upgrade had left are gone, and it has none of its own."""
