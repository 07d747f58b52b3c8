"""Where a request goes: the request target (RFC 9112 section 3.2) and the Host field (RFC 9110 section 7.2)."""

from __future__ import annotations

__all__ = ("ESCAPE", "FRAGMENT", "split_target", "unquoted", "valid_host")

#: What a percent escape and a fragment begin with. "in" takes a number at once; of bytes it first tries to make one, and
#: builds the error of that: ten times the cost, for each request.
ESCAPE, FRAGMENT = ord("%"), ord("#")

_HOST_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+;="
_HEX = b"0123456789abcdefABCDEF"
_LITERAL_BYTES = _HEX + b":."
_DIGITS = 2


def split_target(target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Split a request target into its path as it was sent, its query, and its authority (absolute-form only).

    Raises:
        ValueError: a fragment, or an absolute form that is not of http or names no valid host.
    """
    if FRAGMENT in target:
        raise ValueError("a request target has no fragment")
    authority = None
    if not target.startswith((b"/", b"*")):
        scheme, colon, rest = target.partition(b"://")
        if not colon or scheme.lower() not in {b"http", b"https"}:
            raise ValueError("neither a path nor a URL of http")
        end = min(place for place in (rest.find(b"/"), rest.find(b"?"), len(rest)) if place >= 0)
        authority, target = rest[:end], rest[end:]
        if not authority or not valid_host(authority):
            raise ValueError("the URL names no valid host")
    path, _, query = target.partition(b"?")
    return path or b"/", query, authority


def valid_host(value: bytes) -> bool:
    """Say whether a Host field holds ``host [":" port]`` or nothing (RFC 3986 section 3.2)."""
    if value.startswith(b"["):
        literal, bracket, port = value[1:].partition(b"]")
        if not bracket or not literal or literal.translate(None, _LITERAL_BYTES):
            return False
        return not port or (port.startswith(b":") and _is_port(port[1:]))
    host, colon, port = value.partition(b":")
    if host.translate(None, _HOST_BYTES) or (ESCAPE in host and not _escapes_are_whole(host)):
        return False
    return not colon or (bool(host) and _is_port(port))


def unquoted(path: bytes) -> bytes:
    """Return a path with its percent escapes decoded; what is no escape stays as it is."""
    if ESCAPE not in path:
        return path
    first, *rest = path.split(b"%")
    decoded = [first]
    for part in rest:
        digits = part[:_DIGITS]
        try:
            if len(digits) != _DIGITS or not digits.isalnum():
                raise ValueError  # noqa: TRY301 - int() takes more than two hexadecimal digits: signs, spaces, _
            decoded += (bytes((int(digits, 16),)), part[_DIGITS:])
        except ValueError:
            decoded += (b"%", part)
    return b"".join(decoded)


def _escapes_are_whole(text: bytes) -> bool:
    return all(len(part) >= _DIGITS and not part[:_DIGITS].translate(None, _HEX) for part in text.split(b"%")[1:])


def _is_port(text: bytes) -> bool:
    return not text or (text.isdigit() and len(text) <= 5 and int(text) <= 65_535)  # noqa: PLR2004 - a TCP port
