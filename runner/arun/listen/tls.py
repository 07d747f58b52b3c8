"""TLS of the listeners that are wanted: the context of each, and what a fallback takes over from a failed start.

``ssl`` is imported where a listener speaks TLS, and not before.
"""

from __future__ import annotations

from arun.core.failures import StartupFailure
from arun.listen import places
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from arun.core.addresses import Address
    from arun.core.listen_spec import ListenSpec, Tls
    from arun.listen.certificates import LiveContext

    Contexts = Mapping[Tls, LiveContext]

__all__ = ("inherit", "load", "with_certificates")


def load(wanted: Iterable[ListenSpec]) -> Contexts:
    """Return the context of each TLS that is wanted.

    Raises:
        StartupFailure: a cause certificate-* of the stage "listen".
        StartupFailure(OPTION_INVALID): OpenSSL knows none of the ciphers.
    """
    needed = dict.fromkeys(one.tls for one in wanted if one.tls is not None)
    if not needed:
        return {}
    from arun.listen.certificates import LiveContext

    return {tls: LiveContext(tls) for tls in needed}


def with_certificates(spec: ListenSpec, before: Sequence[ListenSpec]) -> ListenSpec:
    """Return the spec; where it speaks TLS without a certificate, with the TLS that was spoken ``before`` at its address."""
    if spec.tls is None or spec.tls.certificates:
        return spec
    return spec._replace(tls=next((other.tls for other in _found(spec.address, before) if other.tls), spec.tls))


def inherit(
    wanted: Sequence[ListenSpec], before: Sequence[ListenSpec], contexts: dict[Tls, LiveContext]
) -> tuple[list[ListenSpec], list[ListenSpec]]:
    """Return where a fallback may listen, and where it may not, as TLS was spoken there and cannot be any more.

    What a spec does not give is as it was ``before``, at its address or at one that overlaps. The contexts that this needs
    are added to ``contexts``.
    """
    kept: list[ListenSpec] = []
    refused: list[ListenSpec] = []
    for one in wanted:
        spec = one
        for other in _found(one.address, before):
            spec = spec.over(other)
        try:
            if spec.tls is not None and spec.tls not in contexts:
                contexts.update(load([spec]))
        except StartupFailure as failure:
            logs.warning(f"not listening on {one.address}, as TLS was served there: {failure.sentence}")
            refused.append(spec)
        else:
            kept.append(spec)
    return kept, refused


def _found(address: Address, before: Sequence[ListenSpec]) -> list[ListenSpec]:
    """Return the specs of an address, and those of addresses that overlap it."""
    found = [spec for spec in before if spec.address == address]
    others = [spec for spec in before if spec.address != address and not spec.is_plain]
    if others:
        own = places.known(address)
        found += [
            spec
            for spec in others
            if any(places.overlap(one, other) for one in own for other in places.known(spec.address))
        ]
    return found
