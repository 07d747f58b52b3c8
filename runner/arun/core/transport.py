"""What stands between a socket and HTTP on a listener, as pure values: a PROXY header, TLS. No file is read here.

TLS is described by the paths of its files: so it crosses an exec with its listener, and no key does.
"""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("Certificate", "Tls", "Transport")


class Certificate(Value):
    """A certificate chain and its key by their absolute paths; one file may hold both."""

    certfile: str
    keyfile: str


class Tls(Value):
    """How a listener speaks TLS: its certificates, the first being the default where SNI names none of them.

    ``minimum`` is the lowest version, "1.2" or "1.3". ``client_certificates`` is "none", "optional" or "required";
    ``client_ca`` is the absolute path of the authorities that those are checked with. ``ciphers`` is a list in
    OpenSSL's notation, for TLS 1.2. ``origin`` is where a user asked for it.
    """

    certificates: tuple[Certificate, ...]
    password: str = ""
    minimum: str = "1.2"
    client_certificates: str = "none"
    client_ca: str = ""
    ciphers: str = ""
    origin: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that has to be read."""
        pairs = [path for certificate in self.certificates for path in certificate]
        return tuple(dict.fromkeys([*pairs, self.client_ca] if self.client_ca else pairs))


class Transport(Value):
    """What comes before HTTP; ``proxies`` are the peers that begin with a PROXY header, empty if nobody does.

    None stands for what nobody has said.
    """

    tls: Tls | None = None
    proxies: tuple[str, ...] | None = None

    def over(self, other: Transport) -> Transport:
        """Return this transport, completed with what only the other one says."""
        return Transport(self.tls or other.tls, other.proxies if self.proxies is None else self.proxies)

    @property
    def is_plain(self) -> bool:
        """Whether HTTP begins with the first byte."""
        return not (self.tls or self.proxies)

    def as_json(self) -> list[Any]:
        """Return the transport as values that JSON knows."""
        return [self.tls, self.proxies]  # named tuples are lists there

    @classmethod
    def of_json(cls, tls: list[Any] | None, proxies: list[str] | None) -> Transport:
        """Return the transport that ``as_json`` has written.

        Raises:
            TypeError: it is none.
        """
        decoded = None
        if tls is not None:
            certificates, *more = tls
            decoded = Tls(tuple(Certificate(*one) for one in certificates), *more)
        return cls(decoded, None if proxies is None else tuple(proxies))
