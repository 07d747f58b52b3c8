"""What a supervisor needs of the instance whose workers it runs: its configurations, and where their state is reported."""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Iterable, Sequence
    from typing import Protocol

    from arun.core.failures import StartupFailure
    from arun.supervisor.workers import Worker, WorkerSpec

    class Supervised(Protocol):
        """The configurations of the instance: the one that is served, and the candidate of a reload."""

        @property
        def status(self) -> Status:
            """Where the state of the workers is reported."""
            ...

        @property
        def answers(self) -> Answers | None:
            """What answers those who ask for the state of the instance; None where it cannot be asked."""
            ...

        def first_order(self) -> bytes:
            """Return the order that a new worker begins with; empty for none."""
            ...

        def candidate(self) -> WorkerSpec | None:
            """Read the settings again and bind what they add; return None, and report why, where that fails.

            A candidate from before that was neither adopted nor discarded is replaced: its sockets can be used again.
            """
            ...

        def adopt(self) -> None:
            """Make the candidate the configuration, as its workers serve, and close what only those before it used."""
            ...

        def withdraw(self) -> None:
            """Let the candidate's sockets get no new connections that others could serve; its workers retire after this."""
            ...

        def discard(self) -> None:
            """Close what only the candidate used; its workers are gone."""
            ...

        def upgrade(self, workers: Sequence[Worker]) -> None:
            """Replace this process by the arun that is installed now, which takes over these workers.

            Where that is refused, report why and return.
            """
            ...

        def tick(self) -> float:
            """Do what is due while the supervisor's loop turns; return in how many seconds it is due again."""
            ...

        def reaped(self, pid: int, status: int) -> None:
            """Note that a child has ended which is no worker."""
            ...

        def should_reload(self, *, is_settled: bool) -> bool:
            """Return whether a reload would change something; called at every turn.

            ``is_settled``: all workers are ready, and no reload has begun.
            """
            ...

        def lacks_files(self) -> bool:
            """Return whether files of arun are missing that a new worker would load, as while an installer replaces them."""
            ...

    class Answers(Protocol):
        """What answers those who ask for the state of the instance, in turns of the supervisor's loop."""

        @property
        def seconds(self) -> float | None:
            """Seconds until a turn is due in any case; None while nothing is."""
            ...

        def register(self, waiting: select.poll) -> None:
            """Add what a turn waits for."""
            ...

        def turn(self, ready: Iterable[tuple[int, int]]) -> None:
            """Do what can be done now; it neither blocks nor raises."""
            ...

        def adopt(self, fd: int) -> None:
            """Answer on a connection that a worker hands over."""
            ...

        def close(self) -> None:
            """Close every descriptor, in a forked child."""
            ...

    class Status(Protocol):
        """Where the state of the workers is reported."""

        def ready(self, app: str, workers: int) -> None:
            """Report that all workers serve."""
            ...

        def failed(self, failure: StartupFailure) -> None:
            """Report why workers could not be started; the instance goes on."""
            ...

        def unchanged(self, text: str) -> None:
            """Report that a reload or an upgrade has failed, and the workers from before it go on."""
            ...

        def stopping(self, workers: Sequence[Worker]) -> float:
            """Report that these workers are stopped because of a signal.

            Returns for how many seconds they close kept connections before that.
            """
            ...

        def reopen(self) -> None:
            """Open the log file again."""
            ...


class InheritedWorker(Value):
    """A worker of a supervisor that is upgraded: its process, the descriptor of its connection, and its number.

    ``is_leaving``: it was stopped or retired before the upgrade. ``counted`` is what it had reported to have counted.
    """

    pid: int
    fd: int
    number: int
    is_leaving: bool = False
    counted: str = ""
