"""What can go wrong in a start: one type per cause, and the record of it that outlives the process image.

Nothing here prints, exits or looks at the system; a failure is raised where it is noticed and told by the
floors above. Identifiers are part of the product: tests, log, page and status speak of them.
"""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__ = (
    "STAGES",
    "AddressDenied",
    "AddressInUse",
    "AddressUnavailable",
    "AddressUnresolvable",
    "AppAmbiguous",
    "AppAttributeMissing",
    "AppDependencyMissing",
    "AppExited",
    "AppImportFailed",
    "AppKindUnknown",
    "AppNameCollision",
    "AppNotFound",
    "AppNotNamed",
    "AppStartupFailed",
    "AppSyntaxError",
    "CertificateInvalid",
    "CertificateKeyMismatch",
    "CertificateLocked",
    "CertificateMissing",
    "CertificateUnreadable",
    "CertificateUnusable",
    "ConfigFormatUnavailable",
    "ConfigIncludeLoop",
    "ConfigMalformed",
    "ConfigMissing",
    "ConfigSectionMissing",
    "ConfigUnreadable",
    "CrashLoop",
    "DetachFailed",
    "DirectoryUnusable",
    "ExecFailed",
    "FailureRecord",
    "FallbackLimit",
    "FallbackLoop",
    "FileUnusable",
    "GroupUnknown",
    "LoopUnavailable",
    "OptionInvalid",
    "OptionUnknown",
    "OptionUnsupported",
    "PrivilegesDenied",
    "StartTimedOut",
    "StartupFailure",
    "UserUnknown",
    "WorkerDied",
    "WorkersLost",
    "by_identifier",
    "contained",
    "printable",
)

#: The stages of a start, in their order. ``--fallback-on`` takes these names as well as identifiers.
STAGES = ("settings", "identity", "listen", "privileges", "load", "startup", "serve", "fallback")


#: Characters of a sentence that are worth telling: an app's exception may carry megabytes.
_LONGEST_SENTENCE = 2048
#: Characters of a traceback that are worth telling.
_LONGEST_TEXT = 65_536


class StartupFailure(Exception):  # noqa: N818 - the design's word; every subclass is one named cause
    """A start that cannot go on: which cause, one sentence with the value, where the value came from, one hint."""

    identifier: ClassVar[str] = "internal-error"
    stage: ClassVar[str] = "serve"
    default_hint: ClassVar[str] = "this is a fault of arun itself; please report it with the lines above"

    def __init__(self, sentence: str, *, origin: str = "", hint: str = "", detail: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence[:_LONGEST_SENTENCE]
        self.origin = origin
        self.hint = hint or self.default_hint
        self.detail = detail

    def __init_subclass__(cls, *, identifier: str, stage: str, hint: str) -> None:
        super().__init_subclass__()
        cls.identifier, cls.stage, cls.default_hint = identifier, stage, hint


class FailureRecord(Value):
    """One failure as it is told, logged and handed to a successor; ``when`` is in seconds since the epoch."""

    identifier: str
    stage: str
    sentence: str
    origin: str
    hint: str
    detail: str
    config: str
    when: float

    @classmethod
    def of(cls, failure: StartupFailure, *, config: str, when: float) -> FailureRecord:
        """Freeze a failure together with the configuration that was being tried."""
        return cls(
            failure.identifier,
            failure.stage,
            failure.sentence,
            failure.origin,
            failure.hint,
            failure.detail[-16_384:],
            config,
            when,
        )

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-able values."""
        return self._asdict()

    def summary(self) -> str:
        """The failure on one line: identifier, sentence, origin."""
        where = f" (from {self.origin})" if self.origin else ""
        return printable(f"{self.identifier}: {self.sentence}{where}")


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


def by_identifier() -> dict[str, type[StartupFailure]]:
    """All causes by their identifier."""
    known: dict[str, type[StartupFailure]] = {StartupFailure.identifier: StartupFailure}
    waiting = StartupFailure.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        known[kind.identifier] = kind
    return known


class OptionUnknown(
    StartupFailure, identifier="option-unknown", stage="settings", hint="run with --help for the options"
):
    """An option or a key that arun does not have."""


class OptionInvalid(
    StartupFailure, identifier="option-invalid", stage="settings", hint="run with --help for what the option takes"
):
    """A value that the option cannot take."""


class OptionUnsupported(
    StartupFailure,
    identifier="option-unsupported",
    stage="settings",
    hint="do it in the proxy in front or in the app, or say ignore and its name to start without it",
):
    """An option of another runner that would change the site, and that arun cannot do."""


class ConfigMissing(
    StartupFailure,
    identifier="config-missing",
    stage="settings",
    hint="check the path; relative paths count from the starting directory",
):
    """A config file that is not there."""


class ConfigUnreadable(
    StartupFailure,
    identifier="config-unreadable",
    stage="settings",
    hint="check that it is a file and that this user may read it",
):
    """A config file that is there but cannot be read."""


class ConfigMalformed(
    StartupFailure,
    identifier="config-malformed",
    stage="settings",
    hint="correct the line, or check the whole file with --show-config",
):
    """A config file that breaks the rules of its format."""


class ConfigSectionMissing(
    StartupFailure,
    identifier="config-section-missing",
    stage="settings",
    hint="arun reads the section [arun], then [uwsgi]; name another as FILE:SECTION",
):
    """A config without the section that is asked for."""


class ConfigIncludeLoop(
    StartupFailure, identifier="config-include-loop", stage="settings", hint="remove one of the includes"
):
    """Config files that include each other."""


class ConfigFormatUnavailable(
    StartupFailure, identifier="config-format-unavailable", stage="settings", hint="pip install 'arun-server[yaml]'"
):
    """A config format that arun does not read, or whose reader is not installed."""


class UserUnknown(
    StartupFailure, identifier="user-unknown", stage="identity", hint="use the name of an existing user, or a number"
):
    """A uid that names no user."""


class GroupUnknown(
    StartupFailure, identifier="group-unknown", stage="identity", hint="use the name of an existing group, or a number"
):
    """A gid that names no group."""


class DirectoryUnusable(
    StartupFailure,
    identifier="directory-unusable",
    stage="identity",
    hint="create the directory, or name another with --chdir",
):
    """A working directory that cannot be entered."""


class FileUnusable(
    StartupFailure, identifier="file-unusable", stage="identity", hint="check the path and who may write there"
):
    """A file that arun itself keeps (pid file, env file) cannot be read or written."""


class DetachFailed(
    StartupFailure,
    identifier="detach-failed",
    stage="identity",
    hint="allow this user another process, or leave --daemonize out",
):
    """The instance cannot go to the background."""


class AddressInUse(
    StartupFailure, identifier="address-in-use", stage="listen", hint="end its holder or choose another address"
):
    """Somebody else listens there."""


class AddressDenied(StartupFailure, identifier="address-denied", stage="listen", hint="choose a port from 1024 upward"):
    """The user that arun runs as may not listen there."""


class AddressUnresolvable(
    StartupFailure,
    identifier="address-unresolvable",
    stage="listen",
    hint="use an address of this machine, or check its name resolution",
):
    """A host name without an address."""


class AddressUnavailable(
    StartupFailure,
    identifier="address-unavailable",
    stage="listen",
    hint="use an address of this machine, or 0.0.0.0 for all of them",
):
    """An address that this machine does not have, or a socket that cannot listen."""


class PrivilegesDenied(
    StartupFailure,
    identifier="privileges-denied",
    stage="privileges",
    hint="start arun as root, or leave uid and gid out",
):
    """The change of user or group is refused, or did not hold."""


class AppNotFound(
    StartupFailure, identifier="app-not-found", stage="load", hint="name an app as module:attribute or path/to/file.py"
):
    """The file or module of the app is not there."""


class AppDependencyMissing(
    StartupFailure,
    identifier="app-dependency-missing",
    stage="load",
    hint="install it into the environment that arun runs in",
):
    """The app is there, a module that it imports is not."""


class AppSyntaxError(StartupFailure, identifier="app-syntax-error", stage="load", hint="correct the line"):
    """The app is there and is not valid Python."""


class AppImportFailed(
    StartupFailure, identifier="app-import-failed", stage="load", hint="the traceback is the app's own"
):
    """The app is there and raises while it is imported or made."""


class AppExited(
    StartupFailure,
    identifier="app-exited",
    stage="load",
    hint="move the call of sys.exit() or run() under if __name__ == '__main__'",
):
    """The app ends the process while it is imported or made."""


class AppAttributeMissing(
    StartupFailure, identifier="app-attribute-missing", stage="load", hint="name the attribute as module:attribute"
):
    """The module has no such attribute."""


class AppKindUnknown(
    StartupFailure,
    identifier="app-kind-unknown",
    stage="load",
    hint="arun serves an aiohttp web.Application, an ASGI 3 app or a WSGI app",
):
    """The object is no app of a kind that arun serves."""


class AppAmbiguous(
    StartupFailure,
    identifier="app-ambiguous",
    stage="load",
    hint="name the attribute, or settle the kind with --interface",
):
    """It cannot be told which object, or which kind of app, is meant."""


class AppNameCollision(
    StartupFailure, identifier="app-name-collision", stage="load", hint="rename the module of the app"
):
    """The app imports a module of its own whose name is taken by arun."""


class AppNotNamed(
    StartupFailure,
    identifier="app-not-named",
    stage="load",
    hint="name an app, or leave --need-app out to be served the welcome page",
):
    """No app is named and none is found, although one is needed."""


class LoopUnavailable(
    StartupFailure,
    identifier="loop-unavailable",
    stage="load",
    hint="install uvloop again for this Python and system, or say --loop asyncio",
):
    """The event loop that is asked for cannot be imported, or cannot be made."""


class AppStartupFailed(
    StartupFailure,
    identifier="app-startup-failed",
    stage="startup",
    hint="the fault is in the app's own start-up, or in what it needs",
):
    """The app's start-up (lifespan, on_startup) failed."""


class StartTimedOut(
    StartupFailure,
    identifier="start-timeout",
    stage="startup",
    hint="raise --start-timeout, or look at what the app waits for",
):
    """The start took longer than it may."""


class FallbackLoop(
    StartupFailure,
    identifier="fallback-loop",
    stage="fallback",
    hint="let the last config of the chain name another fallback, or none",
):
    """The fallback was tried before in this chain."""


class FallbackLimit(
    StartupFailure, identifier="fallback-limit", stage="fallback", hint="shorten the chain, or raise --fallback-limit"
):
    """The chain of fallbacks is longer than allowed."""


class ExecFailed(
    StartupFailure,
    identifier="exec-failed",
    stage="fallback",
    hint="check that the interpreter is still there and readable for this user",
):
    """The process could not become its fallback."""


class CertificateUnusable(
    StartupFailure,
    identifier="certificate-unusable",
    stage="listen",
    hint="check the certificate, its key and its options",
):
    """TLS is asked for and cannot be had, for another cause than the following."""


class CertificateMissing(
    CertificateUnusable,
    identifier="certificate-missing",
    stage="listen",
    hint="check the path; relative paths count from the starting directory",
):
    """A file of a certificate, of a key or of authorities that is not there."""


class CertificateUnreadable(
    CertificateUnusable,
    identifier="certificate-unreadable",
    stage="listen",
    hint="check that it is a file and that the user who starts arun may read it",
):
    """A file of a certificate, of a key or of authorities that is there but cannot be read."""


class CertificateInvalid(
    CertificateUnusable,
    identifier="certificate-invalid",
    stage="listen",
    hint="it takes a file in PEM format; for a certificate the server's own comes first, then those that lead to its root",
):
    """A file of a certificate, of a key or of authorities that does not hold what it should."""


class CertificateKeyMismatch(
    CertificateUnusable,
    identifier="certificate-key-mismatch",
    stage="listen",
    hint="name the key that the certificate was made for; several are paired in their order",
):
    """A key that belongs to another certificate."""


class CertificateLocked(
    CertificateUnusable,
    identifier="certificate-locked",
    stage="listen",
    hint="say the right password with --ssl-keyfile-password or ARUN_SSL_KEYFILE_PASSWORD",
):
    """An encrypted key, and no password or a wrong one."""


class WorkerDied(
    StartupFailure,
    identifier="worker-died",
    stage="startup",
    hint="something ended the process: code in C, os._exit, or the system when memory ran out (see dmesg)",
):
    """A worker that ended before it was ready, without a word of why."""


class CrashLoop(
    StartupFailure,
    identifier="crash-loop",
    stage="serve",
    hint="the lines above tell how each ended; --crash-limit and --crash-interval say how many deaths are too many",
):
    """Workers that die again and again although they had started well."""


class WorkersLost(
    StartupFailure,
    identifier="workers-lost",
    stage="serve",
    hint="the lines above tell why the upgrade could not start workers of its own",
):
    """Nobody serves any more: the workers that an upgrade had left are gone, and it has none of its own."""
