"""What an aiohttp app asks of its server: ``web.Application(handler_args={...})``, the arguments of ``web.RequestHandler``.

They count as on aiohttp's own server, but for limits where arun's are stricter: those are the operator's to set.
"""

from __future__ import annotations

import logging
from math import isfinite

from aiohttp.abc import AbstractAccessLogger
from aiohttp.log import access_logger
from aiohttp.web_log import AccessLogger

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from arun.http.options import HttpOptions

__all__ = ("HandlerArgs", "settle")

#: Those that are limits of arun's as well: the field of HttpOptions, and the option.
_LIMITS = {
    "max_line_size": ("limit_request_line", "limit-request-line"),
    "max_field_size": ("limit_request_field_size", "limit-request-field-size"),
    "max_headers": ("limit_request_fields", "limit-request-fields"),
}
#: Seconds that the rest of an unread body is waited for.
_LINGER = 1.0
#: Bytes of a body that wait for its handler; twice as many make the client wait.
_READ_BUFSIZE = 262_144
#: Those that mean nothing here, and why.
_WITHOUT_EFFECT = {
    "debug": "--debug shows tracebacks, to visitors from this machine",
    "timeout_ceil_threshold": "arun has timers of its own",
}


class HandlerArgs(Value):
    """What comes of the arguments: how the app is served, and what an operator is warned of.

    ``read_bufsize`` is in bytes, ``lingering_time`` in seconds. ``logger`` takes errors and ``access_log`` requests
    beside the logs of the instance, None where the app names none.
    """

    options: HttpOptions
    read_bufsize: int
    auto_decompress: bool
    tcp_keepalive: bool
    handler_cancellation: bool
    lingering_time: float
    logger: logging.Logger | None
    access_log: AbstractAccessLogger | None
    notes: tuple[str, ...]


def settle(given: Mapping[str, Any] | None, options: HttpOptions) -> HandlerArgs:
    """Check the arguments of an app against the options of the instance; what cannot be taken is noted, and left out."""
    notes: list[str] = []
    args = {name: value for name, value in (given or {}).items() if _is_possible(name, value, notes)}
    limits = options
    for name, (field, option) in _LIMITS.items():
        if name in args:
            limits = limits._replace(
                **{field: _stricter(name, args[name], getattr(limits, field) or None, option, notes)}
            )
    keep_alive = options.timeout_keep_alive
    if "keepalive_timeout" in args:
        keep_alive = _stricter("keepalive_timeout", args["keepalive_timeout"], keep_alive, "timeout-keep-alive", notes)
    lingering_time = _stricter("lingering_time", args.get("lingering_time", _LINGER), _LINGER, "", notes)
    return HandlerArgs(
        options=limits._replace(timeout_keep_alive=keep_alive),
        read_bufsize=args.get("read_bufsize", _READ_BUFSIZE),
        auto_decompress=args.get("auto_decompress", True),
        tcp_keepalive=args.get("tcp_keepalive", True),
        handler_cancellation=args.get("handler_cancellation", False),
        lingering_time=lingering_time,
        logger=args.get("logger"),
        access_log=_access_log(args, notes),
        notes=tuple(notes),
    )


def _stricter(name: str, asked: float, own: float | None, option: str, notes: list[str]) -> Any:
    """Return the smaller one; ``own`` is None where arun has no limit."""
    if own is None or asked <= own:
        return asked
    notes.append(f"{name}={asked:g} does not count, as {option or 'arun'} is stricter ({own:g})")
    return own


def _access_log(args: Mapping[str, Any], notes: list[str]) -> AbstractAccessLogger | None:
    """Make the app's access logger, where it names its class, its logger or its format."""
    if args.keys().isdisjoint(("access_log", "access_log_class", "access_log_format")):
        return None
    logger = args.get("access_log", access_logger)
    if logger is None:
        return None
    kind = args.get("access_log_class", AccessLogger)
    try:
        made: AbstractAccessLogger = kind(logger, args.get("access_log_format", AccessLogger.LOG_FORMAT))
    except Exception as error:  # noqa: BLE001 - code of the app's
        notes.append(
            f"access_log_class={kind.__name__} does not count: making one raised {type(error).__name__}: {error}"
        )
        return None
    return made if getattr(made, "enabled", True) else None  # aiohttp before 3.11 does not ask


def _is_possible(name: str, value: Any, notes: list[str]) -> bool:
    """Return whether an argument is known and of its kind, and means something here; else say why not."""
    if name in _WITHOUT_EFFECT:
        notes.append(f"{name}={_shown(value)} has no effect: {_WITHOUT_EFFECT[name]}")
        return False
    if name not in _KINDS:
        notes.append(f"{name}={_shown(value)} is unknown to aiohttp, and does not count")
        return False
    is_of_kind, kind = _KINDS[name]
    if not is_of_kind(value):
        notes.append(f"{name}={_shown(value)} does not count: it takes {kind}")
        return False
    return True


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except Exception:  # noqa: BLE001 - code of the app's
        return type(value).__name__


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_SIZE, _TIME, _FLAG = (_is_size, "a number above 0"), (_is_time, "seconds, 0 or more"), (_is_flag, "True or False")
#: The arguments that aiohttp knows: how they are judged, and what they take.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_line_size": _SIZE,
    "max_field_size": _SIZE,
    "max_headers": _SIZE,
    "read_bufsize": _SIZE,
    "keepalive_timeout": _TIME,
    "lingering_time": _TIME,
    "auto_decompress": _FLAG,
    "tcp_keepalive": _FLAG,
    "handler_cancellation": _FLAG,
    "logger": (lambda value: isinstance(value, logging.Logger | logging.LoggerAdapter), "a logging.Logger"),
    "access_log": (lambda value: value is None or hasattr(value, "info"), "a logging.Logger, or None"),
    "access_log_class": (
        lambda value: isinstance(value, type) and issubclass(value, AbstractAccessLogger),
        "a subclass of aiohttp.abc.AbstractAccessLogger",
    ),
    "access_log_format": (lambda value: isinstance(value, str), "a text"),
}
