"""Where an instance listens and what stands before HTTP there, as pure values. No file is read here.

TLS is described by the paths of its files: so it crosses an exec with its listener, and no key does.
"""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.core.addresses import Address

__all__ = ("Certificate", "ListenSpec", "Tls")


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


class ListenSpec(Value):
    """An address to listen on, and what stands before HTTP there: TLS, a PROXY header. None is what is not given.

    ``proxies`` are the peers whose connections begin with a PROXY header, empty for none. ``origin`` is where a user asked
    for the address.
    """

    address: Address
    tls: Tls | None = None
    proxies: tuple[str, ...] | None = None
    origin: str = ""

    def over(self, other: ListenSpec) -> ListenSpec:
        """Return this spec, completed with what only the other one gives."""
        proxies = other.proxies if self.proxies is None else self.proxies
        return self._replace(tls=self.tls or other.tls, proxies=proxies)

    def at(self, address: Address) -> ListenSpec:
        """Return the same for another address."""
        return self._replace(address=address)

    @property
    def is_plain(self) -> bool:
        """Whether HTTP begins with the first byte."""
        return not (self.tls or self.proxies)
