"""The names of aiohttp that arun uses and aiohttp does not document: looked up before an app starts, in one place.

``pyproject.toml`` says which releases have them; tests/engines/test_aiohttp_names.py fails where the installed one does not.
A request also has what aiohttp asks of its protocol: of those, ``_timeout_ceil_threshold`` (websockets with a heartbeat),
``_paused``, ``_reading_paused`` and ``_drain_helper`` are private. An application has its ``_handler_args`` and ``_subapps``,
and a response what ``RESPONSE`` names: of a plain one (writer.py) that is read, and that says afterwards that it was sent.
"""

from __future__ import annotations

from importlib import import_module

from arun.core.failures import APP_DEPENDENCY_MISSING, StartupFailure

__all__ = ("NAMES", "RESPONSE", "require")

#: Per module, the names that are used, private ones first.
NAMES = {
    "aiohttp.web": (
        "BaseRequest._finish",
        "FileResponse._sendfile",
        "FileResponse._sendfile_fallback",
        "AppRunner.server",
        "Response.prepare",
        "Response._start",
        "Response._prepare_headers",
        "Response._write_headers",
        "Response.write_eof",
        "Request._prepare_hook",
    ),
    "aiohttp.streams": (
        "StreamReader._wait",
        "StreamReader.total_bytes",
        "StreamReader.begin_http_chunk_receiving",
        "StreamReader.end_http_chunk_receiving",
        "EmptyStreamReader",
    ),
    "aiohttp.base_protocol": (
        "BaseProtocol._paused",
        "BaseProtocol._reading_paused",
        "BaseProtocol._drain_helper",
        "BaseProtocol.transport",
    ),
    "aiohttp.client_exceptions": ("ClientConnectionResetError",),
    "aiohttp.compression_utils": ("ZLibCompressor",),
    "aiohttp.helpers": ("rfc822_formatted_time",),
    "aiohttp.http": ("HttpVersion10", "HttpVersion11", "RawRequestMessage", "SERVER_SOFTWARE", "WebSocketReader"),
    "aiohttp.http_exceptions": ("ContentEncodingError",),
    "aiohttp.http_parser": ("DeflateBuffer",),
    "aiohttp.tcp_helpers": ("tcp_keepalive",),
    "aiohttp.web_protocol": ("PayloadAccessError", "RequestPayloadError"),
}

RESPONSE = (
    "_body",
    "_body_length",
    "_chunked",
    "_compression",
    "_cookies",
    "_eof_sent",
    "_headers",
    "_keep_alive",
    "_payload_writer",
    "_reason",
    "_status",
)


def require() -> None:
    """Check that the installed aiohttp has every name.

    Raises:
        StartupFailure(APP_DEPENDENCY_MISSING): it does not.
    """
    missing = [f"{module}.{name}" for module, names in NAMES.items() for name in names if not _has(module, name)]
    if not missing:
        from aiohttp.web import Response

        response = Response()
        missing = [f"aiohttp.web.Response.{name}" for name in RESPONSE if not hasattr(response, name)]
    if missing:
        import aiohttp

        raise StartupFailure(
            APP_DEPENDENCY_MISSING,
            f"aiohttp {aiohttp.__version__} has no {', '.join(missing)}",
            hint="install a release of aiohttp that arun was tested with (pip install --force-reinstall arun-server)",
        )


def _has(module: str, name: str) -> bool:
    try:
        found: object = import_module(module)
    except ImportError:
        return False
    for part in name.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True
