"""Where an instance listens, as pure values: text to address and back. No socket is opened here."""

from __future__ import annotations

import os

from arun.core.values import Value

__all__ = ("Address", "Inherited", "Tcp", "Unix", "absolute", "of_unix", "parse", "url")

ALL_IPV6 = "::"
#: What ``:80`` means to users of every runner: all interfaces of IPv4.
ALL_IPV4 = "0.0.0.0"  # noqa: S104
_LARGEST_PORT = 65_535


class Tcp(Value):
    """A TCP address; ``host`` is a name or an IP address without brackets, port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.host == ALL_IPV4:
            return f":{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Unix(Value):
    """A unix stream socket by its path, or one in the abstract namespace of unix(7), whose ``path`` is its name behind an @.

    The path of a file never begins so: it is absolute where it counts (:func:`absolute`).
    """

    path: str

    @property
    def is_abstract(self) -> bool:
        """Whether there is no file, and so no mode, no owner and nothing to remove."""
        return self.path.startswith("@")

    def __str__(self) -> str:
        return f"unix:{self.path}"


class Inherited(Value):
    """A listening socket that the process was started with, by its descriptor."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


Address = Tcp | Unix | Inherited


def parse(text: str) -> Address:
    """Read an address as users write it.

    ``:80`` (all IPv4 interfaces), ``host:80``, ``[::1]:80``, ``unix:/path`` or ``/path``, ``unix:@name`` (abstract), ``fd://3``.

    Raises:
        ValueError: a sentence with what is wrong with the text.
    """
    if text.startswith("fd://"):
        return Inherited(_number(text.removeprefix("fd://"), "a descriptor", 1_000_000))
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if path in {"", "@"} or "\0" in path:
            raise ValueError(f"{text!r} names no path for a unix socket")
        return Unix(path)
    scheme, is_url, rest = text.partition("://")
    if is_url and scheme.isalnum():
        raise ValueError(f"{text!r} is a URL: write {rest.partition('/')[0] or 'HOST:PORT'}, without {scheme}://")
    if "/" in text and "\0" not in text:
        return Unix(f"./{text}" if text.startswith("@") else text)
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} has no port: write host:port, :port, unix:/path or fd://number")
    return Tcp(_host(host), _number(port, "a port", _LARGEST_PORT))


def absolute(address: Address, directory: str) -> Address:
    """Return the address with a unix path made absolute against the directory."""
    if not isinstance(address, Unix) or address.is_abstract:
        return address
    return Unix(os.path.join(directory, address.path))


def of_unix(name: str | bytes) -> Unix:
    """Return the address of a unix socket's name; one in the abstract namespace begins with a null byte (unix(7))."""
    text = os.fsdecode(name)
    return Unix(text.replace("\0", "@") if text[:1] == "\0" else text)


def url(address: Address, scheme: str = "http") -> str:
    """Return how a person or a client would write the address."""
    if not isinstance(address, Tcp):
        return str(address)
    return f"{scheme}://{ALL_IPV4}{address}" if address.host == ALL_IPV4 else f"{scheme}://{address}"


def _number(text: str, what: str, largest: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not {what}: it takes a number from 0 to {largest}")
    if int(text[:9]) > largest or len(text) > 9:  # noqa: PLR2004 - nine digits hold every limit used here
        raise ValueError(f"{text} is not {what}: it takes a number from 0 to {largest}")
    return int(text)


def _host(text: str) -> str:
    import _socket  # the C module: the sockets proper cost an enum each, and this file is on the start path

    if text in {"", "*"}:
        return ALL_IPV4
    if text.startswith("[") and text.endswith("]"):
        text, numeric = text[1:-1], True
    else:
        numeric = text.replace(".", "").isdigit()
        if ":" in text:
            raise ValueError(f"{text!r} is not a host: an IPv6 address is written in brackets, [{text}]:port")
    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    if numeric:
        try:
            _socket.inet_pton(family, text.partition("%")[0])
        except OSError:
            raise ValueError(f"{text!r} is not an IP address") from None
    elif not text.isprintable() or any(c in text for c in " []@?#"):
        raise ValueError(f"{text!r} is not a host name")
    return text
