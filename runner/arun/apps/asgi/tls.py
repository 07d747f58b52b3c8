"""The TLS extension of ASGI: what an app gets to know of the encryption of its connection.

Source: asgi.readthedocs.io, "ASGI TLS Extension", version 0.2.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any

__all__ = ("tls_extension",)

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
#: Short names of attributes in a distinguished name (RFC 4514 section 3); others are written as OpenSSL names them.
_ATTRIBUTES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_SPECIAL = frozenset('",+;<>\\')


def tls_extension(connection: ssl.SSLObject) -> dict[str, Any]:
    """Return the value of ``scope["extensions"]["tls"]``; it holds for the whole connection.

    ``client_cert_error`` is always None: a client whose certificate is not accepted does not get as far as a request.
    """
    context = connection.context
    name = (connection.cipher() or ("",))[0]
    # the identifier of OpenSSL carries IANA's number in its lower half
    suites = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
    return {
        "server_cert": getattr(context, "server_certificate", "") or None,
        "client_cert_chain": _client_chain(connection),
        "client_cert_name": _name((connection.getpeercert() or {}).get("subject", ())) or None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.version() or ""),
        "cipher_suite": suites.get(name),
    }


def _client_chain(connection: ssl.SSLObject) -> list[str]:
    """Return the client's certificate and those that came with it, in PEM; alone where Python does not give the others."""
    from ssl import DER_cert_to_PEM_cert

    own = connection.getpeercert(binary_form=True)
    if own is None:
        return []
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return [DER_cert_to_PEM_cert(one) for one in connection.get_unverified_chain()]
    return [DER_cert_to_PEM_cert(own)]


def _name(subject: Any) -> str:
    """Return a distinguished name as text: the last part first (RFC 4514 section 2.1)."""
    parts = ["+".join(f"{_ATTRIBUTES.get(kind, kind)}={_escaped(value)}" for kind, value in part) for part in subject]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    """Escape what would end a value (RFC 4514 section 2.4)."""
    text = "".join(f"\\{c}" if c in _SPECIAL else c for c in value).replace("\0", "\\00")
    if text[:1] in {"#", " "}:
        text = "\\" + text
    return text[:-1] + "\\ " if len(text) > 1 and text.endswith(" ") else text
