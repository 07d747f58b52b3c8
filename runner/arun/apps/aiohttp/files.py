"""``web.FileResponse`` on our connection: files go out as those of other apps do, by sendfile(2) on every loop."""

from __future__ import annotations

from aiohttp import web

from arun.apps.aiohttp.writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from aiohttp.abc import AbstractStreamWriter

__all__ = ("send_files_ourselves",)

_of_aiohttp = web.FileResponse._sendfile  # noqa: SLF001 - see names


def send_files_ourselves() -> None:
    """Let responses of files ask their writer to send the file, where it is ours.

    aiohttp gives its transport to ``loop.sendfile``, behind the back of whatever counts the bytes; uvloop has none.
    """
    web.FileResponse._sendfile = _sendfile  # type: ignore[method-assign] # noqa: SLF001 - see names


async def _sendfile(
    self: web.FileResponse, request: web.BaseRequest, fobj: IO[Any], offset: int, count: int
) -> AbstractStreamWriter:
    writer: Any = request.writer
    if not isinstance(writer, Writer):  # of another server in this process
        return await _of_aiohttp(self, request, fobj, offset, count)
    await web.StreamResponse.prepare(self, request)
    if self.compression:
        return await self._sendfile_fallback(writer, fobj, offset, count)  # type: ignore[arg-type] # by what it has
    await writer.send_file(fobj.fileno(), offset, count)
    await web.StreamResponse.write_eof(self)
    return writer  # type: ignore[return-value] # by what it has
