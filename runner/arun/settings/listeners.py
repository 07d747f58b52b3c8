"""From settings to listen specs: each address with the TLS and the PROXY header that come before HTTP there."""

from __future__ import annotations

import os

from arun.core.listen_spec import Certificate, ListenSpec, Tls

from .options import DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .settings import Settings

__all__ = ("default", "named", "shared")


def default(settings: Settings, *, inherits: bool) -> ListenSpec:
    """Return the spec of an instance whose settings name no address.

    It speaks TLS if there is a certificate and no https-socket. With ``inherits`` what the settings do not give stays None,
    for the listener of a predecessor to give.
    """
    tls = None if settings.https_socket or not settings.given("ssl-certfile") else _tls(settings)
    return ListenSpec(DEFAULT, tls, _proxies(settings, inherits=inherits), "default")


def shared(settings: Settings, *, inherits: bool) -> list[ListenSpec]:
    """Return the specs to bind before the privileges are dropped."""
    spec = default(settings, inherits=inherits)
    return [spec._replace(address=address, origin=origin) for address, origin in settings.shared_addresses]


def named(settings: Settings, *, inherits: bool) -> list[ListenSpec]:
    """Return the specs of all other addresses; one of https-socket may speak TLS without a certificate yet."""
    spec = default(settings, inherits=inherits)
    ordinary = [spec._replace(address=address, origin=origin) for address, origin in settings.addresses]
    return ordinary + _secure(settings, spec.proxies)


def _secure(settings: Settings, proxies: tuple[str, ...] | None) -> list[ListenSpec]:
    """Return the specs of https-socket; one without a certificate of its own has those of ssl-certfile."""
    found = []
    for one, origin in settings.secure_addresses:
        tls = _tls(settings)._replace(origin=origin)
        if one.certfile:
            pair = Certificate(_absolute(one.certfile, settings), _absolute(one.keyfile, settings))
            tls = tls._replace(certificates=(pair,))
        if one.ciphers:
            tls = tls._replace(ciphers=one.ciphers)
        if one.client_ca:  # uWSGI's way to demand a certificate instead of just asking for one
            demanded = one.client_ca.startswith("!") or settings.ssl_cert_reqs == "required"
            tls = tls._replace(
                client_ca=_absolute(one.client_ca.removeprefix("!"), settings),
                client_certificates="required" if demanded else "optional",
            )
        found.append(ListenSpec(one.address, tls, proxies, origin))
    return found


def _tls(settings: Settings) -> Tls:
    certfiles = [_absolute(path, settings) for path in settings.ssl_certfile]
    keyfiles = [_absolute(path, settings) for path in settings.ssl_keyfile] or certfiles
    return Tls(
        tuple(Certificate(*pair) for pair in zip(certfiles, keyfiles, strict=False)),  # validation refuses a difference
        settings.ssl_keyfile_password or "",
        settings.ssl_version,
        settings.ssl_cert_reqs,
        _absolute(settings.ssl_ca_certs, settings) if settings.ssl_ca_certs else "",
        settings.ssl_ciphers or "",
        settings.origin("ssl_certfile"),
    )


def _proxies(settings: Settings, *, inherits: bool) -> tuple[str, ...] | None:
    if settings.proxy_protocol is None:
        return None if inherits else ()
    return settings.proxy_allow_from if settings.proxy_protocol else ()


def _absolute(path: str, settings: Settings) -> str:
    return os.path.join(settings.directory, path)
