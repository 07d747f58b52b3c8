"""A client that connects every three milliseconds, in a thread of its own, and notes whatever a user would complain about."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from tests.conftest import PATIENCE, until

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from tests.conftest import Instance

__all__ = ("Knocking",)

_REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
#: Seconds between two connections: an exec takes thirty times as long, and the machine has to do other things as well.
_PAUSE = 0.003
#: Connections that are open at a time: more wait for those, so that no backlog overflows while no process accepts.
_MOST = 500


class Knocking:
    """Connects to an address, ``host:port`` or the path of a unix socket, again and again, and asks once.

    Nothing is tried twice: what is refused, reset or left without an answer is a fault. Where the app ``dies`` while it
    answers, those who had come to it are cut off, which is counted apart.
    """

    def __init__(
        self, instance: Instance, address: str, tls: ssl.SSLContext | None = None, *, dies: bool = False
    ) -> None:
        self.statuses: list[str] = []
        self.bodies: list[str] = []
        self.faults: list[str] = []
        self._instance, self._address, self._tls = instance, address, tls
        self.cut = 0
        self._dies = dies
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._knock()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        if error is None:
            assert not self.faults, "\n".join([*self.faults[:20], f"({len(self.faults)})", self._instance.said])

    def more(self, count: int = 100) -> list[str]:
        """Wait for so many further answers, and return their first status."""
        begun = len(self.statuses)

        def look() -> list[str]:
            assert len(self.statuses) >= begun + count or self.faults, self._instance.said
            return self.statuses[begun:]

        return until(look, AssertionError)

    def wait_for(self, text: str) -> None:
        """Wait until an answer contains the text."""

        def look() -> None:
            assert self.faults or any(text in body for body in self.bodies[-20:]), self._instance.said

        until(look, AssertionError)

    async def _knock(self) -> None:
        room = asyncio.Semaphore(_MOST)
        asked = set()
        while not self._over.is_set():
            await room.acquire()
            task = asyncio.create_task(self._ask())
            asked.add(task)
            task.add_done_callback(asked.discard)
            task.add_done_callback(lambda _: room.release())
            await asyncio.sleep(_PAUSE)
        await asyncio.wait({*asked, asyncio.create_task(asyncio.sleep(0))})

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                head, _, body = (await self._answer()).decode().partition("\r\n\r\n")
        except (ConnectionResetError, BrokenPipeError) as error:
            self._is_cut(repr(error))
            return
        except (OSError, TimeoutError) as error:
            self.faults.append(f"{self._address}: {error!r}")
            return
        if not head.startswith("HTTP/1.1 "):
            self._is_cut("no answer")
            return
        self.statuses.append(head[9:12])
        self.bodies.append(body)

    def _is_cut(self, how: str) -> None:
        self.cut += 1
        if not self._dies:
            self.faults.append(f"{self._address}: {how}")

    async def _answer(self) -> bytes:
        if "/" in self._address:
            reader, writer = await asyncio.open_unix_connection(self._address)
        else:
            host, _, port = self._address.rpartition(":")
            name = "localhost" if self._tls else None
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=self._tls, server_hostname=name
            )
        try:
            writer.write(_REQUEST)
            return await reader.read()
        finally:
            writer.close()
