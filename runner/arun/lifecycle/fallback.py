"""The fallback: whether a failed start has a successor, which, and how the process becomes it.

``plan`` only decides. The exec in here is the only one of the house: same pid, same binary; a fallback is started with
its config as the one argument, the way back and an upgrade with the command line that there was.
"""

from __future__ import annotations

import gc
import os
import stat
import sys
from os import execve  # bound now: an app may put something else in its place

from arun import settings
from arun.core.failures import ExecFailed, FailureRecord, FallbackLimit, FallbackLoop, StartupFailure, printable
from arun.core.values import Value
from arun.lifecycle import handover
from arun.settings.entries import UNREAD_FORMATS, Entry, split_reference
from arun.system import environment, logs, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from arun.core.addresses import Address
    from arun.core.transport import Transport
    from arun.listen.claims import Busy, Wanted
    from arun.listen.sockets import Listener
    from arun.settings import Layers, Settings
    from arun.supervisor.contract import InheritedWorker
    from arun.system.daemon import WaitingCommand
    from arun.system.log_file import LogFile
    from arun.system.notify import ServiceManager
    from arun.system.process import StopSignals
    from arun.system.program import Program

__all__ = (
    "WELCOME",
    "Attempt",
    "Plan",
    "become",
    "go_back",
    "located",
    "needed_files",
    "plan",
    "shown",
    "unfit",
    "upgrade",
    "without_lost",
)

#: The folder that holds the packages ``arun`` and ``arun_welcome``.
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: What a start is called that no config file describes.
COMMAND_LINE = "command line"
#: The name that stands for the built-in fallback, and the file that it means.
WELCOME = "welcome"


class Attempt:
    """The start that is under way, as far as its end needs to know; filled in as the start learns it."""

    def __init__(
        self, program: Program, signals: StopSignals, arguments: tuple[str, ...], past: handover.Handover
    ) -> None:
        self.program = program
        self.signals = signals
        self.arguments = arguments
        self.past = past
        self.config = COMMAND_LINE
        self.fallback: str | None = None
        #: What the chain comes to when none of its links works: ``page`` or ``exit``.
        self.last_resort = past.last_resort
        #: Whether the built-in page, should it follow, tells causes to visitors from this machine.
        self.debug = past.debug
        self.fallback_addresses: tuple[Wanted, ...] = ()
        self.falls_back_on = frozenset(("all",))
        self.limit = 8
        self.listeners: list[Listener] = []
        #: Those that it came with, from a predecessor or a service manager.
        self.inherited: tuple[Listener, ...] = ()
        #: Where it wants to listen, for a successor that names no address.
        self.wanted: tuple[Wanted, ...] = ()
        #: Where somebody else listens, until that one has gone.
        self.busy: tuple[Busy, ...] = ()
        #: What was around the process when it began.
        self.before = environment.Surroundings.current()._replace(
            called="" if program.called == program.cwd else program.called
        )
        #: Where a listener of this chain spoke TLS and is closed by now, or was to speak it, and how.
        self.secured: dict[Address, Transport] = {}
        self.collector = gc.get_threshold()
        self.records: tuple[FailureRecord, ...] = ()
        self.is_last_resort = False
        self.chosen: Settings | None = None
        self.pidfile: str | None = None
        #: Whom a failure is told: standard error, or the supervisor of a worker.
        self.report: Callable[[FailureRecord], None] = logs.frame
        #: Listeners that a service manager kept over a restart, until it is known who is wanted.
        self.stored: tuple[Listener, ...] = ()
        self.manager: ServiceManager | None = None
        self.log_file: LogFile | None = None
        self.is_detached = past.detached
        #: The command that waits for this start, where the process has gone to the background.
        self.command: WaitingCommand | None = None

    def read(self, environ: Mapping[str, str]) -> Layers:
        """Read the settings of this start; a fallback goes by its config alone, the built-in one by what it inherits too."""
        inherited = (Entry("debug", "true", "the start that failed"),) if self.is_built_in and self.past.debug else ()
        return settings.read(
            self.arguments,
            environ,
            directory=self.program.cwd,
            factory_reset=self.is_fallback,
            inherited=inherited,
        )

    def note(self, layers: Layers) -> None:
        """Note what is known before the settings are judged: the config, and the fallback."""
        self.fallback = None if layers.asked else located(layers.fallback)
        self.last_resort = layers.last_resort or self.last_resort
        if layers.configs:
            self.config = os.path.join(self.program.cwd, layers.configs[0].name)

    def heed(self, chosen: Settings) -> None:
        """Go by these settings from now on."""
        self.chosen = chosen
        self.note_end(chosen)
        logs.set_level(chosen.log_level)

    def note_end(self, chosen: Settings) -> None:
        """Note what settings say about the end of this start, also those that cannot be taken otherwise."""
        self.limit, self.falls_back_on = chosen.fallback_limit, frozenset(chosen.fallback_on)
        if chosen.said("debug"):
            self.debug = chosen.debug

    def reopen_log_file(self) -> None:
        """Open the log file again, if there is one."""
        if self.log_file is not None:
            self.log_file.reopen()

    @property
    def is_built_in(self) -> bool:
        """Whether this start has no config of a user's: it is the built-in fallback, or the page in the same process."""
        return self.is_last_resort or (self.is_fallback and self.config == welcome_config())

    @property
    def is_fallback(self) -> bool:
        """Whether this start follows a failed one in the same process."""
        return bool(self.past.tried)

    @property
    def successor(self) -> str | None:
        """The config that may follow if this start fails: its fallback, or the last resort of the chain that it is in."""
        if self.fallback is not None or not self.is_fallback or self.last_resort == "exit":
            return self.fallback
        return None if self.is_built_in else welcome_config()

    @property
    def pidfiles(self) -> tuple[str, ...]:
        """The pid files that this start and those before it in its chain have written, or were to write."""
        return tuple(dict.fromkeys((*self.past.pidfiles, *filter(None, (self.pidfile,)))))

    @property
    def can_go_back(self) -> bool:
        """Whether SIGHUP makes the process try its first start again: not where an exec was just refused."""
        return self.is_fallback and not self.is_last_resort

    def history(self, records: tuple[FailureRecord, ...]) -> handover.Handover:
        """What the successor of this attempt is to know."""
        past = self.past if self.is_fallback else handover.Handover(self.program.argv, self.program.cwd)
        wanted = tuple(handover.WantedAddress(str(one.address), one.origin, one.transport) for one in self.wanted)
        past = past._replace(
            wanted=wanted or past.wanted, last_resort=self.last_resort, debug=self.debug, pidfiles=self.pidfiles
        )
        return past.after(records, config_key(self.config))


class Plan(Value):
    """What follows a failed start: the config to become, or None for nothing.

    ``is_last`` tells that the start belongs to a chain that ends with it: it names no fallback of its own, or none that
    may be tried (``end`` says why). What follows then is the built-in config, once, unless ``last-resort`` is ``exit``.
    ``is_narrowed`` tells that ``fallback-on`` does not name such a failure.
    """

    config: str | None = None
    is_last: bool = False
    end: FallbackLoop | FallbackLimit | None = None
    is_narrowed: bool = False


def plan(attempt: Attempt, failures: tuple[StartupFailure, ...]) -> Plan:
    """Decide what follows a failed attempt.

    Nothing follows where nobody asked for a fallback, or not for such a failure (``fallback-on``).
    """
    is_chain = attempt.is_fallback or attempt.fallback is not None
    if not any({"all", failure.identifier, failure.stage} & attempt.falls_back_on for failure in failures):
        return Plan(is_last=attempt.is_fallback, is_narrowed=is_chain)
    end = None
    if attempt.fallback is not None:
        end = _end_of_chain(attempt, attempt.fallback)
        if end is None:
            return Plan(attempt.fallback)
    serves_page = is_chain and attempt.last_resort == "page" and not _was_tried(attempt, welcome_config())
    return Plan(welcome_config() if serves_page else None, is_chain, end)


def _end_of_chain(attempt: Attempt, config: str) -> FallbackLoop | FallbackLimit | None:
    if _was_tried(attempt, config):
        return FallbackLoop(f"{shown(config, attempt.program.cwd)} was tried before in this chain")
    if len(attempt.past.tried) >= attempt.limit:
        return FallbackLimit(
            f"the chain of fallbacks has {len(attempt.past.tried)} links, and fallback-limit is {attempt.limit}"
        )
    return None


def _was_tried(attempt: Attempt, config: str) -> bool:
    return config_key(config) in {*attempt.past.tried, config_key(attempt.config)}


def become(attempt: Attempt, config: str, records: tuple[FailureRecord, ...]) -> NoReturn:
    """Replace this process by arun with ``config`` as its one argument; bound listeners and the handover go along.

    Raises:
        StopRequested: a stop signal came in time; there is no need for a successor.
        ExecFailed: the system refuses; the process is as it was, but its children are gone and stop signals blocked.
    """
    if attempt.signals.count:
        raise process.StopRequested
    logs.write(f"!!! {attempt.program.name} (pid: {os.getpid()}) exited with status 1 !!!\n")
    logs.write(f"!!! Fallback config to {printable(shown(config, attempt.program.cwd))} !!!\n")
    _replace_process(attempt, (config,), attempt.history(records))


def go_back(attempt: Attempt) -> NoReturn:
    """Replace this fallback by the first start of its chain, with the listeners and without the history.

    Raises:
        StopRequested: a stop signal came in time.
        ExecFailed: as in ``become``.
    """
    command = " ".join([attempt.program.name, *attempt.past.argv[1:]])
    logs.info(f"arun: going back to the first start: {command}")
    _replace_process(attempt, attempt.past.argv[1:], handover.Handover())


def upgrade(attempt: Attempt, workers: tuple[InheritedWorker, ...]) -> NoReturn:
    """Replace this process by the arun that is installed now, started as this one was; its workers go on serving.

    Other children that it has are on their way out already, and are left to it.

    Raises:
        StopRequested: a stop signal came in time.
        ExecFailed: as in ``become``, but that no child was ended.
    """
    past = attempt.past._replace(workers=workers)
    _replace_process(attempt, attempt.arguments, past, spared=frozenset(process.children()))


def _replace_process(
    attempt: Attempt, arguments: tuple[str, ...], past: handover.Handover, spared: frozenset[int] = frozenset()
) -> NoReturn:
    try:
        late_signals = process.block_stop_signals()
        process.end_children(spared=attempt.program.children | spared)
        _check(attempt, arguments[0] if past.tried else None)
        _execute(attempt, arguments, past, late_signals)
    except ExecFailed:
        raise
    except Exception as error:  # whatever an app has done to this process, it can still answer by itself
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise ExecFailed(f"cannot execute {attempt.program.arguments[0]}: {reason}") from error


def _check(attempt: Attempt, config: str | None) -> None:
    if attempt.signals.count:
        raise process.StopRequested
    if path := _obstacle(attempt, config):
        raise ExecFailed(f"the successor could not read {path}, as uid {os.geteuid()}")


def _execute(attempt: Attempt, arguments: tuple[str, ...], past: handover.Handover, late_signals: int) -> NoReturn:
    passed = tuple(
        handover.InheritedListener(listener.socket.fileno(), str(listener.requested), listener.transport)
        for listener in without_lost(attempt)
    )
    closed = tuple(
        handover.InheritedListener(-1, str(address), transport) for address, transport in attempt.secured.items()
    )
    past = past._replace(
        listeners=passed,
        closed=closed if past.tried else (),
        signals=late_signals,
        detached=attempt.is_detached,
        log_file="" if attempt.log_file is None else attempt.log_file.path,
    )
    fd = handover.write(past)
    environ = {**attempt.program.environ, handover.VARIABLE: str(fd)}
    try:
        workers = [worker.fd for worker in past.workers]
        process.close_on_exec_except([fd, late_signals, *workers, *(listener.fd for listener in passed)])
        process.reset_for_exec(keep_ignored=attempt.program.ignored)
        _return_to(attempt.program.called)
        os.umask(attempt.program.umask)
        _exec((*attempt.program.arguments, *arguments), environ)
    finally:  # only reached when the exec failed
        os.close(fd)


def without_lost(attempt: Attempt) -> list[Listener]:
    """Return the listeners that are there still: an app may have closed descriptors that are not its own.

    One of a name that has lost another is known by its own address from now on, so that the other is bound again.
    """
    lost = [listener for listener in attempt.listeners if not listener.is_open]
    names = {listener.requested for listener in lost}
    for listener in lost:
        if listener.transport.tls is not None:
            attempt.secured[listener.requested] = listener.transport
        if listener.socket.fileno() >= 0:
            logs.warning(f"the socket of {listener.requested} is lost: the app has closed it")
            listener.socket.detach()  # the number may be something else by now
    return [
        listener._replace(requested=listener.place) if listener.requested in names else listener
        for listener in attempt.listeners
        if listener not in lost
    ]


def _exec(arguments: tuple[str, ...], environ: Mapping[str, str]) -> NoReturn:
    try:
        execve(arguments[0], arguments, environ)  # noqa: S606 - ourselves, as we were started
    except FileNotFoundError:  # replaced by an upgrade since: the kernel still has the file that we run
        execve("/proc/self/exe", arguments, environ)  # noqa: S606


def needed_files(attempt: Attempt, config: str | None) -> tuple[str, ...]:
    """Return the files that a successor has to read: the interpreter, its library, arun, the config if it has one."""
    needed = (attempt.program.arguments[0], os.__file__, os.path.abspath(__file__))
    return needed if config is None else (*needed, split_reference(config)[0])


def _obstacle(attempt: Attempt, config: str | None) -> str | None:
    """Return a file without which the exec would succeed and the successor die before it could say a word.

    An interpreter that was replaced is still to be had, and a config that is missing is told by the successor.
    """
    for path in needed_files(attempt, config):
        if not _is_gone(path) and not os.access(path, os.R_OK):
            return path
    return next(filter(_is_gone, _own_files()), None)


def files_are_away() -> bool:
    """Tell whether files are gone that this process was started from: an installer may be at work, or was."""
    return any(_is_gone(path) for path in _own_files())


def _own_files() -> list[str]:
    """Return the files of arun that this process has loaded, and where Python's library is."""
    own = [module.__file__ for name, module in tuple(sys.modules.items()) if name.partition(".")[0] == "arun"]
    return [os.__file__, *(path for path in own if path)]


def unfit(config: str) -> str:
    """Return why no config can be read where a reference leads, as it looks from outside; empty where nothing is wrong."""
    path = split_reference(config)[0]
    if path.endswith(".py"):
        return "is a program in Python, and arun runs no program to be configured"
    if os.path.splitext(path)[1].lower() in UNREAD_FORMATS:
        return "is in no format that arun reads"
    if _is_gone(path):
        return "is not there"
    try:
        mode = os.stat(path).st_mode
    except OSError as error:  # a link that leads nowhere, a folder that is closed
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    if not stat.S_ISREG(mode):
        return "is a directory" if stat.S_ISDIR(mode) else "is no regular file"
    return "" if os.access(path, os.R_OK) else "cannot be read: permission denied"


def _is_gone(path: str) -> bool:
    """Tell whether there is no such file; one in a folder that is closed to this user may well be there."""
    try:
        os.lstat(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def config_key(reference: str) -> str:
    """Return what makes a config the same config: device and inode of its file, and its section."""
    path, section = split_reference(reference)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return reference
    return f"{status.st_dev}:{status.st_ino}:{section}"


def shown(reference: str, cwd: str) -> str:
    """Return a config as a user would name it: relative below the starting directory, the built-in one by its name."""
    if reference == welcome_config():
        return WELCOME
    return os.path.relpath(reference, cwd) if reference.startswith(cwd.rstrip("/") + "/") else reference


def located(reference: str | None) -> str | None:
    """Return the file that a reference means; only the built-in config has a name that is no path."""
    return welcome_config() if reference == WELCOME else reference


def welcome_config() -> str:
    """Return the path of the built-in fallback config."""
    return os.path.join(_HOME, "arun_welcome", "welcome.ini")


def _return_to(cwd: str) -> None:
    """Go back to where the first start stood, so that relative paths in the fallback mean what its author meant."""
    try:
        os.chdir(cwd)
    except OSError:
        return  # gone, or closed to the user that we have become: the fallback's own path is absolute
