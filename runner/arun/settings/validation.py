"""Validation: from layers to settings, with every mistake that shows in the settings alone.

Which layer counts for which option, whether each value can be taken, which values contradict each other, and which have no
effect beside the others. What needs the system (files, users, addresses) or the app is checked where it is used.
"""

from __future__ import annotations

from arun.core.addresses import Tcp, absolute
from arun.core.failures import CERTIFICATE_MISSING, OPTION_INVALID, StartupFailure

from .declaration import declared, named
from .kinds import Octal
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .declaration import Option
    from .entries import Entry
    from .layers import Layers

__all__ = ("SettingsRejected", "validate")

#: Options that belong together, with those that complete the others from a lower layer: a layer that names one of them
#: replaces all of the layers below it.
_TOGETHER = (
    (("bind", "host", "port", "uds", "fd"), ("host", "port")),
    (("app", "wsgi-file", "callable"), ("callable",)),
)


class SettingsRejected(Exception):  # noqa: N818 - the design's word, beside StartupFailure
    """Settings that failed validation: all problems, and the settings as far as they could be read."""

    def __init__(self, problems: tuple[StartupFailure, ...], partial: Settings) -> None:
        super().__init__("; ".join(one.sentence for one in problems))
        self.problems = problems
        self.partial = partial


def validate(layers: Layers) -> Settings:
    """Return the settings.

    Raises:
        SettingsRejected: with every problem of reading, of values in the order of the options, and of values that
            contradict each other.
    """
    problems, wrong = list(layers.problems), set[str]()
    given: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for name, entries in _in_force(layers).items():
        option = declared(Settings)[name]
        values, origins = [], []
        for entry in entries if option.repeatable else entries[-1:]:
            try:
                found = _decode(option, entry.value)
            except ValueError as error:
                wrong.add(name)
                sentence = f"{entry.written or entry.key}: {error}"
                problems.append(
                    StartupFailure(OPTION_INVALID, sentence, origin=entry.origin, hint=_hint(option, entry))
                )
            else:
                values += found
                origins += [entry.origin] * len(found)
        if option.repeatable and (values or name not in wrong):
            given[name] = (tuple(values), tuple(origins))
        elif values:
            given[name] = (values[-1], (origins[-1],))
    if "timeout" in given:
        given.setdefault("worker-timeout", given["timeout"])
    settings = Settings(given, layers.directory)
    problems += _contradictions(settings, wrong, inherits_tls=layers.factory_reset)
    if problems:
        raise SettingsRejected(_reportable(problems), settings)
    settings.idle = _without_effect(settings)
    return settings


def _hint(option: Option, entry: Entry) -> str:
    """Return the hint; what a short flag means to other runners only where that flag was written."""
    return option.hint or (option.short_hint if entry.origin.startswith(f"-{option.short}") else "")


def _reportable(problems: list[StartupFailure]) -> tuple[StartupFailure, ...]:
    """Return the problems, each once (a key of another runner may stand for several options), and of very many the first ones."""
    from .hints import MOST_REPORTED

    problems = list({(one.cause.identifier, one.sentence, one.origin): one for one in problems}.values())
    reported, rest = problems[:MOST_REPORTED], problems[MOST_REPORTED:]
    if rest:
        reported.append(StartupFailure(rest[0].cause, f"there are {len(rest)} more mistakes like these"))
    return tuple(reported)


def _in_force(layers: Layers) -> dict[str, list[Entry]]:
    """Return for each option the entries of the highest layer that names it, less those that are superseded."""
    by_option: dict[str, tuple[int, list[Entry]]] = {}
    for level, layer in enumerate(layers.entries):
        for entry in layer:
            name = named(Settings)[entry.key].name
            found, entries = by_option.setdefault(name, (level, []))
            if found == level:
                entries.append(entry)
    if (
        by_option.keys() & {"shared-socket", "https-socket"}
        and by_option.get("bind", (0, []))[0] == len(layers.entries) - 1
    ):
        by_option.pop("bind", None)  # PORT is an address only where nothing else is one
    for together, completing in _TOGETHER:
        top = min((by_option[name][0] for name in together if name in by_option), default=None)
        complete = any(name in by_option and by_option[name][0] == top for name in completing)
        for name in together:
            if name in by_option and by_option[name][0] != top and not (complete and name in completing):
                del by_option[name]
    order = [name for name in declared(Settings) if name in by_option]
    return {name: by_option[name][1] for name in order}


def _decode(option: Option, raw: Any) -> list[Any]:
    """Return the values of one entry; a list or a separated text may hold several.

    Raises:
        ValueError: a sentence with what the option cannot take.
    """
    if raw is None or isinstance(raw, bool):
        if option.is_flag:
            return [raw is not False]
        if raw is None and option.bare is not None:
            return [option.kind(option.bare)]
        raise ValueError(f"it takes a value ({option.metavar})" + ("" if raw is None else f", not {str(raw).lower()}"))
    if isinstance(raw, list):
        if not option.repeatable or any(isinstance(one, list) for one in raw):
            raise ValueError(f"it takes one value ({option.metavar}), not a list")
        return [value for one in raw for value in _decode(option, one)]
    if isinstance(raw, dict):
        if option.name != "env":
            raise ValueError(f"it takes a value ({option.metavar}), not a table")
        return [option.kind(f"{key}={str(one).lower() if isinstance(one, bool) else one}") for key, one in raw.items()]
    if isinstance(raw, int) and isinstance(option.kind, Octal):
        raise ValueError(  # noqa: TRY004 - what is wrong is the value in the file
            f'{raw} is a number, and a mode is octal: write it in quotes, such as "660"'
        )
    text = str(raw)
    for separator in option.separator[1:]:
        text = text.replace(separator, option.separator[0])
    parts = [part.strip() for part in text.split(option.separator[0])] if option.separator else [text]
    return [option.kind(part) for part in parts]


def _contradictions(settings: Settings, wrong: set[str], *, inherits_tls: bool) -> list[StartupFailure]:
    """Return the options that contradict each other, or lack one that they need.

    Options in ``wrong`` have a value that is invalid by itself and contradict nothing. With ``inherits_tls`` a listener
    without a certificate takes that of a failed start at its address.
    """
    keys, certificates = len(settings.ssl_keyfile), len(settings.ssl_certfile)
    lacking, hint = _lacking_for_client_certificates(settings)
    found: list[tuple[bool, str, tuple[str, ...], str]] = [
        (
            settings.workers > 1 and settings.supervise is False,
            f"{settings.workers} workers need a supervisor",
            ("supervise", "workers"),
            "say yes to supervise",
        ),
        (
            settings.app is not None and settings.wsgi_file is not None,
            f"two apps are named, {settings.app!r} and {settings.wsgi_file!r}",
            ("wsgi-file", "app"),
            "name one; the attribute of a file is --callable, or stands behind a colon",
        ),
        (
            keys not in {0, certificates},
            f"ssl-keyfile: each key belongs to a certificate, and here are {keys} for {certificates}",
            ("ssl-keyfile", "ssl-certfile"),
            "say --ssl-certfile and --ssl-keyfile equally often, in the same order",
        ),
        (
            _listens_twice(settings),
            f"status: the app listens at {settings.status} itself",
            ("status", "bind"),
            "name another address, or say --status-path /-/ to be answered on those of the app",
        ),
        (
            bool(lacking),
            f"ssl-cert-reqs: {settings.ssl_cert_reqs} needs {lacking}",
            ("ssl-cert-reqs", "ssl-certfile", "ssl-ca-certs", "https-socket"),
            hint,
        ),
    ]
    problems = [
        StartupFailure(OPTION_INVALID, sentence, origin=settings.origin(names[0]), hint=hint)
        for holds, sentence, names, hint in found
        if holds and not wrong & set(names)
    ]
    if not (inherits_tls or settings.ssl_certfile or "ssl-certfile" in wrong):
        problems += [
            StartupFailure(
                CERTIFICATE_MISSING,
                "TLS is asked for, and no certificate is named",
                origin=origin,
                hint="name one with --ssl-certfile, or behind the address of --https-socket",
            )
            for one, origin in settings.secure_addresses
            if not one.certfile
        ]
    return problems


def _listens_twice(settings: Settings) -> bool:
    """Return whether the status listener and the app want the same address; port 0 is another one each time."""
    status = settings.status
    if status is None or (isinstance(status, Tcp) and not status.port):
        return False
    return any(one == absolute(status, settings.directory) for one, _ in settings.addresses)


def _lacking_for_client_certificates(settings: Settings) -> tuple[str, str]:
    """Return what ssl-cert-reqs needs and the settings do not name, and the hint; empty where nothing is missing."""
    if settings.ssl_cert_reqs == "none":
        return "", ""
    sockets = settings.https_socket
    has_authorities = settings.ssl_ca_certs or (sockets and all(one.client_ca for one in sockets))
    authorities = "the authorities that certificates of clients come from"
    if not (settings.ssl_certfile or sockets):
        hint = "name one with --ssl-certfile or --https-socket"
        if has_authorities:
            return "TLS, and no certificate is named", hint
        return (
            f"TLS, and no certificate is named; it also needs {authorities}",
            f"{hint}, and these with --ssl-ca-certs",
        )
    return ("", "") if has_authorities else (authorities, "name their certificates with --ssl-ca-certs")


def _without_effect(settings: Settings) -> list[str]:
    """Return a sentence for each option that has no effect beside the others."""
    logs = settings.logs_requests or settings.access_log is False or settings.disable_logging
    speaks_tls = settings.ssl_certfile or settings.https_socket
    rules = (
        (settings.supervise is not False, "a supervisor", tuple(settings.needing_supervisor)),
        (logs, "--access-log or --access-logfile", ("access-logformat", "access-log-quiet")),
        (speaks_tls, "a certificate", ("ssl-keyfile-password", "ssl-version", "ssl-ca-certs", "ssl-ciphers")),
        (settings.proxy_protocol, "--proxy-protocol", ("proxy-allow-from",)),
        (settings.max_requests, "--max-requests", ("max-requests-jitter",)),
    )
    return [
        f"{name} (from {settings.origin(name)}) does nothing without {what}"
        for is_there, what, names in rules
        for name in names
        if not is_there and settings.given(name)
    ]
