"""What a supervisor asks of the instance whose workers it runs."""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from arun.core.failures import StartupFailure
    from arun.supervisor.workers import Recipe, Worker

    class Instance(Protocol):
        """What a supervisor asks of the instance whose workers it runs."""

        def touched(self) -> None:
            """Do what SIGHUP does: a file asks for it."""
            ...

        def provide(self) -> None:
            """Load what telling a failure needs, as the files may be away when one happens."""
            ...

        def lacks_files(self) -> bool:
            """Tell whether files of arun are gone that a new worker would have to load, as while an installer replaces them."""
            ...

        def reread(self) -> Recipe | None:
            """Read the settings again and bind what they add; None where that failed, which it has told.

            A recipe from before that was neither adopted nor discarded is given up: what it has bound can be used again.
            """
            ...

        def adopt(self) -> None:
            """Note that the workers of what was read again serve: what only those before them used is let go."""
            ...

        def withdraw(self) -> None:
            """Note that what was read again comes to nothing, before its workers are told to go.

            What it has bound beside listeners of those who serve gets no connections any more.
            """
            ...

        def should_reload(self) -> bool:
            """Tell whether a reload would bring something that was not to be had; it is asked about once a second."""
            ...

        def discard(self) -> None:
            """Note that what was read again came to nothing, and its workers are gone: what only it used is let go."""
            ...

        def ready(self, app: str, workers: int) -> None:
            """Note that all workers serve."""
            ...

        def tell(self, failure: StartupFailure) -> None:
            """Write why workers could not be started, though the instance goes on."""
            ...

        def unchanged(self, text: str) -> None:
            """Note that a reload or an upgrade has failed, and those who served before go on."""
            ...

        def alive(self) -> float:
            """Note that the supervisor's loop turns; return within how many seconds it should turn again."""
            ...

        def stopping(self, workers: Sequence[Worker]) -> float:
            """Note that these workers are told to stop, because somebody wants it.

            Returns for how many seconds they may part from kept connections before that.
            """
            ...

        def reopen(self) -> None:
            """Open the log files again."""
            ...

        def upgrade(self, workers: Sequence[Worker]) -> None:
            """Become a new arun that takes over these workers.

            It returns where that is refused, which it has told.
            """
            ...


#: Seconds in which kept connections are told to come back on another one, before a process that serves becomes another.
#: An idle connection that is closed takes along the request that is on its way.
PARTING = 0.5


class InheritedWorker(Value):
    """A worker of a supervisor that is upgraded: its process, the descriptor of its line, and its number.

    It goes on serving, or is on its way out.
    """

    pid: int
    fd: int
    number: int
    is_leaving: bool = False
