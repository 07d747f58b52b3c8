"""Who listens on an address, as far as /proc tells: for the message about a busy address, never for a decision."""

from __future__ import annotations

import os

from runner.addresses import Address, Tcp, Unix

__all__ = ("holder_of",)

_LISTEN_STATE = "0A"
#: How many processes are looked at before giving up: a message is not worth more.
_MOST_PROCESSES = 4096


def holder_of(address: Address) -> str:
    """Return ``pid 7409 (nginx: master process)`` for the process that listens there, or an empty string."""
    try:
        inodes = _tcp_inodes(address.port) if isinstance(address, Tcp) else _unix_inodes(address)
        return _process_with({f"socket:[{inode}]" for inode in inodes}) if inodes else ""
    except (OSError, ValueError, IndexError):
        return ""


def _tcp_inodes(port: int) -> set[str]:
    """The inodes of sockets that listen on the port, from /proc/net/tcp and tcp6 (proc_net_tcp in the kernel's docs)."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                if fields[3] == _LISTEN_STATE and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes


def _unix_inodes(address: Address) -> set[str]:
    if not isinstance(address, Unix):
        return set()
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as lines:
        rows = [line.rstrip("\n").split(maxsplit=7) for line in lines]
    return {row[6] for row in rows if len(row) == 8 and row[7] == address.path}  # noqa: PLR2004 - the columns of the table


def _process_with(sockets: set[str]) -> str:
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    for pid in pids[:_MOST_PROCESSES]:
        try:
            links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        except OSError:
            continue  # gone, or not ours to look into
        if links & sockets:
            return f"pid {pid} ({_command(pid)})"
    return ""


def _command(pid: str) -> str:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        words = file.read(200).replace("\0", " ").strip()
    return words or "?"
