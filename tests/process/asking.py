"""Clients that ask an instance again and again, in threads of their own, and note whatever a user would complain about."""

from __future__ import annotations

import contextlib
import http.client
import threading
from typing import TYPE_CHECKING, Self

from tests.conftest import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Container
    from types import TracebackType

    from tests.conftest import Instance

__all__ = ("Asking", "served_by")

#: Seconds between two requests of one client: a machine has to do other things as well.
_PAUSE = 0.003


class Asking:
    """Two clients: one with a connection for each request, one that keeps its connection as long as the server does.

    Neither tries anything twice: what is refused, cut or of a status that is not ``fine`` is a fault.
    """

    def __init__(
        self, instance: Instance, path: str = "/", *, fine: Container[int] = (200,), keeps: bool = True
    ) -> None:
        self.answers: list[str] = []
        self.faults: list[str] = []
        self._instance = instance
        self._path, self._fine = path, fine
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(one,), daemon=True) for one in {False, keeps}]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more(4)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        if error is None:
            assert not self.faults, "\n".join([*self.faults, self._instance.said])

    def more(self, count: int = 20) -> list[str]:
        """Wait for so many further answers, and return them."""
        begun = len(self.answers)

        def look() -> list[str]:
            assert len(self.answers) >= begun + count or self.faults, self._instance.said
            return self.answers[begun:]

        return until(look, AssertionError)

    def _ask(self, keeps: bool) -> None:  # noqa: FBT001 - which of the two clients
        host, _, port = self._instance.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        with contextlib.closing(connection):
            while not self._over.wait(_PAUSE):
                fresh = connection.sock is None
                try:
                    connection.request("GET", self._path)
                    answer = connection.getresponse()
                    self.answers.append(answer.read().decode())
                except (OSError, http.client.HTTPException) as error:
                    self.faults.append(f"{'new' if fresh else 'kept'} connection: {error!r}")
                    connection.close()
                    continue
                if answer.status not in self._fine:
                    self.faults.append(f"status {answer.status}")
                if not keeps:
                    connection.close()


def served_by(answers: list[str]) -> set[int]:
    """The processes that gave these answers."""
    return {int(answer.split()[1]) for answer in answers}
