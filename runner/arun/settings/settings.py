"""The settings of an instance: the values of its options, and where each came from."""

from __future__ import annotations

from arun.core.addresses import Inherited, Tcp, Unix, absolute

from .declaration import declared
from .options import DEFAULT, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from arun.core.addresses import Address

    from .names import SecureAddress

__all__ = ("Settings",)


class Settings(Options):
    """All settings of an instance, frozen; each knows where it came from."""

    __slots__ = ("_given", "directory", "idle")

    def __init__(self, given: Mapping[str, tuple[Any, tuple[str, ...]]], directory: str) -> None:
        self._given = given
        self.directory = directory
        #: A sentence for each option that is given and has no effect beside the others.
        self.idle: list[str] = []

    def value(self, name: str) -> Any:
        """Return the value of an option by its canonical name (``log-level``), or its default."""
        return self._given[name][0] if name in self._given else declared(Settings)[name].default

    def origins(self, name: str) -> tuple[str, ...]:
        """Return where the value came from, one origin for each value of a repeatable option; empty for the default."""
        return self._given[name.replace("_", "-")][1] if name.replace("_", "-") in self._given else ()

    def origin(self, name: str) -> str:
        """Return where the value came from: ``--http-socket``, ``ARUN_BIND``, ``site.ini:12``, ``default``."""
        return ", ".join(dict.fromkeys(self.origins(name))) or "default"

    @property
    def addresses(self) -> tuple[tuple[Address, str], ...]:
        """Every address to listen on with its origin: those of bind, then host and port, uds, fd; empty if none."""
        found = list(zip(self.bind, self.origins("bind"), strict=True))
        if self.host is not None or self.port is not None:
            origins = ", ".join(dict.fromkeys(self.origins("host") + self.origins("port")))
            found.append((Tcp(self.host or DEFAULT.host, DEFAULT.port if self.port is None else self.port), origins))
        if self.uds is not None:
            found.append((Unix(self.uds.removeprefix("unix:")), self.origin("uds")))
        if self.fd is not None:
            found.append((Inherited(self.fd), self.origin("fd")))
        return tuple((absolute(address, self.directory), origin) for address, origin in found)

    @property
    def shared_addresses(self) -> tuple[tuple[Address, str], ...]:
        """Every address to bind before the privileges are dropped, with its origin."""
        found = zip(self.shared_socket, self.origins("shared-socket"), strict=True)
        return tuple((absolute(address, self.directory), origin) for address, origin in found)

    @property
    def secure_addresses(self) -> tuple[tuple[SecureAddress, str], ...]:
        """Every address of https-socket with its origin."""
        found = zip(self.https_socket, self.origins("https-socket"), strict=True)
        return tuple((one._replace(address=absolute(one.address, self.directory)), origin) for one, origin in found)

    @property
    def needing_supervisor(self) -> list[str]:
        """The options that are given and that only a supervisor applies."""
        replaced = "max-requests", "max-worker-lifetime", "reload-on-rss", "worker-timeout"
        names = "touch-reload", "preload", "crash-limit", "crash-interval", *replaced
        return [name for name in names if self.given(name) and self.value(name)]

    @property
    def logs_requests(self) -> bool:
        """Whether a line is written for each request."""
        asked = self.access_logfile is not None if self.access_log is None else self.access_log
        return asked and not self.disable_logging

    @property
    def measures_requests(self) -> bool:
        """Whether requests are measured for metrics, which can be asked for by HTTP."""
        return self.status is not None or self.status_path is not None

    @property
    def is_asked(self) -> bool:
        """Whether an option says where the state of the instance can be asked, or names a folder for that."""
        named = self.control not in {None, "none"} or bool(self.state_dir)
        return named or self.measures_requests

    @property
    def names_requests(self) -> bool:
        """Whether every request gets an id: it is asked for, or the header field that carries it is named."""
        return self.given("request-id-header") if self.request_id is None else self.request_id

    @property
    def is_supervised(self) -> bool:
        """Whether a supervisor runs workers: where it is asked for, or an option needs it."""
        if self.supervise is not None:
            return self.supervise
        return self.workers > 1 or bool(self.needing_supervisor)

    @property
    def timeout_wsgi_request(self) -> float:
        """Seconds that a WSGI app may take for a request: gunicorn's timeout bounds one at a time, as its sync workers do."""
        one_at_a_time = not self.given("threads") or self.threads == 1
        if self.timeout is None or self.given("timeout-request") or not one_at_a_time:
            return self.timeout_request
        return self.timeout

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the canonical names of all options."""
        return tuple(declared(Settings))

    def given(self, name: str) -> bool:
        """Return whether a layer names the option, even with a value that it does not take."""
        return name in self._given
