"""The extension permessage-deflate (RFC 7692): messages are compressed one by one, with a common memory."""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.typing import ExtensionName, ExtensionParameter

__all__ = ("Deflate", "negotiated")

#: The end of every compressed message, which is not sent (section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"
#: Bytes from which compressing a message pays: a short one is sent sooner as it is (section 6 leaves the choice).
_PAYS = 128
#: 4 KiB of memory for each direction, as most servers have it: beyond, a connection costs more than it saves.
_WINDOW_BITS = 12
_MEMORY_LEVEL = 5
#: Final blocks that a piece of a message may have in any case.
_RESTARTS = 16
#: Bytes that are inflated at once behind a final block: zlib copies what is behind the next one.
_STEP = 4096


class Deflate:
    """Both directions of one connection; what has no memory of earlier messages starts anew with each."""

    __slots__ = ("_deflater", "_forgets", "_forgotten", "_inflater", "_own_bits", "_peer_bits")

    def __init__(self, *, forgets: bool, forgotten: bool, own_bits: int, peer_bits: int) -> None:
        #: Whether we start anew with each message, and whether the client does.
        self._forgets, self._forgotten = forgets, forgotten
        self._own_bits, self._peer_bits = own_bits, peer_bits
        self._deflater: zlib._Compress | None = None
        self._inflater: zlib._Decompress | None = None

    def pays(self, payload: bytes) -> bool:
        """Return whether a message is worth compressing."""
        return len(payload) >= _PAYS

    def deflate(self, payload: bytes) -> bytes:
        """Return a message compressed."""
        deflater = self._deflater
        if deflater is None:
            deflater = zlib.compressobj(wbits=-self._own_bits, memLevel=_MEMORY_LEVEL)
            self._deflater = None if self._forgets else deflater
        return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]

    def inflate(self, payload: bytes, most: int, *, last: bool) -> bytes:
        """Return a piece of a message decompressed, cut after ``most`` bytes; the ``last`` piece ends the message.

        A final block, after which another one may follow (section 7.2.3.4), costs a new inflater: there are so many for
        a piece, and one more for each KiB of it.

        Raises:
            ValueError: this is not compressed data, or has too many final blocks.
        """
        data = memoryview(payload + _TAIL if last else payload)
        found, size = [], 0
        restarts, step = _RESTARTS + len(data) // 1024, len(data)
        while data and size < most:
            inflater = self._inflater
            if inflater is None:
                inflater = self._inflater = zlib.decompressobj(wbits=-self._peer_bits)
            try:
                found.append(inflater.decompress(data[:step], most - size))
            except zlib.error as exc:
                raise ValueError("not compressed data") from exc
            size += len(found[-1])
            data = data[min(step, len(data)) - len(inflater.unused_data) :]
            if inflater.eof:
                self._inflater, step = None, _STEP
                restarts -= 1
                if restarts < 0:
                    raise ValueError("too many final blocks")
        if last and self._forgotten:
            self._inflater = None
        return b"".join(found)


def negotiated(offers: Sequence[tuple[ExtensionName, Sequence[ExtensionParameter]]]) -> tuple[str, Deflate] | None:
    """Return the value of Sec-WebSocket-Extensions and what it promises, for the first offer that can be met."""
    from websockets.exceptions import NegotiationError
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
    from websockets.headers import build_extension

    factory = ServerPerMessageDeflateFactory(server_max_window_bits=_WINDOW_BITS, client_max_window_bits=_WINDOW_BITS)
    for name, parameters in offers:
        if name == factory.name:
            try:
                accepted, agreed = factory.process_request_params(parameters, [])
            except NegotiationError:
                continue
            deflate = Deflate(
                forgets=agreed.local_no_context_takeover,
                forgotten=agreed.remote_no_context_takeover,
                own_bits=agreed.local_max_window_bits,
                peer_bits=agreed.remote_max_window_bits,
            )
            return build_extension([(name, accepted)]), deflate
    return None
