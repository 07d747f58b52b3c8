"""The service manager that started the process: over its socket it gets the state, and descriptors to keep.

The protocol is that of sd_notify(3), in datagrams of ``NAME=value`` lines; no library is needed for it. Nothing in here
raises, and nothing waits longer than a tenth of a second for a manager that does not read: it must not stop an instance.
"""

from __future__ import annotations

import os
import socket
import struct
import time

from arun.core.failures import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping


__all__ = ("ServiceManager", "take")

#: Bytes of a status: systemd drops a datagram of more than PIPE_BUF bytes whole.
_LONGEST_STATUS = 1024
#: Microseconds that a datagram waits for a manager which does not read.
_PATIENCE = 100_000
#: Digits of a plausible number.
_LONGEST_NUMBER = 18


class ServiceManager:
    """The manager behind ``$NOTIFY_SOCKET``; without one nothing happens.

    ``watchdog_interval`` is the time between two calls of ``watchdog`` in seconds, half of what the manager waits for
    (sd_watchdog_enabled(3)), and None where it waits for none of this process. ``keeps_listeners``: it has a
    store of descriptors.
    """

    def __init__(self, address: str, watchdog_interval: float | None = None, *, keeps_listeners: bool = False) -> None:
        self.watchdog_interval = watchdog_interval
        self.keeps_listeners = keeps_listeners
        self._address = _socket_address(address)
        self._socket = None if self._address is None else _opened()

    def ready(self, status: str) -> None:
        """Report that the instance serves, for the first time or again after a reload."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def reloading(self, status: str) -> None:
        """Report that a reload has begun; ``ready`` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS={_one_line(status)}")

    def stopping(self, status: str) -> None:
        """Report that a stop has begun."""
        self._send(f"STOPPING=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Report the state on one line, as ``systemctl status`` shows it."""
        self._send(f"STATUS={_one_line(text)}", waits=False)

    def watchdog(self) -> None:
        """Report that the process is alive."""
        self._send("WATCHDOG=1", waits=False)

    def stay_alive(self, call_later: Callable[..., object]) -> None:
        """Call ``watchdog`` now and at each interval, by the timers of an event loop."""
        if self.watchdog_interval is not None:
            self.watchdog()
            call_later(self.watchdog_interval, self.stay_alive, call_later)

    def store(self, named: Mapping[str, Iterable[int]]) -> None:
        """Give it descriptors by their names, so that their clients wait while the service is restarted.

        They come back with ``$LISTEN_FDS``. What it had under the same names is forgotten: a socket whose file was
        replaced since would come back beside the new one.
        """
        if self.keeps_listeners:
            for name, descriptors in named.items():
                self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")
                self._send(f"FDSTORE=1\nFDNAME={name}", descriptors)

    def remove(self, names: Iterable[str]) -> None:
        """Let it forget what it has under these names."""
        if self.keeps_listeners:
            for name in names:
                self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def close(self) -> None:
        """Close the socket; nothing is reported any more."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _send(self, lines: str, descriptors: Iterable[int] = (), *, waits: bool = True) -> None:
        if self._socket is None:
            return
        passed = struct.pack(f"{len(numbers)}i", *numbers) if (numbers := list(descriptors)) else b""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)] if passed else []
        flags = 0 if waits else socket.MSG_DONTWAIT
        try:
            self._socket.sendmsg([lines.encode()], ancillary, flags, self._address)
        except OSError:
            return  # gone, or it does not read


def take(environ: MutableMapping[str, str]) -> ServiceManager:
    """Remove the variables of sd_notify(3), sd_watchdog_enabled(3) and the store, and return the manager they mean.

    So no code of the app's takes them for its own, and no child of it speaks for this process.
    """
    address, limit, pid, stored = (
        environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE")
    )
    interval = _number(limit) / 2_000_000 if pid in {"", str(os.getpid())} else 0.0
    return ServiceManager(address, interval or None, keeps_listeners=_number(stored) > 0)


def _socket_address(text: str) -> bytes | None:
    """Return the address to send to; a manager of a whole machine, on vsock, is none of ours."""
    if text.startswith("@"):  # in the abstract namespace of unix(7)
        return b"\0" + os.fsencode(text[1:])
    return os.fsencode(text) if text.startswith("/") else None


def _opened() -> socket.socket | None:
    """Return the socket for reports, kept open: an instance whose clients have used up all descriptors is still alive."""
    try:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, _PATIENCE))
    except OSError:
        return None
    return opened


def _one_line(text: str) -> str:
    return printable(text).encode()[:_LONGEST_STATUS].decode(errors="ignore")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else 0
