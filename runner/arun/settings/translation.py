"""From the names of other runners to settings: equivalents are taken, names that would change the site are refused.

Only a start that meets such a name, or a section of uWSGI, imports it; the names are in runner/arun/settings/elsewhere.py.
"""

from __future__ import annotations

import os
import sys

from arun.core.failures import OPTION_INVALID, OPTION_UNKNOWN, OPTION_UNSUPPORTED, StartupFailure

from .declaration import named
from .elsewhere import ATOMS, GREEN, HTTP2, LANGUAGES, OWN_KIND, PLAIN_HTTP, PYTHON_ONLY, Meaning, meaning, names
from .entries import GUNICORN, formats_requests, normal
from .hints import MOST_REPORTED, nearest
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .entries import Entry

__all__ = ("Translator",)

_OFF = ("false", "no", "off", "0")
_PARSERS = ("auto", "h11", "httptools", "zttp", "1")
_SILENT = Meaning("silent")
#: Kinds of worker that do not bound a request by gunicorn's timeout: it is the silence of the worker there.
_CONCURRENT = ("gthread", "uvicorn", "aiohttp", "asgi", "asyncio", "uvloop")
#: The beginnings of the names of uWSGI's plugins that run something else than a WSGI app in threads.
_LANGUAGES = tuple(LANGUAGES.split())


class Translator:
    """Translates the layers of a start one by one; then returns what is refused, and what is left out, in one line."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._refused: list[tuple[str, StartupFailure]] = []
        self._notes: dict[str, tuple[str, str]] = {}
        #: Whether a kind of worker is named to which gunicorn's timeout is no bound of a request.
        self._is_concurrent = False
        #: What ``ignore`` names, once all layers are finished.
        self.ignored: frozenset[str] = frozenset()

    def layer(self, entries: Iterable[Entry], used: Iterable[str] = ()) -> list[Entry]:
        """Return what the entries of a layer mean; ``used`` are keys that served as placeholders."""
        entries, used = list(entries), frozenset(used)
        context = _Context(entries, self._directory)
        translated: list[Entry] = []
        for entry in entries:
            translated += self._translated(entry, context, used)
        if any(named(Settings)[entry.key].name == "shared-socket" for entry in translated):
            # uWSGI's "=0" is the first shared socket, which is served anyway
            translated = [entry for entry in translated if not _numbers_shared_socket(entry)]
        return translated

    def finished(
        self, layers: Sequence[Sequence[Entry]]
    ) -> tuple[tuple[tuple[Entry, ...], ...], list[StartupFailure], list[str]]:
        """Return the layers as they count beside each other, what is refused, and a line about what is left out.

        A kind of worker decides what gunicorn's timeout means in all of them, and what one ignores is ignored in all.
        """
        counting = {"timeout": "worker-timeout"} if self._is_concurrent else {}
        translated = tuple(tuple(one._replace(key=counting.get(one.key, one.key)) for one in layer) for layer in layers)
        origins = {name: entry.origin for layer in layers for entry in layer for name in _ignored(entry)}
        self.ignored = ignored = frozenset(origins)
        unknown = [self._unknown_ignored(name, origin) for name, origin in origins.items() if not self._knows(name)]
        refused = [problem for key, problem in self._refused if key not in ignored]
        notes = [
            f"{label} ({why})" if why else label for label, (key, why) in self._notes.items() if key not in ignored
        ]
        return translated, refused, unknown + ([f"arun does without {', '.join(notes)}"] if notes else [])

    def _knows(self, name: str) -> bool:
        """Return whether there is an entry of that name to be ignored."""
        met = name in self._notes or any(name == key for key, _ in self._refused)
        return met or name == GUNICORN or meaning(name) is not None

    def _unknown_ignored(self, name: str, origin: str) -> str:
        from difflib import get_close_matches

        if name in named(Settings):
            return f"ignore: {name!r} is an option of arun (from {origin})"
        near = get_close_matches(name, [*names(), GUNICORN], 1, 0.72)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"ignore: {name!r} is no option of another runner{meant} (from {origin})"

    def _translated(self, entry: Entry, context: _Context, used: frozenset[str]) -> list[Entry]:
        option = named(Settings).get(entry.key)
        if option is not None and not formats_requests(entry) and not (option.command_line_only and entry.path):
            is_length = entry.lenient and option.name == "listen" and str(entry.value).isdigit()
            return [entry._replace(key="backlog")] if is_length else [entry]
        found = meaning(entry.key)
        if found is None:
            self._unknown(entry, context, used)
            return []
        if found.kind == "by-value" and isinstance(entry.value, list):
            each = [entry._replace(value=value) for value in entry.value]
            return [one for part in each for one in self._translated(part, context, used)]
        decided = self._decided(entry, found, context)
        if isinstance(decided, list):
            return [one._replace(written=entry.key) for one in decided]
        if decided.kind == "unsupported":
            if str(entry.value).lower() not in _OFF:
                self._refuse(entry, decided.text)
        elif entry.key not in used and (decided.kind == "noted" or not entry.lenient):
            self._notes.setdefault(_label(entry), (entry.key, _worded(decided.text, entry)))
        return []

    def _decided(self, entry: Entry, found: Meaning, context: _Context) -> list[Entry] | Meaning:
        """Return the equivalent entries of arun, or why there are none."""
        if found.kind == "same":
            return [entry._replace(key=name) for name in found.text.split()]
        if found.kind != "by-value":
            return found
        if found.takes_value and (entry.value is None or entry.value in ("", True)):
            self._refused.append(
                (entry.key, StartupFailure(OPTION_INVALID, f"{_label(entry)}: it takes a value", origin=entry.origin))
            )
            return []
        decided = _BY_VALUE[entry.key](entry, context)
        self._is_concurrent |= context.is_concurrent
        return decided

    def _refuse(self, entry: Entry, instead: str) -> None:
        sentence, bar, hint = instead.rpartition("|")
        if not bar:
            sentence = f"{_label(entry)} is not done by arun, and the site may depend on it"
        hint = f"{_worded(hint, entry)}; {_worded('{ignore}', entry)} {'' if _is_flag(entry) else '= '}{entry.key} starts without it"
        self._refused.append((entry.key, StartupFailure(OPTION_UNSUPPORTED, sentence, origin=entry.origin, hint=hint)))

    def _unknown(self, entry: Entry, context: _Context, used: frozenset[str]) -> None:
        """Pass over a key that only placeholders use, or that uWSGI would pass over; refuse what looks like a slip."""
        if entry.key in used:
            return
        if entry.key in named(Settings):
            hint = f"it is for the command line alone: --{entry.key}"
            self._refused.append(
                (entry.key, StartupFailure(OPTION_UNKNOWN, f"no file has {entry.key}", origin=entry.origin, hint=hint))
            )
            return
        is_noise = len(self._refused) + len(self._notes) >= MOST_REPORTED  # to look for what was meant takes a while
        near = "" if is_noise else nearest(entry.key, names() if entry.lenient else ())
        if entry.lenient and not near and not context.is_strict:
            self._notes.setdefault(entry.key, (entry.key, "uWSGI does not know it either"))
            return
        hint = f"did you mean {near}?" if near else ""
        if entry.lenient and near:
            hint += f" if not, say ignore = {entry.key}"
        self._refused.append(
            (entry.key, StartupFailure(OPTION_UNKNOWN, f"arun has no key {entry.key}", origin=entry.origin, hint=hint))
        )


class _Context:
    """The other entries of a layer, the folder of relative paths, and notes on values."""

    def __init__(self, entries: list[Entry], directory: str) -> None:
        folders = [str(entry.value) for entry in entries if entry.key in {"chdir", "force-cwd"} and entry.value]
        self.directory = os.path.join(directory, *folders[-1:])
        protocols = [str(entry.value) for entry in entries if entry.key in {"protocol", "socket-protocol"}]
        self.speaks_http = bool(protocols) and protocols[-1] in {"http", "http11"}
        self.is_strict = any(entry.key == "strict" and str(entry.value).lower() not in _OFF for entry in entries)
        self.is_concurrent = False


def _ignored(entry: Entry) -> list[str]:
    """Return the names that an entry of ``ignore`` holds; validation reports a value that is none."""
    if entry.key != "ignore":
        return []
    found = entry.value if isinstance(entry.value, list) else str(entry.value or "").split(",")
    return [name for one in found if (name := normal(str(one).strip()))]


def _label(entry: Entry) -> str:
    return entry.origin.partition(" ")[0] if _is_flag(entry) else entry.key


def _is_flag(entry: Entry) -> bool:
    return not entry.path


def _worded(text: str, entry: Entry) -> str:
    return text.replace("{", "--" if _is_flag(entry) else "").replace("}", "")


def _numbers_shared_socket(entry: Entry) -> bool:
    value = entry.value
    return (
        named(Settings)[entry.key].name == "bind"
        and isinstance(value, str)
        and value[:1] == "="
        and value[1:].isdigit()
    )


def _http(entry: Entry, _context: _Context) -> list[Entry] | Meaning:
    """The address of uWSGI's router, uvicorn's parser, or granian's version of HTTP."""
    if str(entry.value) in _PARSERS:
        return Meaning("noted", "arun has a parser of its own")
    return Meaning("unsupported", HTTP2) if str(entry.value) == "2" else [entry._replace(key="bind")]


def _socket(entry: Entry, context: _Context) -> list[Entry] | Meaning:
    if context.speaks_http and entry.key == "socket":
        return [entry._replace(key="bind")]
    return Meaning("unsupported", f"{_label(entry)} speaks uWSGI's binary protocol, and arun HTTP|{PLAIN_HTTP}")


def _protocol(entry: Entry, _context: _Context) -> Meaning:
    is_http = str(entry.value) in {"http", "http11"}
    return _SILENT if is_http else Meaning("unsupported", PLAIN_HTTP)


def _home(entry: Entry, context: _Context) -> Meaning:
    """A Python environment: the interpreter that runs arun has one already."""
    wanted = os.path.normpath(os.path.join(context.directory, str(entry.value)))
    if os.path.realpath(wanted) == os.path.realpath(sys.prefix):
        return _SILENT
    command = os.path.join(wanted, "bin", "arun")
    install = "" if os.path.exists(command) else f"{os.path.join(wanted, 'bin', 'pip')} install arun-server, and "
    sentence = f"{_label(entry)}: {wanted} is not the Python environment that runs arun, {sys.prefix}"
    return Meaning("unsupported", f"{sentence}|{install}start {command}")


def _plugin(entry: Entry, _context: _Context) -> Meaning:
    named_plugins = [os.path.basename(one).partition("_plugin")[0].strip() for one in str(entry.value).split(",")]
    if any(
        one.startswith(("gevent", "greenlet", "asyncio", "tornado", "coroae", "stackless")) for one in named_plugins
    ):
        return Meaning("unsupported", GREEN)
    return Meaning("unsupported", PYTHON_ONLY) if any(one.startswith(_LANGUAGES) for one in named_plugins) else _SILENT


def _worker_class(entry: Entry, context: _Context) -> list[Entry] | Meaning:
    """A kind of workers of gunicorn or hypercorn, by its name or the module that holds it."""
    kind = str(entry.value).lower()
    context.is_concurrent = kind.startswith(_CONCURRENT)
    if kind in {"asyncio", "uvloop"}:
        return [entry._replace(key="loop", value=kind)]
    if kind == "sync" or context.is_concurrent:
        return Meaning("noted", OWN_KIND)
    sentence = f"{_label(entry)}: arun has no workers of the kind {kind!r}"
    if "gevent" in kind or "eventlet" in kind:
        return Meaning("unsupported", f"{sentence}|leave it out: {GREEN}")
    if "tornado" in kind:
        return Meaning("unsupported", f"{sentence}|arun serves no Tornado app: start it with its own listen()")
    return Meaning("unsupported", f"{sentence}|leave it out: {OWN_KIND}, and runs it on asyncio")


def _log_format(entry: Entry, _context: _Context) -> list[Entry]:
    """The lines of requests, which uWSGI writes unless something forbids them."""
    return [
        entry._replace(key="access-logformat", value=_atoms(str(entry.value))),
        entry._replace(key="access-log", value=True),
    ]


def _atoms(text: str) -> str:
    """Return uWSGI's format of request lines as arun writes it; what it has no value for is a dash.

    Source: uWSGI's documentation, "Formatting uWSGI requests logs".
    """
    parts = []
    for time in ("time", "ltime", "ctime"):  # arun's time has the brackets of Apache's
        text = text.replace(f"[%({time})]", f"%({time})")
    literal, *rest = text.split("%(")
    parts.append(literal.replace("%", "%%"))
    for one in rest:
        name, closed, literal = one.partition(")")
        if not closed:
            parts.append(f"%%({name}")
        elif name.startswith("var.HTTP_"):
            parts.append(f"%{{{name.removeprefix('var.HTTP_').replace('_', '-')}}}i")
        else:
            parts.append(ATOMS.get(name, "-"))
        parts.append(literal.replace("%", "%%"))
    return "".join(parts)


def _logger(entry: Entry, _context: _Context) -> list[Entry] | Meaning:
    kind, _, path = str(entry.value).partition(":")
    if kind != "file" or not path:
        return Meaning("noted", "lines go to files, or to standard error")
    if entry.key == "logger":
        return [entry._replace(key="log-file", value=path)]
    return [entry._replace(key="access-logfile", value=path)]


def _buffer_size(entry: Entry, _context: _Context) -> list[Entry]:
    """The most that the head of a request may hold, in one line or in all of them."""
    text = str(entry.value)
    sizes = {"limit-request-head": str(max(int(text), 1024)) if text.isdigit() else text}
    sizes |= dict.fromkeys(("limit-request-line", "limit-request-field-size"), text)
    return [entry._replace(key=key, value=value) for key, value in sizes.items()]


def _protocols(entry: Entry, _context: _Context) -> Meaning:
    return _SILENT if "h1" in str(entry.value).split(",") else Meaning("unsupported", HTTP2)


def _cleartext(entry: Entry, _context: _Context) -> Meaning:
    return _SILENT if str(entry.value).lower() in _OFF else Meaning("unsupported", HTTP2)


def _header_map(entry: Entry, _context: _Context) -> Meaning:
    if str(entry.value) == "dangerous":
        return Meaning(
            "unsupported", "a field with an underscore is never a variable of the app, as it could pass for another"
        )
    return _SILENT


def _client_verify(entry: Entry, _context: _Context) -> list[Entry]:
    demanded = entry.value is None or str(entry.value).lower() not in _OFF
    return [entry._replace(key="ssl-cert-reqs", value="required" if demanded else "none")]


def _umask_or_module(entry: Entry, _context: _Context) -> list[Entry] | Meaning:
    """What -m means: to gunicorn the umask, to users of Python a module."""
    if str(entry.value).removeprefix("0o").isdigit():
        return [entry._replace(key="umask")]
    return [entry._replace(key="module")]


def _keep_alive(entry: Entry, _context: _Context) -> list[Entry] | Meaning:
    is_time = str(entry.value).isdigit() and str(entry.value) != "1"
    return [entry._replace(key="timeout-keep-alive")] if is_time else _SILENT


_BY_VALUE = {
    "http": _http,
    "socket": _socket,
    "uwsgi-socket": _socket,
    **dict.fromkeys(("protocol", "socket-protocol"), _protocol),
    **dict.fromkeys(("home", "virtualenv", "venv", "pyhome"), _home),
    **dict.fromkeys(("plugin", "plugins", "need-plugin", "need-plugins"), _plugin),
    "worker-class": _worker_class,
    **dict.fromkeys(("log-format", "logformat"), _log_format),
    **dict.fromkeys(("logger", "req-logger", "logger-req"), _logger),
    "buffer-size": _buffer_size,
    "http-protocols": _protocols,
    "http2-cleartext": _cleartext,
    "header-map": _header_map,
    "ssl-client-verify": _client_verify,
    "umask-or-module": _umask_or_module,
    "http-keepalive": _keep_alive,
}
