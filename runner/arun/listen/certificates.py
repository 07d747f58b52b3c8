"""Certificates: from the paths of a listener's TLS to a context that serves, and to a new one when the files change.

Only a start with TLS imports this module, as it imports ``ssl``. A failure names the file that is its cause.
"""

from __future__ import annotations

import os
import ssl
import stat
import sys
import time

from arun.core.failures import (
    CERTIFICATE_INVALID,
    CERTIFICATE_KEY_MISMATCH,
    CERTIFICATE_LOCKED,
    CERTIFICATE_MISSING,
    CERTIFICATE_UNREADABLE,
    OPTION_INVALID,
    StartupFailure,
)
from arun.system import file_watch, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from arun.core.listen_spec import Certificate, Tls
    from arun.system.file_watch import Signature

__all__ = ("Context", "LiveContext", "load")

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
#: TLS 1.2 with forward secrecy and authenticated encryption alone (RFC 9325 section 4.2): no RSA key exchange, no CBC.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
_PEM_END = "-----END CERTIFICATE-----"


class Context(ssl.SSLContext):
    """A server's context that knows its certificate in PEM: an SSL object of the standard library does not have it."""

    server_certificate: str = ""


class LiveContext:
    """The context that new connections get; it is exchanged when its files have changed and are good.

    A handshake or connection that has begun keeps the context it began with.

    Raises:
        StartupFailure: a cause certificate-* of the stage "listen".
        StartupFailure(OPTION_INVALID): OpenSSL knows none of the ciphers.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._loaded = self._seen = self._state()
        self.current = load(tls)
        if len(tls.certificates) > 1:
            sys.unraisablehook = _report_unraisable

    def poll(self) -> None:
        """Reread the files if they have changed, and have not gone on changing since the last poll."""
        state = self._state()
        settled, self._seen = state == self._seen, state
        if settled and state != self._loaded:
            self.reread()

    def reread(self) -> None:
        """Load the context again; where the files are unusable it stays as it is, and the reason is logged."""
        self._loaded = self._seen = self._state()
        try:
            self.current = load(self._tls)
        except StartupFailure as failure:
            record = f"{failure.cause.identifier}: {failure.sentence}"
            logs.warning(f"{record}; connections go on with the certificate that was read before")
        else:
            logs.info(f"arun: certificates reread: {', '.join(one.certfile for one in self._tls.certificates)}")

    def _state(self) -> tuple[Signature | None, ...]:
        return tuple(map(file_watch.signature, self._tls.files))


def load(tls: Tls) -> Context:
    """Return a context that serves; with several certificates it chooses by SNI (RFC 6066 section 3).

    The names are those of each certificate's subjectAltName; a client that names none of them gets the first one.

    Raises:
        StartupFailure: a cause certificate-* of the stage "listen".
        StartupFailure(OPTION_INVALID): OpenSSL knows none of the ciphers.
    """
    if not tls.certificates:
        raise StartupFailure(
            CERTIFICATE_MISSING,
            "TLS is asked for, and no certificate is named",
            origin=tls.origin,
            hint="name one with --ssl-certfile, or behind the address of --https-socket",
        )
    if tls.client_certificates != "none" and not tls.client_ca:
        raise StartupFailure(
            CERTIFICATE_MISSING,
            "certificates of clients are asked for, and no authority that they come from is named",
            origin=tls.origin,
            hint="name the file of authorities with --ssl-ca-certs",
        )
    contexts = [_context(tls, certificate) for certificate in tls.certificates]
    default = contexts[0]
    described = [_described(certificate.certfile, tls.origin) for certificate in tls.certificates]
    for certificate, fields in zip(tls.certificates, described, strict=True):
        _warn_if_out_of_date(certificate.certfile, fields)
    if len(contexts) > 1:
        by_name: dict[str, Context] = {}
        for context, fields in zip(contexts, described, strict=True):
            for kind, name in fields.get("subjectAltName", ()):
                if kind == "DNS":
                    by_name.setdefault(name.lower(), context)
        default.sni_callback = _chooser(by_name)
    return default


def _report_unraisable(unraisable: sys.UnraisableHookArgs, report: Callable[..., Any] = sys.unraisablehook) -> None:
    """Report an exception that no code can catch, except for one that any client can cause.

    A name in SNI that is not ASCII ends its handshake before the chooser is called; ``ssl`` reports it with a traceback.
    """
    if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)):
        report(unraisable)


def _chooser(by_name: dict[str, Context]) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if name is None:
            return
        name = name.lower()
        wildcard = "*." + name.partition(".")[2]  # one label, RFC 6125 section 6.4.3
        chosen = by_name.get(name) or by_name.get(wildcard)
        if chosen is not None:
            connection.context = chosen

    return choose


def _context(tls: Tls, certificate: Certificate) -> Context:
    context = Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    ciphers = tls.ciphers or _CIPHERS
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        raise StartupFailure(
            OPTION_INVALID,
            f"ssl-ciphers: {ciphers!r} names no cipher that OpenSSL has",
            origin=tls.origin,
            hint="it takes OpenSSL's notation, such as ECDHE+AESGCM:ECDHE+CHACHA20",
        ) from None
    _load_certificate(context, certificate, tls)
    if tls.client_ca:
        _check_readable(tls.client_ca, tls.origin)
        try:
            context.load_verify_locations(cafile=tls.client_ca)
        except (ssl.SSLError, OSError):
            raise StartupFailure(
                CERTIFICATE_INVALID, f"{tls.client_ca} holds no certificate", origin=tls.origin
            ) from None
    context.verify_mode = _CLIENT[tls.client_certificates]
    return context


def _load_certificate(context: Context, certificate: Certificate, tls: Tls) -> None:
    certfile, keyfile = certificate
    for path in certificate:
        _check_readable(path, tls.origin)
    asked = False

    def password() -> str:  # without it OpenSSL would ask on the terminal
        nonlocal asked
        asked = True
        return tls.password

    try:
        context.load_cert_chain(certfile, keyfile, password)
    except ssl.SSLError as error:
        if asked:
            reason = "the password does not open it" if tls.password else "no password is given"
            raise StartupFailure(
                CERTIFICATE_LOCKED, f"the key {keyfile} is encrypted, and {reason}", origin=tls.origin
            ) from None
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartupFailure(
                CERTIFICATE_KEY_MISMATCH,
                f"the key {keyfile} does not belong to the certificate {certfile}",
                origin=tls.origin,
            ) from None
        raise _invalid(certificate, error, tls.origin) from None
    except ValueError as error:  # a password that OpenSSL cannot take, of more than 1024 bytes
        raise StartupFailure(
            CERTIFICATE_LOCKED, f"the key {keyfile} is encrypted, and {error}", origin=tls.origin
        ) from None
    except OSError as error:  # removed or replaced since it was looked at
        raise StartupFailure(
            CERTIFICATE_UNREADABLE, f"cannot read {certfile} or {keyfile}: {error.strerror or error}", origin=tls.origin
        ) from error
    context.server_certificate = _first_certificate(certfile)


def _invalid(certificate: Certificate, error: ssl.SSLError, origin: str) -> StartupFailure:
    """Return the failure of the file that is the cause."""
    certfile, keyfile = certificate
    reason = (error.reason or "not in PEM format").lower().replace("_", " ")
    try:
        held = _first_certificate(certfile)
    except ValueError:
        held = ""
    if not held:
        return StartupFailure(CERTIFICATE_INVALID, f"{certfile} holds no certificate in PEM format", origin=origin)
    try:
        with open(keyfile, encoding="latin-1") as file:
            has_key = "PRIVATE KEY-----" in file.read()
    except OSError:
        has_key = False
    if not has_key:
        return StartupFailure(CERTIFICATE_INVALID, f"{keyfile} holds no private key in PEM format", origin=origin)
    return StartupFailure(CERTIFICATE_INVALID, f"{certfile} and {keyfile} cannot be used: {reason}", origin=origin)


def _check_readable(path: str, origin: str) -> None:
    """Open the file once: OpenSSL does not report which of two it could not read, or why.

    Raises:
        StartupFailure(CERTIFICATE_MISSING): it is not there.
        StartupFailure(CERTIFICATE_UNREADABLE): it cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StartupFailure(CERTIFICATE_UNREADABLE, f"cannot read {path}: it is no file", origin=origin)
        with open(path, "rb") as file:
            file.read(1)
    except (FileNotFoundError, NotADirectoryError):
        raise StartupFailure(CERTIFICATE_MISSING, f"there is no file {path}", origin=origin) from None
    except OSError as error:
        raise StartupFailure(
            CERTIFICATE_UNREADABLE, f"cannot read {path}: {error.strerror or error}", origin=origin
        ) from error


def _first_certificate(path: str) -> str:
    """Return the first certificate of a file as it stands there, empty if there is none."""
    with open(path, encoding="latin-1") as file:
        text, end, _ = file.read().partition(_PEM_END)
    _, begin, body = text.rpartition("-----BEGIN CERTIFICATE-----")
    return f"{begin}{body}{end}\n" if begin and end else ""


def _described(path: str, origin: str) -> dict[str, Any]:
    """Return the fields of a certificate, as ``SSLObject.getpeercert`` would on the other side."""
    # The one way that the standard library has to read a certificate which is not a peer's; its own tests stand on it.
    try:
        fields: dict[str, Any] = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined] # noqa: SLF001
    except (ssl.SSLError, ValueError):
        raise StartupFailure(
            CERTIFICATE_INVALID, f"{path} begins with a certificate that cannot be read", origin=origin
        ) from None
    return fields


def _warn_if_out_of_date(path: str, fields: dict[str, Any]) -> None:
    end = ssl.cert_time_to_seconds(fields["notAfter"])
    if end < time.time():
        logs.warning(f"the certificate {path} has expired, on {time.strftime('%Y-%m-%d', time.gmtime(end))}")
