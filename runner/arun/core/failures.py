"""What can go wrong in a start: the table of causes, the failure that is raised with one, and the record of it.

Nothing here prints, exits or looks at the system: a failure is raised where it is noticed, and reported by the floors
above. Identifiers are part of the product: tests, log, page, status and ``--fallback-on`` use them.
"""

from __future__ import annotations

import os

from arun.core import redaction
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

#: The stages of a start, in their order. ``--fallback-on`` takes these names as well as identifiers.
STAGES = ("settings", "identity", "listen", "privileges", "load", "startup", "serve", "fallback")

#: Characters of a sentence that are reported: an app's exception may carry megabytes.
_LONGEST_SENTENCE = 2048
#: Characters of an id: neither vowels, nor what looks like another one or sounds like it in many fonts and languages.
_ID_LETTERS, _ID_LENGTH = "23456789BCDFGHJKMPQRTVWX", 6
#: Characters of a traceback that a record keeps, its end.
_LONGEST_DETAIL = 16_384
#: Characters of a traceback that are reported.
_LONGEST_TEXT = 65_536


class Cause(Value):
    """A cause: its identifier, its stage, the hint of a failure that brings none of its own, and what it means."""

    identifier: str
    stage: str
    hint: str
    meaning: str


OPTION_UNKNOWN = Cause(
    "option-unknown", "settings", "run with --help for the options", "An option or a key that arun does not have."
)
OPTION_INVALID = Cause(
    "option-invalid", "settings", "run with --help for what the option takes", "A value that the option cannot take."
)
OPTION_UNSUPPORTED = Cause(
    "option-unsupported",
    "settings",
    "do it in the proxy in front or in the app, or say ignore and its name to start without it",
    "An option of another runner that would change the site, and that arun cannot do.",
)
CONFIG_MISSING = Cause(
    "config-missing",
    "settings",
    "check the path; relative paths count from the starting directory",
    "A config file that is not there.",
)
CONFIG_UNREADABLE = Cause(
    "config-unreadable",
    "settings",
    "check that it is a file and that this user may read it",
    "A config file that is there but cannot be read.",
)
CONFIG_MALFORMED = Cause(
    "config-malformed",
    "settings",
    "correct the line, or check the whole file with --show-config",
    "A config file that breaks the rules of its format.",
)
CONFIG_SECTION_MISSING = Cause(
    "config-section-missing",
    "settings",
    "arun reads the section [arun], then [uwsgi]; name another as FILE:SECTION",
    "A config without the section that is asked for.",
)
CONFIG_INCLUDE_LOOP = Cause(
    "config-include-loop", "settings", "remove one of the includes", "Config files that include each other."
)
CONFIG_FORMAT_UNAVAILABLE = Cause(
    "config-format-unavailable",
    "settings",
    "pip install 'arun-server[yaml]'",
    "A config format that arun does not read, or whose reader is not installed.",
)

USER_UNKNOWN = Cause(
    "user-unknown", "identity", "use the name of an existing user, or a number", "A uid that names no user."
)
GROUP_UNKNOWN = Cause(
    "group-unknown", "identity", "use the name of an existing group, or a number", "A gid that names no group."
)
DIRECTORY_UNUSABLE = Cause(
    "directory-unusable",
    "identity",
    "create the directory, or name another with --chdir",
    "A working directory that cannot be entered.",
)
FILE_UNUSABLE = Cause(
    "file-unusable",
    "identity",
    "check the path and its permissions",
    "A file that arun itself keeps (pid file, env file) cannot be read or written.",
)
DETACH_FAILED = Cause(
    "detach-failed",
    "identity",
    "allow this user another process, or leave --daemonize out",
    "The instance cannot go to the background.",
)

ADDRESS_IN_USE = Cause(
    "address-in-use", "listen", "end its holder or choose another address", "Another process listens there."
)
ADDRESS_DENIED = Cause(
    "address-denied", "listen", "choose a port from 1024 upward", "The user that arun runs as may not listen there."
)
ADDRESS_UNRESOLVABLE = Cause(
    "address-unresolvable",
    "listen",
    "use an address of this machine, or check its name resolution",
    "A host name without an address.",
)
ADDRESS_UNAVAILABLE = Cause(
    "address-unavailable",
    "listen",
    "use an address of this machine, or 0.0.0.0 for all of them",
    "An address that this machine does not have, or a socket that cannot listen.",
)
CERTIFICATE_UNUSABLE = Cause(
    "certificate-unusable",
    "listen",
    "check the certificate, its key and its options",
    "TLS is asked for and cannot be had, for another cause than the following.",
)
CERTIFICATE_MISSING = Cause(
    "certificate-missing",
    "listen",
    "check the path; relative paths count from the starting directory",
    "A file of a certificate, of a key or of authorities that is not there.",
)
CERTIFICATE_UNREADABLE = Cause(
    "certificate-unreadable",
    "listen",
    "check that it is a file and that the user who starts arun may read it",
    "A file of a certificate, of a key or of authorities that is there but cannot be read.",
)
CERTIFICATE_INVALID = Cause(
    "certificate-invalid",
    "listen",
    "it takes a file in PEM format; for a certificate the server's own comes first, then those that lead to its root",
    "A file of a certificate, of a key or of authorities that does not hold what it should.",
)
CERTIFICATE_KEY_MISMATCH = Cause(
    "certificate-key-mismatch",
    "listen",
    "name the key that the certificate was made for; several are paired in their order",
    "A key that belongs to another certificate.",
)
CERTIFICATE_LOCKED = Cause(
    "certificate-locked",
    "listen",
    "say the right password with --ssl-keyfile-password or ARUN_SSL_KEYFILE_PASSWORD",
    "An encrypted key, and no password or a wrong one.",
)

PRIVILEGES_DENIED = Cause(
    "privileges-denied",
    "privileges",
    "start arun as root, or leave uid and gid out",
    "The change of user or group is refused, or did not hold.",
)

APP_NOT_FOUND = Cause(
    "app-not-found",
    "load",
    "name an app as module:attribute or path/to/file.py",
    "The file or module of the app is not there.",
)
APP_DEPENDENCY_MISSING = Cause(
    "app-dependency-missing",
    "load",
    "install it into the environment that arun runs in",
    "The app is there, a module that it imports is not.",
)
APP_SYNTAX_ERROR = Cause("app-syntax-error", "load", "correct the line", "The app is there and is not valid Python.")
APP_IMPORT_FAILED = Cause(
    "app-import-failed",
    "load",
    "the traceback is the app's own",
    "The app is there and raises while it is imported or made.",
)
APP_EXITED = Cause(
    "app-exited",
    "load",
    "move the call of sys.exit() or run() under if __name__ == '__main__'",
    "The app ends the process while it is imported or made.",
)
APP_ATTRIBUTE_MISSING = Cause(
    "app-attribute-missing", "load", "name the attribute as module:attribute", "The module has no such attribute."
)
APP_KIND_UNKNOWN = Cause(
    "app-kind-unknown",
    "load",
    "arun serves an aiohttp web.Application, an ASGI 3 app or a WSGI app",
    "The object is no app of a kind that arun serves.",
)
APP_AMBIGUOUS = Cause(
    "app-ambiguous",
    "load",
    "name the attribute, or settle the kind with --interface",
    "It is unclear which object, or which kind of app, is meant.",
)
APP_NAME_COLLISION = Cause(
    "app-name-collision",
    "load",
    "rename the module of the app",
    "The app imports a module of its own whose name is taken by arun.",
)
APP_NOT_NAMED = Cause(
    "app-not-named",
    "load",
    "name an app, or leave --need-app out to be served the welcome page",
    "No app is named and none is found, although one is needed.",
)
LOOP_UNAVAILABLE = Cause(
    "loop-unavailable",
    "load",
    "install uvloop again for this Python and system, or say --loop asyncio",
    "The event loop that is asked for cannot be imported, or cannot be made.",
)

APP_STARTUP_FAILED = Cause(
    "app-startup-failed",
    "startup",
    "the fault is in the app's own start-up, or in what it needs",
    "The app's start-up (lifespan, on_startup) failed.",
)
START_TIMEOUT = Cause(
    "start-timeout",
    "startup",
    "raise --start-timeout, or look at what the app waits for",
    "The start took longer than it may.",
)
WORKER_DIED = Cause(
    "worker-died",
    "startup",
    "something ended the process: code in C, os._exit, or the system when memory ran out (see dmesg)",
    "A worker that ended before it was ready, without a report of the cause.",
)

INTERNAL_ERROR = Cause(
    "internal-error",
    "serve",
    "this is a fault of arun itself; please report it with the lines above",
    "A fault of arun itself.",
)
CRASH_LOOP = Cause(
    "crash-loop",
    "serve",
    "the lines above tell how each ended; --crash-limit and --crash-interval say how many deaths are too many",
    "Workers that die again and again although they had started well.",
)
WORKERS_LOST = Cause(
    "workers-lost",
    "serve",
    "the lines above tell why the upgrade could not start workers of its own",
    "No worker is left: those from before an upgrade have ended, and the upgrade has not started its own.",
)

FALLBACK_LOOP = Cause(
    "fallback-loop",
    "fallback",
    "let the last config of the chain name another fallback, or none",
    "The fallback was tried before in this chain.",
)
FALLBACK_LIMIT = Cause(
    "fallback-limit",
    "fallback",
    "shorten the chain, or raise --fallback-limit",
    "The chain of fallbacks is longer than allowed.",
)
FALLBACK_BROKEN = Cause(
    "fallback-broken",
    "fallback",
    "mend the fallback, or leave --strict-fallback out to be warned only; arun check tries the whole chain",
    "What would follow a failed start would fail as well, and --strict-fallback wants to know before.",
)
EXEC_FAILED = Cause(
    "exec-failed",
    "fallback",
    "check that the interpreter is still there and readable for this user",
    "The process could not become its fallback.",
)

#: Every cause by its identifier.
CAUSES = {cause.identifier: cause for cause in tuple(globals().values()) if isinstance(cause, Cause)}


class StartupFailure(Exception):  # noqa: N818 - the design's word
    """A start that cannot go on: its cause, one sentence with the value, where the value came from, one hint."""

    def __init__(self, cause: Cause, sentence: str, *, origin: str = "", hint: str = "", detail: str = "") -> None:
        super().__init__(sentence)
        self.cause = cause
        self.sentence = sentence[:_LONGEST_SENTENCE]
        self.origin = origin
        self.hint = hint or cause.hint
        self.detail = detail


class FailureRecord(Value):
    """One failed start as it is reported, logged, kept and handed to a successor, without secrets.

    All problems of one start share its ``id``, which a visitor of the built-in page can quote. ``when`` is in seconds since the epoch,
    ``duration`` in seconds from the beginning of the start. ``link`` is its place in its chain of fallbacks, from 1. ``command`` is the
    command line, ``versions`` are those of arun, Python and the libraries that had to do with it. ``ended`` is how the outage ended
    that the failure began, ``ended_when`` when that was; empty and 0 while it goes on. ``tries`` is how often the start was tried
    again since and would have failed in the same way.
    """

    identifier: str
    stage: str
    sentence: str
    origin: str
    hint: str
    detail: str
    config: str
    when: float
    id: str = ""
    pid: int = 0
    duration: float = 0.0
    link: int = 1
    command: str = ""
    versions: Mapping[str, str] = {}
    ended: str = ""
    ended_when: float = 0.0
    tries: int = 0

    @classmethod
    def of(
        cls,
        failure: StartupFailure,
        *,
        config: str,
        when: float,
        secrets: Sequence[str] = (),
        **more: Any,
    ) -> FailureRecord:
        """Freeze a failure together with the configuration that was being tried; ``secrets`` are masked in its texts."""
        texts = (failure.sentence, failure.origin, failure.hint, failure.detail[-_LONGEST_DETAIL:])
        sentence, origin, hint, detail = (redaction.masked(text, secrets) for text in texts)
        cause = failure.cause
        return cls(cause.identifier, cause.stage, sentence, origin, hint, detail, config, when, **more)

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> FailureRecord:
        """Return the record that ``as_dict`` has made values of; what a newer arun has added is passed over.

        Raises:
            TypeError: a field is missing that every version has.
        """
        return cls(**{name: value for name, value in fields.items() if name in cls._fields})

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-able values."""
        return self._asdict()

    def mark(self) -> str:
        """The id as it stands behind a line about the failure; empty for a record of an arun that gave none."""
        return f" [{self.id}]" if self.id else ""

    def summary(self) -> str:
        """The failure on one line: identifier, sentence, origin."""
        where = f" (from {self.origin})" if self.origin else ""
        return printable(f"{self.identifier}: {self.sentence}{where}")


def failure_id() -> str:
    """Return a new id of a failed start: six letters and digits that are not mistaken for each other, and spell no word."""
    number = int.from_bytes(os.urandom(8), "big")
    letters = []
    for _ in range(_ID_LENGTH):
        number, place = divmod(number, len(_ID_LETTERS))
        letters.append(_ID_LETTERS[place])
    return "".join(letters)


def printable(text: str) -> str:
    """Return the text with control characters escaped, so that a value cannot forge lines of a log."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def contained(text: str, heads: tuple[str, ...]) -> str:
    """Return a text of several lines that cannot forge those of a log; of more than 64 Ki characters the middle is left out.

    Control characters but tabs are escaped. A line is indented unless it is so already, is empty, or, with ``": "`` after
    it, begins with one of the ``heads``.
    """
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        text = f"{text[:half]}\n    ... {len(text) - 2 * half} characters are left out ...\n{text[-half:]}"
    return "\n".join(_contained(line, heads) for line in text.split("\n"))


def _contained(line: str, heads: tuple[str, ...]) -> str:
    shown = line if line.isprintable() else "\t".join(map(printable, line.split("\t")))
    if not shown or shown[0] in " \t":
        return shown
    return shown if f"{shown}: ".startswith(heads) else f"    {shown}"
