"""The state of one instance: how it was started, what it goes by now, and what it owns that has a life."""

from __future__ import annotations

import os
import sys
import time

from arun import __version__, settings
from arun.core import exits, genuine, redaction
from arun.core.failures import FailureRecord, failure_id
from arun.core.outlook import Outlook
from arun.instance import handover
from arun.instance.configuration import Configuration
from arun.instance.fallback import COMMAND_LINE, FallbackPolicy
from arun.instance.outage import Outage
from arun.instance.output import Output
from arun.instance.status import Status
from arun.listen import activation, sockets
from arun.listen.held import Sockets
from arun.settings import entries
from arun.system import logs, pidfile, process, tracebacks
from arun.system.launch import Launch
from arun.system.stop_signals import StopSignals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from arun.core.addresses import Address
    from arun.core.failures import StartupFailure
    from arun.core.listen_spec import ListenSpec
    from arun.instance.configuration import Candidate
    from arun.instance.control import Control
    from arun.listen.sockets import Listener
    from arun.settings import Layers, Settings
    from arun.supervisor.contract import InheritedWorker
    from arun.system.privileges import Identity

__all__ = ("Instance",)

#: Variables of a service manager that name a folder for the control socket.
_ASKED_BY = frozenset(("RUNTIME_DIRECTORY", "STATE_DIRECTORY"))


class Instance:
    """One instance in this process. Nothing of it is assigned from outside.

    Args:
        launch: how the process was started.
        past: what a predecessor in the same process has handed over.
        signals: the signals that it acts on.
        sockets: every listener that it holds.
        output: where its lines go.
        status: where its state is reported.
        configuration: what it goes by so far.
        is_in_place: an exec was refused, and this start takes place in the process that failed.
        outage: where its failures are recorded; by default in memory alone.
        control: where it is asked about its state, and told what to do; None for nowhere.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what one instance is made of
        self,
        launch: Launch,
        past: handover.Handover,
        signals: StopSignals,
        sockets: Sockets,
        output: Output,
        status: Status,
        configuration: Configuration,
        *,
        is_in_place: bool = False,
        outage: Outage | None = None,
        control: Control | None = None,
    ) -> None:
        self.launch = launch
        self.past = past
        self.signals = signals
        self.sockets = sockets
        self.output = output
        self.status = status
        self.configuration = configuration
        self.is_in_place = is_in_place
        self.outage = outage or Outage(handover.Handover())
        self.control = control
        #: Whether the supervisor of this worker can be told to take the app offline.
        self._is_ordered = False
        #: The fallback as it is known before any config is read; a reload begins with it again.
        self.initial_policy = configuration.fallback
        self._workers = past.workers
        self._pidfile: str | None = None
        #: When this start began, on the monotonic clock.
        self._began = time.monotonic()

    @classmethod
    def of_process(cls, gc_threshold: tuple[int, int, int]) -> Instance:
        """Gather what this start comes with, and know its fallback before anything can fail."""
        past = _handed_over()
        passed = activation.from_service_manager(os.environ)  # a successor is handed them: its environment names none
        launch, manager = Launch.current(gc_threshold), None
        if past.trial is not None and past.trial.arguments is not None:
            sys.argv[1:] = past.trial.arguments  # the app finds what it would find in the start itself
            launch = launch._replace(argv=tuple(sys.argv))
        if "NOTIFY_SOCKET" in os.environ:
            from arun.system import notify

            manager = notify.take(os.environ)
        held, secured = _adopted(past)
        policy = FallbackPolicy(chain=past.chain)
        if past.tried:
            name = " ".join(launch.arguments)  # its one argument: reported and remembered even if it cannot be read
        else:
            name = COMMAND_LINE
            config = settings.scan_fallback(launch.arguments, os.environ, launch.directory)
            chain = past.chain._replace(**settings.scan_chain(launch.arguments, os.environ))
            policy = FallbackPolicy(entries.located(config), chain=chain)
        logs.set_format(policy.chain.log_format)
        return cls(
            launch,
            past,
            StopSignals(),
            Sockets(held, passed, secured, manager),
            Output(past.log_file, is_detached=past.detached),
            Status(manager, outlook=_outlook(past)),
            Configuration(name, launch.directory, policy),
            outage=None if past.trial else Outage(past, _state_directory(launch, past)),
            control=_control(past) if past.control or past.status else None,
        )

    def as_worker(self, status: Status, candidate: Candidate) -> Instance:
        """Return the instance as a worker of it knows it; service manager and pid file are its supervisor's."""
        signals = StopSignals(is_workers=True, of_app=self.signals.of_app)
        configuration, held, _ = candidate
        worker = Instance(self.launch, self.past, signals, held.of_worker(), self.output, status, configuration)
        worker._is_ordered = self.goes_offline
        return worker

    def in_place(self, records: Sequence[FailureRecord]) -> Instance:
        """Return an instance that serves the welcome page in this very process, on the sockets that are still open.

        No config is read: the file may be what this user cannot read.
        """
        policy = self.configuration.fallback
        self.sockets.drop_lost()
        self.sockets.want((*self.sockets.wanted, *self.sockets.wanted_by_fallback))
        past = self.history(records)
        self.status.foresee(failures=past.failures)
        self.outage.close()
        return Instance(
            self.launch._replace(argv=self.launch.argv[:1]),
            past,
            StopSignals(),
            self.sockets,
            self.output,
            self.status,
            Configuration(COMMAND_LINE, self.launch.directory, policy._replace(config=None)),
            is_in_place=True,
            outage=Outage(past),
            control=self.control,
        )

    @property
    def goes_offline(self) -> bool:
        """Whether it can be told to take the app offline."""
        return self._is_ordered or (self.control is not None and self.control.takes_orders)

    # ---- what it goes by

    def read(self, environ: Mapping[str, str], directory: str) -> Layers:
        """Read the settings of this start; a fallback goes by its config alone, the built-in one by what it inherits too."""
        before = self.past.chain
        kept = {"debug": "true" if before.debug else "", "log-level": before.log_level} if self.is_built_in else {}
        inherited = tuple(entries.Entry(name, value, "the start that failed") for name, value in kept.items() if value)
        return settings.read(
            self.launch.arguments, environ, directory=directory, factory_reset=self.is_fallback, inherited=inherited
        )

    def adopt(self, configuration: Configuration, sockets: Sockets | None = None) -> None:
        """Go by this configuration from now on, and by the sockets of the candidate that it comes from."""
        self.configuration = configuration
        if sockets is not None:
            self.sockets = sockets
        if configuration.validated is not None:
            logs.set_level(configuration.validated.log_level)
            logs.set_format(configuration.fallback.chain.log_format)

    def open_control(self, settings: Settings, identity: Identity | None = None) -> None:
        """Be asked where the settings say, from now on; an instance that is asked nowhere loads nothing for it.

        Raises:
            StartupFailure: as in ``Control.open``.
        """
        is_asked = settings.is_asked or self.configuration.status_path or _ASKED_BY.intersection(self.launch.environ)
        if self.control is None and is_asked:
            self.control = _control(handover.Handover())
        if self.control is not None:
            self.control.open(self, settings, identity)

    def remove_control(self) -> None:
        """Close what answers for this instance and remove its files: the instance ends."""
        if self.control is not None:
            self.control.remove()

    def release_workers(self) -> tuple[InheritedWorker, ...]:
        """Return the workers from before an upgrade, once: the caller supervises them from then on."""
        workers, self._workers = self._workers, ()
        return workers

    @property
    def has_workers(self) -> bool:
        """Whether workers from before an upgrade serve that no supervisor has taken over yet."""
        return bool(self._workers)

    @property
    def is_fallback(self) -> bool:
        """Whether this start follows a failed one in the same process."""
        return bool(self.past.tried)

    @property
    def is_built_in(self) -> bool:
        """Whether this start has no config of a user's: it is the built-in fallback, or the page in the same process."""
        return self.is_in_place or (self.is_fallback and self.configuration.name == entries.welcome_config())

    @property
    def can_go_back(self) -> bool:
        """Whether SIGHUP makes the process try its first start again: not where an exec was just refused."""
        return self.is_fallback and not self.is_in_place

    @property
    def successor(self) -> str | None:
        """The config that may follow if this start fails: its fallback, or the last resort of the chain that it is in."""
        policy = self.configuration.fallback
        if policy.config is not None or not self.is_fallback or policy.chain.last_resort == "exit":
            return policy.config
        return None if self.is_built_in else entries.welcome_config()

    # ---- what is known of its failures

    def record(self, failure: StartupFailure, id: str = "") -> FailureRecord:  # noqa: A002 - the field's name
        """Return the record of a failure of this start, made now; ``id`` is that of the failed start, by default a new one."""
        words, flags = self.launch.argv[1:], settings.secret_flags()
        around = {**self.launch.environ, **os.environ}
        return FailureRecord.of(
            failure,
            config=self.shown_name,
            when=time.time(),
            secrets=(*self._secret_values(), *redaction.secrets_of(around, words, flags)),
            id=id or failure_id(),
            pid=os.getpid(),
            duration=time.monotonic() - self._began,
            link=len(self.past.tried) + 1,
            command=self.shown_command,
            versions=_versions(),
        )

    def record_of_first(self, failure: StartupFailure) -> FailureRecord:
        """Return the record of a failure that a try of the first start has had, noticed by this fallback."""
        first = self.past.failures[0]
        return self.record(failure)._replace(config=first.config, link=first.link, command=first.command, duration=0.0)

    @property
    def shown_command(self) -> str:
        """The command line of this start as a user would write it, without secrets."""
        program = self.launch.program
        words = ["python", *program.split(" ")] if program.startswith("-m ") else [program]
        return redaction.command_line([*words, *self.launch.arguments], settings.secret_flags())

    def serving(self) -> None:
        """The instance serves: record that, and run the command that an option names for it."""
        self.outage.serving(
            self.shown_name,
            self.shown_command,
            self.configuration.fallback.chain.on_fallback,
            self.configuration.settings.on_recover or "",
            self.launch,
        )

    def still_failing(self, records: Sequence[FailureRecord], *, is_new: bool, is_asked: bool) -> None:
        """The first start was tried again, and would fail with these: record that, and report it."""
        now = self.outage.tried(records, is_new=is_new)
        self.status.still_failing(
            records, now, lambda: self.describe(self.status.app), is_new=is_new, is_asked=is_asked
        )

    def _secret_values(self) -> tuple[str, ...]:
        chosen = self.configuration.validated
        if chosen is None:
            return ()
        password = chosen.ssl_keyfile_password
        return (*([password] if password else ()), *redaction.secrets_of(dict(chosen.env)))

    def report(self, failures: Sequence[StartupFailure]) -> tuple[FailureRecord, ...]:
        """Report failures, with the interpreter as it was before the app came; return their records. It raises nothing."""
        records: tuple[FailureRecord, ...] = ()
        try:
            if failures:
                genuine.restore()
                process.silence()
            exits.release_descriptors()
            one = failure_id()
            records = tuple(self.record(failure, one) for failure in failures)
            for failure in failures:
                # What the frames of a failed app hold goes: an exec needs memory, and the last resort runs in this process.
                failure.__traceback__ = failure.__cause__ = failure.__context__ = None
            for record in records:
                self.status.failed(record)
            if records:
                self.outage.failed(records)
        except BaseException as error:  # noqa: BLE001 - whatever the report raises, the way out is taken
            logs.warning(f"a failure could not be reported: {tracebacks.described(error)}")
        return records

    def renew_signals(self) -> StopSignals:
        """Receive signals anew: those before have ended a start."""
        self.signals = StopSignals()
        return self.signals

    def history(self, records: Sequence[FailureRecord]) -> handover.Handover:
        """Return what the successor of this start is to know."""
        past = self.past
        if not self.is_fallback:
            brake = past.brake.after_failure(served=self.status.served, has_served=self.status.served > 0)
            past = handover.Handover(self.launch.argv, self.launch.directory, brake=brake)
        past = self.outage.handed_over(past)._replace(
            chain=self.configuration.fallback.chain,
            wanted=self.sockets.wanted or past.wanted,
            pidfiles=self.pidfiles,
            workers=(),
        )
        return past.after(tuple(records), entries.config_key(self.configuration.name))

    def handover_of_return(self) -> handover.Handover:
        """Return what the first start of the chain is to know when it is tried again."""
        past = self.outage.handed_over(handover.Handover(brake=self.past.brake.returning()))
        return past._replace(earlier=self.outage.returning())

    @property
    def shown_name(self) -> str:
        """The name of its config as a user would write it."""
        return entries.shown(self.configuration.name, self.configuration.directory)

    def describe(self, app: str) -> str:
        """Return what a service manager shows: what is served, why that is a fallback, and what it waits for."""
        state = f"serving {app}"
        if self.past.failures:
            first = (self.status.outlook().failures or self.past.failures)[0]
            state = f"fallback {self.shown_name}: {first.config} failed with {first.summary()}"
        return state + "".join(f"; waiting: {one.failure.sentence}" for one in self.sockets.busy)

    # ---- its pid file

    @property
    def pidfiles(self) -> tuple[str, ...]:
        """The pid files that this start and those before it in its chain have written, or were to write."""
        return tuple(dict.fromkeys((*self.past.pidfiles, *filter(None, (self._pidfile,)))))

    def write_pidfile(self, path: str | None, *, origin: str) -> None:
        """Write the pid file, in place of the one that was written before; None for no file.

        Raises:
            StartupFailure: another arun that lives has written it, or it cannot be written.
        """
        if path == self._pidfile:
            return
        before, is_first = self._pidfile, self._pidfile is None
        if is_first:
            self._pidfile = path  # also where that fails: it is this start's to remove
        if path is not None:
            pidfile.write(path, origin=origin)
        self._pidfile = path
        if before is not None:
            pidfile.remove(before)

    def remove_pidfile(self) -> None:
        """Remove the pid file of this start, if it has written one."""
        if self._pidfile is not None:
            pidfile.remove(self._pidfile)

    def remove_pidfiles(self) -> None:
        """Remove the pid files of the whole chain."""
        for path in self.pidfiles:
            pidfile.remove(path)


def _control(past: handover.Handover) -> Control:
    from arun.instance.control import Control

    return Control(past)


def _outlook(past: handover.Handover) -> Outlook:
    text, allowed = past.offline or (None, ())
    return Outlook(past.failures, offline=text, allowed=tuple(allowed))


def _handed_over() -> handover.Handover:
    try:
        return handover.take(os.environ) or handover.Handover()
    except ValueError as error:
        logs.warning(f"{error}; ignored")
        return handover.Handover()


def _state_directory(launch: Launch, past: handover.Handover) -> str:
    """Return the state directory as far as it is known before any config is read; empty for none."""
    if past.tried:
        return past.state_dir
    named = settings.scan_state_dir(launch.arguments, os.environ) or past.state_dir
    named = named or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return os.path.join(launch.directory, named) if named else ""


def _versions() -> dict[str, str]:
    """Return the versions of arun, Python and the libraries that are loaded."""
    found = {"arun": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("uvloop", "aiohttp"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found


def _adopted(past: handover.Handover) -> tuple[list[Listener], dict[Address, ListenSpec]]:
    """Return the listeners of a predecessor, and where TLS was spoken by those that are closed."""
    held: list[Listener] = []
    secured = {}
    for fd, spec in past.listeners:
        try:
            held.append(sockets.adopt(fd, spec))
        except OSError as error:  # an older arun does not look whether its app had closed it
            logs.warning(f"the socket of {spec.address} is lost: {error.strerror}")
            if spec.tls:
                secured[spec.address] = spec
    secured.update((spec.address, spec) for spec in past.closed)
    secured.update((spec.address, spec) for spec in past.wanted if spec.tls)
    return held, secured
