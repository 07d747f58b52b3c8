"""The kinds of values that name something outside: addresses, peers, owners, variables, configs, causes of failure."""

from __future__ import annotations

from arun.core.addresses import Tcp, parse
from arun.core.failures import CAUSES, STAGES
from arun.core.values import Value

from .kinds import Flag, Text, Written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arun.core.addresses import Address

__all__ = (
    "Cause",
    "Ciphers",
    "ClientCertificates",
    "Command",
    "Fallback",
    "FieldName",
    "Host",
    "HttpsSocket",
    "LineFormat",
    "Listener",
    "Owner",
    "ProxyProtocol",
    "RootPath",
    "Secret",
    "SecureAddress",
    "SocketPath",
    "TlsVersion",
    "Trusted",
    "UrlPath",
    "Variable",
)

#: Header fields that frame a message or belong to one connection: no option may set them.
_FRAMING = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})


class Listener(Written):
    """An address to listen on."""

    metavar = "ADDRESS"

    def __call__(self, text: str) -> Address:
        """Return the address; unix paths stay as they are written."""
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(str(error) if text in str(error) else f"{text!r}: {error}") from None


class SecureAddress(Value):
    """An address that speaks TLS, with its own files and ciphers; ``client_ca`` as uWSGI writes it, ``!`` demands."""

    address: Address
    certfile: str = ""
    keyfile: str = ""
    ciphers: str = ""
    client_ca: str = ""


class HttpsSocket(Written):
    """An address with its certificate, as uWSGI's users write it."""

    metavar = "ADDRESS[,CERT,KEY[,CIPHERS[,CA]]]"
    _most = 5

    def __call__(self, text: str) -> SecureAddress:
        """Return the address with its files and ciphers."""
        address, *more = (part.strip() for part in text.split(","))
        if len(more) == 1 or len(more) >= self._most or (any(more) and not all(more[:2])):
            raise ValueError(f"{text!r} is not {self.metavar}")
        found = SecureAddress(Listener()(address), *more)
        if found.ciphers:
            Ciphers("LIST")(found.ciphers)
        return found

    def shown(self, value: Any) -> str:
        """Return address and files as they were written."""
        return ",".join(map(str, value)).rstrip(",")


class ProxyProtocol(Flag):
    """Yes or no; gunicorn names the version, and arun finds it out."""

    _versions = ("v1", "v2", "auto")
    words = (*Flag.words, "off", *_versions)

    def __call__(self, text: str) -> bool:
        """Return whether the protocol is spoken."""
        return text in self._versions or super().__call__(text)

    def schema(self) -> dict[str, Any]:
        """Return the schema: a boolean, or one of the words."""
        return {"anyOf": [*super().schema()["anyOf"], {"enum": list(self._versions)}]}


class TlsVersion(Written):
    """A version of TLS, ``1.2`` or ``1.3``, in the spelling of OpenSSL, gunicorn or a person.

    Python's ``ssl.PROTOCOL_TLS`` (2) and ``PROTOCOL_TLS_SERVER`` (17), as uvicorn and gunicorn write them, leave it to
    the server: that is the lowest one.
    """

    metavar = "1.2|1.3"
    _any = frozenset({"", "2", "17", "SERVER"})

    def __call__(self, text: str) -> str:
        """Return the number of the version."""
        version = text.upper().removeprefix("TLS").lstrip(" _V").replace("_", ".")
        if text and (version in self._any or text == "SSLv23"):
            return "1.2"
        if version not in {"1.2", "1.3"}:
            raise ValueError(f"{text!r} is no version of TLS that arun speaks: it takes 1.2 or 1.3")
        return version

    def schema(self) -> dict[str, Any]:
        """Return the schema: the versions as numbers or text."""
        return {
            "anyOf": [{"enum": [1.2, 1.3, 2, 17]}, {"type": "string", "pattern": r"^([Tt][Ll][Ss][Vv]?)?1[._][23]$"}]
        }


class Ciphers(Text):
    """Ciphers of TLS 1.2 in OpenSSL's notation."""

    def __call__(self, text: str) -> str:
        """Return the list as it is written, if OpenSSL knows one of its ciphers."""
        import ssl  # a start that names ciphers speaks TLS

        super().__call__(text)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(text)
        except ssl.SSLError:
            raise ValueError(f"{text!r} names no cipher that OpenSSL has") from None
        return text


class ClientCertificates(Written):
    """Whether clients show a certificate; others write the names of Python's ``ssl.CERT_...``, or their numbers."""

    metavar = "none|optional|required"
    _words = ("none", "optional", "required")

    def __call__(self, text: str) -> str:
        """Return the word."""
        word = text.lower().removeprefix("verifymode.").removeprefix("cert_")
        if word in self._words:
            return word
        if text not in {"0", "1", "2"}:
            raise ValueError(f"{text!r} is none of {', '.join(self._words)} and none of 0, 1, 2")
        return self._words[int(text)]

    def schema(self) -> dict[str, Any]:
        """Return the schema: the words and their numbers."""
        return {"enum": [*self._words, 0, 1, 2, "0", "1", "2"]}


class Secret(Text):
    """A text that is never shown, neither as a value nor in what is wrong with it."""

    hides = True

    def __call__(self, text: str) -> str:
        """Return the text itself."""
        if "\0" in text:
            raise ValueError("what is given holds a null byte")
        return text

    def shown(self, value: Any) -> str:  # noqa: ARG002 - that is the point
        """Return a mask."""
        return "***"


class Host(Written):
    """A host name or IP address, IPv6 with or without brackets."""

    metavar = "HOST"

    def __call__(self, text: str) -> str:
        """Return the host without brackets; empty or ``*`` means all IPv4 interfaces."""
        bracketed = f"[{text}]" if ":" in text and not text.startswith("[") else text
        address = parse(f"{bracketed}:0")
        if not isinstance(address, Tcp):
            raise ValueError(f"{text!r} is not a host")  # noqa: TRY004 - the value is wrong, its type is text
        return address.host


class Fallback(Written):
    """Where to go when a start fails: ``welcome``, a config, or nowhere (``none``)."""

    metavar = "FILE|welcome|none"

    def __call__(self, text: str) -> str | None:
        """Return the reference, None for nowhere; an empty text is a variable that was not set rather than a wish."""
        if not text:
            raise ValueError("'' names no config: it takes the path of one, welcome for the built-in page, or none")
        return None if text == "none" else text


class Cause(Written):
    """A cause of failure by its identifier, a stage of the start, or ``all`` or ``none``."""

    metavar = "CAUSE"

    def __call__(self, text: str) -> str:
        """Return the name."""
        known = self._known()
        if text in known:
            return text
        from difflib import get_close_matches

        near = get_close_matches(text.lower(), known, 1)
        stages = f": it takes all, none, an identifier, or a stage: {', '.join(STAGES)}"
        raise ValueError(f"{text!r} is no cause of failure" + (f"; did you mean {near[0]}?" if near else stages))

    def schema(self) -> dict[str, Any]:
        """Return the schema: every name."""
        return {"enum": self._known()}

    @staticmethod
    def _known() -> list[str]:
        return ["all", "none", *STAGES, *sorted(CAUSES)]


class Command(Text):
    """A program with its arguments, split as a shell would split it."""

    def __init__(self) -> None:
        super().__init__("COMMAND")

    def __call__(self, text: str) -> str:
        """Return the command as it is written, if it can be split."""
        import shlex  # few name a command

        super().__call__(text)
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ValueError(f"{text!r} cannot be split into words: {str(error).lower()}") from None
        if not words:
            raise ValueError(f"{text!r} names no program")
        return text


class SocketPath(Text):
    """The path of a unix socket, or @ and a name in the abstract namespace (unix(7))."""

    def __call__(self, text: str) -> str:
        """Return the path as it is written."""
        if text.removeprefix("unix:") in {"", "@"}:
            raise ValueError(f"{text!r} names no path for a unix socket")
        return super().__call__(text)


class Trusted(Written):
    """A peer whose forwarded headers are believed: an IP address, a network in CIDR notation (RFC 4632), or ``*``."""

    metavar = "IP|NETWORK|*"

    def __call__(self, text: str) -> str:
        """Return the peer as it is written."""
        import _socket  # the C module: ipaddress would cost milliseconds on every start that sets this

        host, slash, bits = text.partition("/")
        family, most = (_socket.AF_INET6, 128) if ":" in host else (_socket.AF_INET, 32)
        try:
            if text != "*":
                _socket.inet_pton(family, host)
        except (OSError, ValueError):
            raise ValueError(f"{text!r} is neither an IP address, nor a network such as 10.0.0.0/8, nor *") from None
        if slash and not (bits.isascii() and bits.isdigit() and int(bits[:4]) <= most):
            raise ValueError(f"{text!r} is not a network: behind the slash stands a number from 0 to {most}")
        return text


class Variable(Written):
    """One environment variable, ``NAME=value``; its value is never shown."""

    metavar = "NAME=VALUE"
    hides = True

    def __call__(self, text: str) -> tuple[str, str]:
        """Return name and value."""
        name, equals, value = text.partition("=")
        if not name or not equals or "\0" in text:
            # the text may hold a secret that was given without its name: it is not repeated here
            raise ValueError("what is given is not NAME=value")
        return name, value

    def shown(self, value: Any) -> str:
        """Return the name and a mask."""
        return f"{value[0]}=***"


class Owner(Written):
    """The owner of a file: ``user``, ``user:group`` or ``:group``, names or numbers."""

    metavar = "USER[:GROUP]"

    def __call__(self, text: str) -> tuple[str, str]:
        """Return user and group, empty where one is not given."""
        user, colon, group = text.partition(":")
        if not (user or group) or (colon and not group) or ":" in group:
            raise ValueError(f"{text!r} is not an owner: it takes user, user:group or :group")
        return user, group

    def shown(self, value: Any) -> str:
        """Return user and group as they were written."""
        return f"{value[0]}:{value[1]}" if value[1] else str(value[0])


class LineFormat(Written):
    """The format of an access log's lines."""

    metavar = "FORMAT"

    def __call__(self, text: str) -> str:
        """Return the format as it is written, once it has been understood."""
        from arun.core.access_format import JSON, parse

        if text != JSON:
            parse(text)
        return text


class RootPath(Written):
    """The path under which an app is mounted; percent escapes are decoded, and a slash at its end is dropped."""

    metavar = "PATH"

    def __call__(self, text: str) -> str:
        """Return the decoded path without a slash at its end; empty for the root."""
        path = text
        try:
            encoded = text.encode()
            if "%" in text:
                from urllib.parse import unquote_to_bytes  # 5 ms, for few

                path = unquote_to_bytes(encoded).decode()
        except UnicodeError:
            raise ValueError(f"{text!r} is not a path in UTF-8") from None
        path = path.rstrip("/") or path[:1]
        if path in {"", "/"}:
            return ""
        if not path.startswith("/"):
            suggestion = "" if ":" in path else f"; did you mean /{path}?"
            raise ValueError(f"{text!r} is not a path such as /api: it begins with no slash{suggestion}")
        segments = path.split("/")[1:]
        if not path.isprintable() or set(text) & set("?#") or not {"", ".", ".."}.isdisjoint(segments):
            raise ValueError(f"{text!r} is not a path such as /api")
        return path


class UrlPath(Written):
    """A path of requests; a star at its end stands for whatever follows."""

    metavar = "PATH"

    def __call__(self, text: str) -> str:
        """Return the path."""
        if not text.startswith("/") or not text.isascii() or set(text) & set(" ?#") or "*" in text[:-1]:
            raise ValueError(f"{text!r} is not a path such as /health or /static/*")
        return text


class FieldName(Written):
    """The name of a header field (RFC 9110 section 5.1)."""

    metavar = "NAME"

    def __call__(self, text: str) -> str:
        """Return the name."""
        if not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{text!r} is not the name of a header field")
        if text.lower() in _FRAMING:
            raise ValueError(f"{text!r} is a header field that the server itself sets")
        return text
