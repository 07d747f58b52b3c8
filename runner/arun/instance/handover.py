"""The handover: the one value that crosses the exec from one start to the next: a fallback, the way back, an upgrade.

It travels in a sealed memfd whose number stands in one environment variable, so that neither argv nor environ ever
shows what failed. Version 2 is JSON: the listeners with their addresses and with what stands before HTTP there, the
failures so far, what was tried, where TLS was given up, where the output goes, the command line and directory of the
first start, where the failed start wanted to listen, what the end of its chain is to be, the pid files that it wrote, and
the workers that go on serving during an upgrade. What is missing in one of an older arun has its default: ``wanted``
defaults to its listeners. What a newer arun has added is passed over, in the values inside as well, as an upgrade may go
either way.
Version 1, which a process may still write that was started before an upgrade, knew plain listeners only.
"""

from __future__ import annotations

import os

from arun.core import addresses
from arun.core.failures import FailureRecord
from arun.core.listen_spec import Certificate, ListenSpec, Tls
from arun.core.values import Value
from arun.instance.fallback import ChainPolicy
from arun.instance.recovery_policy import Brake, RecoverPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from arun.instance.notices import Notice
    from arun.supervisor.contract import InheritedWorker

__all__ = (
    "MARK",
    "VARIABLE",
    "Handover",
    "InheritedListener",
    "Trial",
    "take",
    "write",
)

VARIABLE = "ARUN_HANDOVER"
#: The variable by which an app, and whatever it starts, knows that it is only tried.
MARK = "ARUN_PROBE"
_VERSION = 2
_UNDERSTOOD = frozenset((1, 2))
#: Records kept of a long chain: the first has the cause, the last ones how the fallbacks fared.
_RECORDS_KEPT = 16


class InheritedListener(Value):
    """A listening socket that is passed on: its descriptor, and what it was bound for."""

    fd: int
    spec: ListenSpec


class Trial(Value):
    """What a start goes by that is only tried (lifecycle/probe.py)."""

    #: The pipe for its reports.
    fd: int
    #: The process that waits for them.
    parent: int
    #: Where that process listens.
    held: tuple[ListenSpec, ...] = ()
    #: Whether the app's start-up and shut-down run.
    starts_app: bool = True
    #: The instance that makes room for such a start, and may stand in the pid file; 0 for ``parent``.
    owner: int = 0
    #: Its command line, which may hold secrets that a list of processes is not to show; None: what the process was started with.
    arguments: tuple[str, ...] | None = None


class Handover(Value):
    """What a start knows of those before it; the first start of a process has an empty one."""

    argv: tuple[str, ...] = ()
    cwd: str = ""
    listeners: tuple[InheritedListener, ...] = ()
    failures: tuple[FailureRecord, ...] = ()
    tried: tuple[str, ...] = ()
    #: The reading end of a pipe with the signals that were caught too late, -1 for none.
    signals: int = -1
    #: Where TLS was spoken by listeners that are closed by now: no successor may listen there without it.
    closed: tuple[ListenSpec, ...] = ()
    #: Where a successor listens that names no address: where the failed start wanted to, bound or not.
    wanted: tuple[ListenSpec, ...] = ()
    #: The workers that serve until an upgraded supervisor has workers of its own.
    workers: tuple[InheritedWorker, ...] = ()
    #: Whether the process has gone to the background: no successor does so again, for its pid would be another one.
    detached: bool = False
    #: The absolute path of the file that standard output and standard error go to, empty for what they were at first.
    log_file: str = ""
    #: What the failed starts said that holds for this one.
    chain: ChainPolicy = ChainPolicy()
    #: The pid files of the starts that failed, by their absolute paths: they go when no successor serves.
    pidfiles: tuple[str, ...] = ()
    #: The absolute path of the directory with the failure log; empty for none.
    state_dir: str = ""
    #: Failures before this chain: those of the outage that the first start is to end, and of some that are over.
    earlier: tuple[FailureRecord, ...] = ()
    #: The control socket and the status listener.
    control: tuple[InheritedListener, ...] = ()
    status: tuple[InheritedListener, ...] = ()
    #: The text and the allowed clients with which an operator has taken the app offline; None while it is not.
    offline: tuple[str, tuple[str, ...]] | None = None
    #: How many fallbacks followed failures of each identifier, in the life of this process.
    fallbacks: tuple[tuple[str, int], ...] = ()
    #: What workers have counted that are gone, of an upgrade.
    counted: str = ""
    #: How often in a row the primary failed though a probe of it had succeeded.
    brake: Brake = Brake()
    #: This is no start, but the trial of one.
    trial: Trial | None = None
    #: The commands that run.
    notices: tuple[Notice, ...] = ()
    #: The number of the last generation of workers before an upgrade.
    generation: int = 0

    def after(self, failures: tuple[FailureRecord, ...], tried: str) -> Handover:
        """Return the handover with one more failed start on it."""
        records = self.failures + failures
        if len(records) > _RECORDS_KEPT:
            records = (records[0], *records[1 - _RECORDS_KEPT :])
        return self._replace(failures=records, tried=(*self.tried, tried))


def write(handover: Handover) -> int:
    """Return a descriptor, inheritable and sealed where the system can, that holds the handover.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    import json

    content = json.dumps(
        {
            "version": _VERSION,
            "argv": handover.argv,
            "cwd": handover.cwd,
            "listeners": [_encode(one.fd, one.spec) for one in handover.listeners],
            "closed": [_encode(-1, one) for one in handover.closed],
            "wanted": [[str(one.address), one.origin, one.tls, one.proxies] for one in handover.wanted],
            "failures": [record.as_dict() for record in handover.failures],
            "tried": handover.tried,
            "signals": handover.signals,
            "workers": handover.workers,
            "detached": handover.detached,
            "log_file": handover.log_file,
            **handover.chain._asdict(),
            "pidfiles": handover.pidfiles,
            "state_dir": handover.state_dir,
            "notices": handover.notices,
            "generation": handover.generation,
            "earlier": [record.as_dict() for record in handover.earlier],
            "control": [_encode_own(one) for one in handover.control],
            "status": [_encode_own(one) for one in handover.status],
            "offline": handover.offline,
            "fallbacks": handover.fallbacks,
            "counted": handover.counted,
            "brake": handover.brake,
            "trial": _encode_trial(handover.trial),
        }
    ).encode()
    fd = _anonymous_file()
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    _seal(fd)
    os.set_inheritable(fd, True)
    return fd


def take(environ: MutableMapping[str, str]) -> Handover | None:
    """Remove the variable from the environment and return what it points to, or None at a first start.

    Raises:
        ValueError: the variable is there, but what it names is no handover of this version.
    """
    number = environ.pop(VARIABLE, None)
    if number is None:
        return None
    import json
    import stat

    try:
        fd = int(number)
        status = os.fstat(fd)
        content = os.pread(fd, status.st_size, 0) if stat.S_ISREG(status.st_mode) else b""
        past = _decode(json.loads(content))
    except (OSError, OverflowError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{VARIABLE}={number} names no handover of version {_VERSION}: {error}") from error
    os.close(fd)  # only now: a number that means something else is a foreign descriptor
    return past


def _decode(fields: dict[str, Any]) -> Handover:
    if fields["version"] not in _UNDERSTOOD:
        raise ValueError(f"it is of version {fields['version']}")
    listeners = tuple(InheritedListener(fd, _decode_spec(*spec)) for fd, *spec in fields["listeners"])
    wanted = tuple(one.spec._replace(origin="inherited") for one in listeners)
    if "wanted" in fields:
        wanted = tuple(
            _decode_spec(address, *transport)._replace(origin=origin)
            for address, origin, *transport in fields["wanted"]
        )
    return Handover(
        argv=tuple(fields["argv"]),
        cwd=fields["cwd"],
        listeners=listeners,
        wanted=wanted,
        closed=tuple(_decode_spec(*spec) for _, *spec in fields.get("closed", ())),
        failures=tuple(map(FailureRecord.of_fields, fields["failures"])),
        tried=tuple(fields["tried"]),
        signals=fields["signals"],
        workers=_decode_workers(fields.get("workers", ())),
        detached=fields.get("detached", False),
        log_file=fields.get("log_file", ""),
        chain=_decode_chain(fields),
        pidfiles=tuple(fields.get("pidfiles", ())),
        state_dir=fields.get("state_dir", ""),
        notices=_decode_notices(fields.get("notices", ())),
        generation=fields.get("generation", 0),
        earlier=tuple(map(FailureRecord.of_fields, fields.get("earlier", ()))),
        control=tuple(map(_decode_own, fields.get("control", ()))),
        status=tuple(map(_decode_own, fields.get("status", ()))),
        offline=_decode_offline(fields.get("offline")),
        fallbacks=tuple((str(name), int(number)) for name, number in fields.get("fallbacks", ())),
        counted=fields.get("counted", ""),
        brake=Brake(*_known(Brake, fields.get("brake", []))),
        trial=_decode_trial(fields.get("trial")),
    )


def _encode(fd: int, spec: ListenSpec) -> list[Any]:
    return [fd, str(spec.address), spec.tls, spec.proxies]  # named tuples are lists in JSON


def _encode_own(listener: InheritedListener) -> list[Any]:
    return [listener.fd, str(listener.spec.address), listener.spec.origin]


def _decode_own(encoded: list[Any]) -> InheritedListener:
    fd, address, origin, *_newer = encoded
    return InheritedListener(fd, ListenSpec(addresses.parse(address), origin=origin))


def _decode_offline(encoded: list[Any] | None) -> tuple[str, tuple[str, ...]] | None:
    if encoded is None:
        return None
    text, allowed, *_newer = encoded
    return text, tuple(allowed)


def _decode_chain(fields: dict[str, Any]) -> ChainPolicy:
    """Return what holds for the chain; its fields stand among those of the handover, where arun 0.1 had the first two."""
    known = {name: fields[name] for name in ChainPolicy._fields if name in fields}
    recover = RecoverPolicy(*_known(RecoverPolicy, known.pop("recover", [])))
    return ChainPolicy(**known)._replace(recover=recover._replace(ways=tuple(recover.ways)))


def _decode_notices(encoded: list[list[Any]]) -> tuple[Notice, ...]:
    if not encoded:
        return ()
    from arun.instance.notices import Notice  # few starts find one that runs

    return tuple(Notice(*_known(Notice, one)) for one in encoded)


def _encode_trial(trial: Trial | None) -> dict[str, Any] | None:
    return None if trial is None else {**trial._asdict(), "held": [_encode(-1, one) for one in trial.held]}


def _decode_trial(encoded: dict[str, Any] | None) -> Trial | None:
    if encoded is None:
        return None
    held = tuple(_decode_spec(*spec) for _, *spec in encoded["held"])
    arguments = encoded.get("arguments")
    return Trial(
        encoded["fd"],
        encoded["parent"],
        held,
        encoded["starts_app"],
        encoded.get("owner", 0),
        None if arguments is None else tuple(arguments),
    )


def _decode_workers(encoded: list[list[Any]]) -> tuple[InheritedWorker, ...]:
    if not encoded:
        return ()
    from arun.supervisor.contract import InheritedWorker  # of starts, only an upgrade has any

    return tuple(InheritedWorker(*_known(InheritedWorker, one)) for one in encoded)


def _known(kind: type[Value], values: list[Any]) -> list[Any]:
    """Return the values of a kind, without those that a newer arun has added at their end."""
    return values[: len(kind._fields)]


def _decode_spec(
    address: str, tls: list[Any] | None = None, proxies: list[str] | None = None, *_newer: object
) -> ListenSpec:
    """Return a spec; version 1 wrote the address only, and a newer arun may have added values at its end."""
    decoded = None
    if tls is not None:
        certificates, *more = tls
        pairs = tuple(Certificate(*_known(Certificate, one)) for one in certificates)
        decoded = Tls(*_known(Tls, [pairs, *more]))
    return ListenSpec(addresses.parse(address), decoded, None if proxies is None else tuple(proxies))


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("arun-handover", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    import tempfile  # macOS has no memfd: an unlinked file is as private, if not as sealed

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _seal(fd: int) -> None:
    import fcntl

    if hasattr(fcntl, "F_ADD_SEALS"):
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
