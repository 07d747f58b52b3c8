"""The configs of a drill: copies of those of an instance, on spare addresses of loopback, without what reaches outside."""

from __future__ import annotations

import json
import os
import socket
import sys

from arun.core import addresses
from arun.core.values import Value
from arun.settings import DEFAULT
from arun.settings.declaration import declared
from arun.settings.names import Variable
from arun.settings.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from arun.core.addresses import Address
    from arun.lifecycle.chain import Link
    from arun.settings.declaration import Option
    from arun.system.privileges import Identity

__all__ = ("Copies", "Spare")

_LOOPBACK = "127.0.0.1"
#: What says where to listen, which the copy says otherwise.
_LISTENING = ("bind", "host", "port", "uds", "fd", "shared-socket", "https-socket")
#: What would touch the real instance, its files, or people; what a client of the drill cannot do; and what is read already.
_LEFT_OUT = frozenset(
    (
        *_LISTENING,
        *("pidfile", "daemonize", "log-file", "access-log", "access-logfile", "access-logformat", "state-dir"),
        *("control", "status", "status-path", "on-fallback", "on-recover", "log-format", "log-level"),
        *("touch-reload", "reload", "vacuum", "chmod-socket", "chown-socket", "bind-retry", "proxy-protocol"),
        *("ssl-cert-reqs", "ssl-ca-certs", "config", "print", "ignore", "fallback-config"),
    )
)
#: What names the app.
_APP = frozenset(("app", "wsgi-file", "callable", "factory", "app-dir", "interface", "need-app", "chdir"))


class Spare:
    """Spare addresses, one for each that is named."""

    def __init__(self) -> None:
        self._of: dict[Address, addresses.Tcp] = {}
        # On Linux the whole network is this machine: on a host of its own nothing else takes a port before the instance does.
        self._host = (
            "127.{}.{}.{}".format(*(1 + one % 254 for one in os.urandom(3))) if sys.platform == "linux" else _LOOPBACK
        )

    def of(self, address: Address) -> addresses.Tcp:
        """Return the address that stands for another one."""
        if address not in self._of:
            self._of[address] = self.new()
        return self._of[address]

    def new(self) -> addresses.Tcp:
        """Return an address where nothing listens now."""
        with socket.socket() as one:
            one.bind((self._host, 0))
            return addresses.Tcp(self._host, one.getsockname()[1])


class Copies(Value):
    """A folder with the copies: readable for the user that the instance becomes, and for no other."""

    folder: str
    spare: Spare
    owner: Identity | None

    def fallbacks(self, chain: Sequence[Link], end: str | None) -> str | None:
        """Write the fallback configs of a chain, and return the first one; ``end`` is what follows the last one."""
        following = end
        for number, link in reversed(list(enumerate(chain))):
            if link.settings is None:
                values: dict[str, Any] = {"no-such-fallback": link.config}  # it is broken, and so is its copy
            else:
                values = self._copied(link.settings)
            if following is not None:
                values["fallback-config"] = following
            following = self.write(f"fallback-{number + 1}.json", json.dumps(values))
        return following

    def primary(self, settings: Settings, fallback: str, changes: Mapping[str, Any], *, keeps_app: bool) -> str:
        """Write the config of the start that is to fail, and return its path."""
        values = self._copied(settings)
        if not keeps_app:
            values = {name: value for name, value in values.items() if name not in _APP}
        if not any(name in values for name in _LISTENING):
            values["bind"] = [str(self.spare.of(DEFAULT))]
        values["bind"] = [*values.get("bind", ()), *changes.get("bind", ())]
        more = {name: value for name, value in changes.items() if name != "bind"}
        return self.write("primary.json", json.dumps({**values, "fallback-config": fallback, **more}))

    def write(self, name: str, content: str) -> str:
        """Write a file in place of the one that was there, and return its path."""
        path = os.path.join(self.folder, name)
        fresh = f"{path}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(content)
        if self.owner is not None and os.geteuid() == 0:
            os.chown(fresh, self.owner.uid, self.owner.gid)
        os.replace(fresh, path)
        return path

    def listens(self, settings: Settings) -> tuple[addresses.Tcp, bool]:
        """Return where a client asks the copy of these settings, and whether it speaks TLS there."""
        plain = (*settings.shared_addresses, *settings.addresses)
        if not plain and settings.secure_addresses:
            return self.spare.of(settings.secure_addresses[0][0].address), True
        is_secure = bool(settings.ssl_certfile) and not settings.https_socket
        return self.spare.of(plain[0][0] if plain else DEFAULT), is_secure

    def _copied(self, settings: Settings) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, option in declared(Settings).items():
            if name not in _LEFT_OUT and settings.given(name):
                value = settings.value(name)
                if value is not None:
                    values[name] = [_text(option, one) for one in value] if option.repeatable else _text(option, value)
        for name, named in (("shared-socket", settings.shared_addresses), ("bind", settings.addresses)):
            if named:
                values[name] = [str(self.spare.of(address)) for address, _ in named]
        if settings.secure_addresses:
            kind = declared(Settings)["https-socket"].kind
            values["https-socket"] = [
                _escaped(kind.shown(one._replace(address=self.spare.of(one.address), client_ca="")))
                for one, _ in settings.secure_addresses
            ]
        return {**values, "log-level": "info"}


def _text(option: Option, value: Any) -> str:
    """Return a value as a config may hold it, secrets included."""
    if isinstance(option.kind, Variable):
        return _escaped("=".join(value))
    return _escaped(str(value) if option.kind.hides else option.kind.shown(value))


def _escaped(text: str) -> str:
    """Return the text so that nothing in it is replaced when it is read from a config."""
    return text.replace("%", "%%").replace("$(", "$(ARUN_DRILL:-$)(").replace("@(", "$(ARUN_DRILL:-@)(")
