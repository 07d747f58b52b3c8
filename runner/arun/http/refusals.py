"""Why a request was refused, in a sentence for the log: found out again from what is left of it, where the log is to say it."""

from __future__ import annotations

from arun.http.request import split_target, valid_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.http.options import HttpOptions
    from arun.http.request import Request

__all__ = ("reason", "told")

#: Statuses by what they are for.
_BAD, _TIMED_OUT, _LONG_BODY, _LONG_LINE, _LONG_FIELDS, _NOT_DONE, _VERSION = 400, 408, 413, 414, 431, 501, 505
#: Bytes of what a client sent that are repeated.
_SHOWN = 200


def told(
    status: int, request: Request | None, client: tuple[str, int] | None, options: HttpOptions, why: str = ""
) -> str:
    """Return a line about a refused request, as :func:`reason` finds it."""
    line = "" if request is None else f" {request.method} {request.target.decode('latin-1')}"
    peer = f" from {client[0]}" if client else ""
    return f"refused{line}{peer} with {status}: {reason(status, request, options, why)}"


def reason(status: int, request: Request | None, options: HttpOptions, why: str = "") -> str:
    """Return why a request was refused with this status.

    Args:
        status: the status of the response.
        request: what is known of it; None where not even its first line is whole.
        options: the limits that held for it.
        why: what the parser said, or the place where it was refused.
    """
    if status == _TIMED_OUT:
        return why or f"it did not come in time ({_limits(options, 'timeout_header', 'timeout_body', 'min_body_rate')})"
    if status == _LONG_BODY:
        return f"its body is too long ({_limits(options, 'limit_request_body')})"
    if status == _LONG_LINE:
        return f"its request line is too long ({_limits(options, 'limit_request_line')})"
    if status == _LONG_FIELDS:
        names = "limit_request_fields", "limit_request_field_size", "limit_request_head"
        return f"its header fields are too many or too long ({_limits(options, *names)})"
    return why or _rule(request) or "it breaks the rules of HTTP/1 (RFC 9112)"


def _limits(options: HttpOptions, *names: str) -> str:
    return ", ".join(f"{name.replace('_', '-')} {getattr(options, name):g}" for name in names)


def _rule(request: Request | None) -> str:
    """Return the rule that a head breaks which was parsed and checked; empty where none is found."""
    if request is None:
        return ""
    hosts = [value for name, value in request.headers if name == b"host"]
    codings = [value for name, value in request.headers if name == b"transfer-encoding"]
    if request.version not in {"1.0", "1.1"}:
        return f"HTTP/{request.version} is not spoken here"
    if codings and request.version == "1.0":
        return "Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)"
    if request.method == "CONNECT":
        return "CONNECT: this is no proxy"
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        return f"a transfer coding other than chunked: {_shown(b', '.join(codings))}"
    return _rule_of_host(hosts, request.version) or _rule_of_target(request)


def _rule_of_host(hosts: list[bytes], version: str) -> str:
    if len(hosts) > 1:
        return f"{len(hosts)} Host fields (RFC 9112 section 3.2)"
    if not hosts and version == "1.1":
        return "no Host field (RFC 9112 section 3.2)"
    return f"the Host field is not valid: {_shown(hosts[0])}" if hosts and not valid_host(hosts[0]) else ""


def _rule_of_target(request: Request) -> str:
    try:
        path = split_target(request.target)[0]
    except ValueError as error:
        return f"{error}: {_shown(request.target)}"
    if path.startswith(b"*"):
        return f"a target with * is for OPTIONS only: {_shown(request.target)}"
    return ""


def _shown(value: bytes) -> str:
    return repr(value[:_SHOWN].decode("latin-1")) + ("..." if len(value) > _SHOWN else "")
