"""From settings to what stands before HTTP on each listener, and the contexts that TLS needs there."""

from __future__ import annotations

import os

from arun.core.failures import StartupFailure
from arun.core.transport import Certificate, Tls, Transport
from arun.listen import places
from arun.listen.claims import Wanted
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from arun.core.addresses import Address
    from arun.listen.certificates import LiveContext
    from arun.settings import Settings

    Contexts = Mapping[Tls, LiveContext]
    #: An address of a start before this one in its chain, and what stood before HTTP there.
    Before = tuple[Address, Transport]

__all__ = ("inherit", "load", "ordinary", "secure")


def ordinary(chosen: Settings, *, inherits: bool) -> Transport:
    """Return the transport of all listeners but those of https-socket: TLS if there is a certificate and no such one.

    With ``inherits`` what the settings do not say is left open, for a listener of a predecessor to say.
    """
    tls = None if chosen.https_socket or not chosen.said("ssl-certfile") else _tls(chosen)
    return Transport(tls, _proxies(chosen, inherits=inherits))


def secure(chosen: Settings, before: Sequence[Before], *, inherits: bool) -> list[Wanted]:
    """Return the listeners of https-socket.

    One without a certificate of its own speaks TLS as the settings say, or as it was spoken ``before`` at that address.
    """
    wanted = []
    for one, origin in chosen.secure_addresses:
        tls = _tls(chosen)._replace(origin=origin)
        if one.certfile:
            pair = Certificate(_absolute(one.certfile, chosen), _absolute(one.keyfile, chosen))
            tls = tls._replace(certificates=(pair,))
        if one.ciphers:
            tls = tls._replace(ciphers=one.ciphers)
        if one.client_ca:  # uWSGI's way to demand a certificate instead of just asking for one
            demanded = one.client_ca.startswith("!") or chosen.ssl_cert_reqs == "required"
            tls = tls._replace(
                client_ca=_absolute(one.client_ca.removeprefix("!"), chosen),
                client_certificates="required" if demanded else "optional",
            )
        if inherits and not tls.certificates:
            tls = next((other.tls for other in _found(one.address, before) if other.tls), tls)
        transport = Transport(tls, _proxies(chosen, inherits=inherits))
        wanted.append(Wanted(one.address, origin, transport, inherits))
    return wanted


def load(wanted: Iterable[Transport]) -> Contexts:
    """Return the context of each TLS that is wanted.

    Raises:
        StartupFailure: a cause certificate-* of the stage "listen".
        StartupFailure(OPTION_INVALID): the ciphers.
    """
    needed = dict.fromkeys(one.tls for one in wanted if one.tls is not None)
    if not needed:
        return {}
    from arun.listen.certificates import LiveContext

    return {tls: LiveContext(tls) for tls in needed}


def inherit(
    wanted: Sequence[Wanted], before: Sequence[Before], contexts: dict[Tls, LiveContext]
) -> tuple[list[Wanted], list[Wanted]]:
    """Return what a fallback may listen on, and where nobody may, as TLS was spoken there and cannot be any more.

    What the fallback does not say itself is as it was ``before``, there or at an address that overlaps. The contexts
    that this takes are added to ``contexts``.
    """
    kept: list[Wanted] = []
    refused: list[Wanted] = []
    for one in wanted:
        transport = one.transport
        for other in _found(one.address, before):
            transport = transport.over(other)
        inheriting = one._replace(transport=transport)
        try:
            if transport.tls is not None and transport.tls not in contexts:
                contexts.update(load([transport]))
        except StartupFailure as failure:
            logs.warning(f"nobody listens on {one.address}, as TLS was spoken there: {failure.sentence}")
            refused.append(inheriting)
        else:
            kept.append(inheriting)
    return kept, refused


def _found(address: Address, before: Sequence[Before]) -> list[Transport]:
    """Return what stood before HTTP at an address, and at those that overlap it."""
    found = [transport for there, transport in before if there == address]
    others = [(there, transport) for there, transport in before if there != address and not transport.is_plain]
    if others:
        own = places.known(address)
        found += [
            transport
            for there, transport in others
            if any(places.overlap(one, other) for one in own for other in places.known(there))
        ]
    return found


def _tls(chosen: Settings) -> Tls:
    certfiles = [_absolute(path, chosen) for path in chosen.ssl_certfile]
    keyfiles = [_absolute(path, chosen) for path in chosen.ssl_keyfile] or certfiles
    return Tls(
        tuple(
            Certificate(*pair) for pair in zip(certfiles, keyfiles, strict=False)
        ),  # validate() refuses those that differ
        chosen.ssl_keyfile_password or "",
        chosen.ssl_version,
        chosen.ssl_cert_reqs,
        _absolute(chosen.ssl_ca_certs, chosen) if chosen.ssl_ca_certs else "",
        chosen.ssl_ciphers or "",
        chosen.origin("ssl_certfile"),
    )


def _proxies(chosen: Settings, *, inherits: bool) -> tuple[str, ...] | None:
    if chosen.proxy_protocol is None:
        return None if inherits else ()
    return chosen.proxy_allow_from if chosen.proxy_protocol else ()


def _absolute(path: str, chosen: Settings) -> str:
    return os.path.join(chosen.directory, path)
