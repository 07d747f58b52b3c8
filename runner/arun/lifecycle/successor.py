"""The successor: how the process becomes it. The exec in here is the only one of the house: same pid, same binary.

A fallback is started with its config as the one argument; the return to the primary and an upgrade with the command line
that there was.
"""

from __future__ import annotations

import os
import sys
from os import execve  # bound now: an app may put something else in its place

from arun.core import redaction
from arun.core.failures import EXEC_FAILED, StartupFailure
from arun.instance import handover
from arun.instance.fallback import is_gone
from arun.settings import secret_flags
from arun.settings.entries import shown, split_reference
from arun.system import logs, process
from arun.system.stop_signals import StopRequested, block_stop_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from arun.core.failures import FailureRecord
    from arun.instance.instance import Instance
    from arun.supervisor.contract import InheritedWorker
    from arun.system.launch import Launch

__all__ = (
    "become_fallback",
    "files_are_away",
    "installed_version",
    "is_installed_anew",
    "needed_files",
    "return_to_primary",
    "upgrade",
)

#: Loads what a start needs, from the folder that is its argument, and prints the version. What it imports stays by that
#: name for good: the arun that asks is older than the one that answers.
_PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
import arun.__main__
print(arun.__main__.load())
print(arun.__main__.__file__)
"""
#: Seconds that it may take.
_PROBE_TIMEOUT = 10.0
#: What of ours a process loads: the package, and the library of its compiled modules (runner/compiling.py).
_OURS = frozenset(("arun", "arun__mypyc"))
#: Files that this arun has loaded and the one that is installed now does without.
_unneeded: set[str] = set()


def become_fallback(instance: Instance, config: str, records: Sequence[FailureRecord]) -> NoReturn:
    """Replace this process by arun with ``config`` as its one argument; bound listeners and the handover go along.

    Raises:
        StopRequested: a stop signal came in time; there is no need for a successor.
        StartupFailure(EXEC_FAILED): the system refuses; the process is as it was, but its children are gone and stop signals blocked.
    """
    if instance.signals.count:
        raise StopRequested
    launch = instance.launch
    name = shown(config, launch.directory)
    logs.error(f"!!! {launch.program} (pid: {os.getpid()}) exited with status 1 !!!", "exited", status=1)
    logs.error(f"!!! Fallback config to {name} !!!", "fallback", id=records[0].id if records else "", config=name)
    past = instance.history(records)
    counts = dict(past.fallbacks)
    for record in records[:1]:
        counts[record.identifier] = counts.get(record.identifier, 0) + 1
    _replace_process(instance, (config,), past._replace(fallbacks=tuple(counts.items())))


def return_to_primary(instance: Instance) -> NoReturn:
    """Replace this fallback by the first start of its chain, with the listeners and without the history.

    Raises:
        StopRequested: a stop signal came in time.
        StartupFailure(EXEC_FAILED): as in ``become_fallback``.
    """
    arguments = instance.past.argv[1:]
    shown = redaction.command_line([instance.launch.program, *arguments], secret_flags())
    logs.info(f"arun: going back to the first start: {shown}")
    _replace_process(instance, arguments, instance.handover_of_return())


def upgrade(instance: Instance, workers: tuple[InheritedWorker, ...], generation: int, counted: str) -> NoReturn:
    """Replace this process by the arun that is installed now, started as this one was; its workers go on serving.

    Other children that it has are on their way out already, and are left to it. ``counted`` is what workers have counted that
    are gone.

    Raises:
        StopRequested: a stop signal came in time.
        StartupFailure(EXEC_FAILED): as in ``become_fallback``, but that no child was ended.
    """
    past = instance.outage.handed_over(instance.past)
    past = past._replace(workers=workers, counted=counted, generation=generation)
    _replace_process(instance, instance.launch.arguments, past, spared=frozenset(process.children()))


def installed_version(launch: Launch) -> tuple[bool, str]:
    """Return whether the arun that is installed now loads, in a process of its own, and its version.

    Where it does not, the text is the reason, as the end of a sentence: an exec of one that is half installed has no way
    back. Files of this one that it does without are not missing from then on.
    """
    import subprocess  # of a supervisor, only an upgrade pays for it

    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        asked = subprocess.run(  # noqa: S603 - ourselves
            [launch.command[0], "-c", _PROBE, home],
            env=dict(launch.environ),
            cwd=launch.called,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return False, f"cannot be loaded: {last}"
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"does not start ({error})"
    version, _, place = asked.stdout.decode(errors="replace").strip().partition("\n")
    if place.startswith(os.path.join(home, "")):  # and not another one that this interpreter has
        _unneeded.update(filter(is_gone, _own_files()))
    return True, version


def is_installed_anew(launch: Launch) -> bool:
    """Return whether files that are gone are none of the arun that is installed now, and it loads. It raises nothing."""
    try:
        return os.path.exists(os.path.abspath(__file__)) and installed_version(launch)[0]
    except Exception:  # noqa: BLE001 - no descriptor, no memory, Python's own files: it cannot be asked
        return False


def needed_files(launch: Launch, config: str | None) -> tuple[str, ...]:
    """Return the files that a successor has to read: the interpreter, its library, arun, the config if it has one."""
    needed = (launch.command[0], os.__file__, os.path.abspath(__file__))
    return needed if config is None else (*needed, split_reference(config)[0])


def files_are_away() -> bool:
    """Return whether files are gone that this process was started from: an installer may be at work, or was."""
    return any(is_gone(path) for path in _own_files())


def _replace_process(
    instance: Instance, arguments: tuple[str, ...], past: handover.Handover, spared: frozenset[int] = frozenset()
) -> NoReturn:
    launch = instance.launch
    try:
        late_signals = block_stop_signals()
        process.end_children(spared=launch.children | spared | instance.outage.notified)
        _check(instance, arguments[0] if past.tried else None)
        _execute(instance, arguments, past, late_signals)
    except StartupFailure:
        raise
    except Exception as error:  # whatever an app has done to this process, it can still respond by itself
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise StartupFailure(EXEC_FAILED, f"cannot execute {launch.command[0]}: {reason}") from error


def _check(instance: Instance, config: str | None) -> None:
    if instance.signals.count:
        raise StopRequested
    if path := _obstacle(instance.launch, config):
        raise StartupFailure(EXEC_FAILED, f"the successor could not read {path}, as uid {os.geteuid()}")


def _obstacle(launch: Launch, config: str | None) -> str | None:
    """Return a file without which the exec would succeed and the successor die before it could write a word.

    An interpreter that was replaced is still to be had, and a missing config is reported by the successor.
    """
    for path in needed_files(launch, config):
        if not is_gone(path) and not os.access(path, os.R_OK):
            return path
    return next(filter(is_gone, _own_files()), None)


def _own_files() -> list[str]:
    """Return the files of arun that this process has loaded and a successor needs, and where Python's library is."""
    own = [module.__file__ for name, module in tuple(sys.modules.items()) if name.partition(".")[0] in _OURS]
    return [os.__file__, *(path for path in own if path and path not in _unneeded)]


def _execute(instance: Instance, arguments: tuple[str, ...], past: handover.Handover, late_signals: int) -> NoReturn:
    launch, outlook = instance.launch, instance.status.outlook()
    control, status = ((), ()) if instance.control is None else instance.control.handed_over()
    passed = tuple(
        handover.InheritedListener(listener.socket.fileno(), listener.spec)
        for listener in instance.sockets.still_open()
    )
    past = past._replace(
        listeners=passed,
        closed=tuple(instance.sockets.secured.values()) if past.tried else (),
        signals=late_signals,
        detached=instance.output.is_detached,
        control=control,
        status=status,
        offline=None if outlook.offline is None else (outlook.offline, outlook.allowed),
        fallbacks=past.fallbacks or instance.past.fallbacks,
        log_file=instance.output.path,
    )
    fd = handover.write(past)
    environ = {**launch.environ, handover.VARIABLE: str(fd)}
    try:
        workers = [worker.fd for worker in past.workers]
        process.close_on_exec_except(
            [fd, late_signals, *workers, *(listener.fd for listener in (*passed, *control, *status))]
        )
        process.reset_for_exec(keep_ignored=launch.ignored)
        _return_to(launch.called)
        os.umask(launch.surroundings.umask)
        _exec((*launch.command, *arguments), environ)
    finally:  # only reached when the exec failed
        os.close(fd)


def _exec(command: tuple[str, ...], environ: Mapping[str, str]) -> NoReturn:
    try:
        execve(command[0], command, environ)  # noqa: S606 - ourselves, as we were started
    except FileNotFoundError:  # replaced by an upgrade since: the kernel still has the file that we run
        execve("/proc/self/exe", command, environ)  # noqa: S606


def _return_to(directory: str) -> None:
    """Go back to where the first start stood, so that relative paths in the fallback mean what its author meant."""
    try:
        os.chdir(directory)
    except OSError:
        return  # gone, or closed to the user that we have become: the fallback's own path is absolute
