"""The page that ``welcome-html`` puts in place of the built-in one: read at the start, in memory from then on."""

from __future__ import annotations

import os

from arun.core.failures import FILE_UNUSABLE, StartupFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.settings import Settings

__all__ = ("read",)

_LARGEST = 1_048_576
#: A pipe, or a device, must not hold up the start.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def read(settings: Settings) -> str:
    """Return the text of the page; empty where the settings name none.

    Raises:
        StartupFailure(FILE_UNUSABLE): it cannot be read, is empty or too large, or is no UTF-8.
    """
    if not settings.welcome_html:
        return ""
    path = os.path.join(settings.directory, settings.welcome_html)
    try:
        return _text(path)
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        raise StartupFailure(
            FILE_UNUSABLE,
            f"cannot serve the page {path}: {reason}",
            origin=settings.origin("welcome_html"),
            hint=f"it takes a file of HTML in UTF-8, of at most {_LARGEST} bytes",
        ) from error


def _text(path: str) -> str:
    """Read the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no page.
    """
    with open(os.open(path, _FLAGS), "rb") as file:
        content = file.read(_LARGEST + 1) or b""
    if len(content) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    if not text.strip():
        raise ValueError("it is empty")
    return text
