"""The process that listens on an address, as far as /proc shows it: for the message about a busy address, never for a decision."""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from arun.core.addresses import Address, Tcp, Unix
from arun.core.failures import StartupFailure
from arun.listen.places import overlap, resolve

__all__ = ("holder_of", "process_at")

_LISTEN_STATE = "0A"
#: How many processes are looked at before giving up: a message is not worth more.
_MOST_PROCESSES = 4096


def holder_of(address: Address) -> str:
    """Return ``pid 7409 (nginx: master process)`` for another process that listens there, or an empty string."""
    try:
        pid = process_at(address)
        return f"pid {pid} ({_command(pid)})" if pid else ""
    except OSError:
        return ""


def process_at(address: Address) -> int:
    """Return the pid of another process that listens there; 0 for none, or where that is not shown."""
    try:
        found = _tcp_inodes(address) if isinstance(address, Tcp) else _unix_inodes(address)
        inodes = {f"socket:[{inode}]" for inode in found}
        return _process_with(inodes - _links(os.getpid())) if inodes else 0
    except (OSError, ValueError, IndexError):
        return 0


def _tcp_inodes(address: Tcp) -> set[str]:
    """The inodes of sockets that listen where the address is, from /proc/net/tcp and tcp6 (proc_net_tcp in the kernel's docs)."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                host, _, port = fields[1].rpartition(":")
                if fields[3] != _LISTEN_STATE or int(port, 16) != address.port:
                    continue
                there = Tcp(_host(host), address.port)
                if any(overlap(there, place) for place in _places(address)):
                    inodes.add(fields[9])
    return inodes


def _host(text: str) -> str:
    """Return an IP address as the tables have it: words of 32 bits in hexadecimal, each in the machine's byte order."""
    words = (int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(text) == 8 else socket.AF_INET6, b"".join(words))  # noqa: PLR2004 - one word


def _places(address: Address) -> tuple[Address, ...]:
    try:
        return resolve(address)
    except StartupFailure:
        return ()


def _unix_inodes(address: Address) -> set[str]:
    if not isinstance(address, Unix):
        return set()
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as lines:
        rows = [line.rstrip("\n").split(maxsplit=7) for line in lines]
    return {row[6] for row in rows if len(row) == 8 and row[7] == address.path}  # noqa: PLR2004 - the columns of the table


def _process_with(sockets: set[str]) -> int:
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    for pid in pids[:_MOST_PROCESSES]:
        if _links(pid) & sockets:
            return int(pid)
    return 0


def _links(pid: int | str) -> set[str]:
    """What the descriptors of a process are; nothing of one that has gone, or is not ours to look into."""
    links = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                links.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return links


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        words = file.read(200).replace("\0", " ").strip()
    return words or "?"
