"""What wakes a supervisor: its own signals, which are only noted, and the pipe that ends its sleep."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

__all__ = ("SUPERVISORS", "Wakeup")

#: The signals that only a supervisor acts on; stop signals and SIGHUP come through StopSignals.
SUPERVISORS = (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class Wakeup:
    """Notes the signals from its beginning to ``close``; every signal that Python handles makes ``fd`` readable."""

    def __init__(self) -> None:
        self.caught: list[int] = []
        self.fd, self._writing = os.pipe()
        for end in (self.fd, self._writing):
            os.set_blocking(end, False)
        self._before = [(number, signal.signal(number, self._note)) for number in SUPERVISORS]
        self.arm()

    def arm(self) -> None:
        """Let signals write into the pipe; again after a refused exec, which has had a pipe of its own."""
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)

    def note(self, number: int) -> None:
        """Note a signal that another handler has caught."""
        self.caught.append(number)

    def take(self) -> list[int]:
        """Return the signals that were caught since the last call."""
        try:
            while os.read(self.fd, 4096):
                pass
        except BlockingIOError:
            pass
        caught, self.caught = self.caught, []
        return caught

    def close(self) -> None:
        """Close the pipe and restore the handlers from before; in a forked child too."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before:
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._writing)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.caught.append(number)
