"""What is answered on the control socket and the status listener: probes, the state, metrics; and, on the first, orders."""

from __future__ import annotations

import time

from arun.control.messages import JSON, Response
from arun.control.state import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from arun.control.messages import Request
    from arun.control.state import InstanceState, Offline

    class Orders(Protocol):
        """What an operator may order; each returns at once, with the sentence that says what follows."""

        def reload(self) -> str:
            """Reload; of a fallback, try the primary now.

            Raises:
                Refused: this instance cannot.
            """
            ...

        def stop_instance(self, *, forced: bool) -> str:
            """Stop."""
            ...

        def take_offline(self, offline: Offline | None) -> str:
            """Take the app offline, or (None) bring it back.

            Raises:
                Refused: it cannot be taken offline so.
            """
            ...


__all__ = ("CONTROL", "PROBES", "Refused", "answer")

#: The channel on which orders are taken.
CONTROL = "control"
PROBES = ("/livez", "/startupz", "/readyz")
_RETRY = 5
_ABOUT = "arun: /livez /startupz /readyz /status /metrics"


class Refused(Exception):  # noqa: N818 - it is an order that is so
    """An order that this instance cannot carry out, and why."""


def answer(request: Request, channel: str, look: Callable[[], InstanceState], orders: Orders) -> Response:
    """Return the response to a request; orders are taken on the control socket only."""
    path = request.path
    if channel == CONTROL and path in _ORDERS:
        if request.method != "POST":
            return Response.line(405, f"{path} takes POST", ("allow", "POST"))
        try:
            return Response.line(202, _ORDERS[path](request, orders))
        except Refused as refused:
            return Response.line(409, str(refused))
    if path not in {*PROBES, "/status", "/metrics", "/"}:
        return Response.line(404, f"there is no {path} here; there are {_ABOUT.partition(' ')[2]}")
    if request.method not in {"GET", "HEAD"}:
        return Response.line(405, f"{path} takes GET and HEAD", ("allow", "GET, HEAD"))
    if path == "/":
        return Response.line(200, _ABOUT)
    state = look()
    if path == "/status":
        return _json(200, document(state, time.time(), whole=channel == CONTROL))
    if path == "/metrics":
        from arun.control import metrics

        return metrics.exposition(state, request.fields.get("accept", ""))
    return _probe(path, state, wants_json=request.prefers_json())


def _probe(path: str, state: InstanceState, *, wants_json: bool) -> Response:
    passes, reason = _passes(path, state)
    status = 200 if passes else 503
    retry = () if passes else (("retry-after", str(_seconds(state))),)
    if wants_json:
        said = {"status": "pass" if passes else "fail", "state": state.state, "reason": reason}
        return _json(status, said)._replace(fields=retry)
    return Response.line(status, f"{state.state}: {reason}" if reason else state.state, *retry)


def _passes(path: str, state: InstanceState) -> tuple[bool, str]:
    """Return whether a probe passes, and the reason why the instance is not ready."""
    if path == "/livez":
        return not state.is_stuck, state.reason if state.is_stuck else ""
    if path == "/startupz":
        passes = state.state != "starting"
        return passes, "" if passes else state.reason
    return state.is_ready, state.reason


def _seconds(state: InstanceState) -> int:
    """Return after how many seconds another try makes sense."""
    return _RETRY if state.next_try is None else max(1, int(state.next_try - time.time()) + 1)


def _json(status: int, value: object) -> Response:
    import json

    return Response(status, json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n", JSON)


def _offline(request: Request, orders: Orders) -> str:
    """Take what the body says: ``{"text": "...", "allow": ["10.0.0.0/8"]}``."""
    import json

    from arun.control.state import Offline

    try:
        said = json.loads(request.body or b"{}")
        text, allow = said.get("text", ""), said.get("allow", [])
    except (ValueError, AttributeError):
        raise Refused("the body is no JSON object") from None
    if not isinstance(text, str) or not isinstance(allow, list) or not all(isinstance(one, str) for one in allow):
        raise Refused("text is a string, and allow a list of addresses and networks")
    return orders.take_offline(Offline(text, tuple(allow)))


_ORDERS: dict[str, Callable[[Request, Orders], str]] = {
    "/reload": lambda _request, orders: orders.reload(),
    "/stop": lambda request, orders: orders.stop_instance(forced=request.body == b"force"),
    "/offline": _offline,
    "/online": lambda _request, orders: orders.take_offline(None),
}
