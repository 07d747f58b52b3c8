"""Entries: keys with their values and origins before validation; and references to config files, ``FILE:SECTION``."""

from __future__ import annotations

import os

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = (
    "CHAIN",
    "EARLY",
    "FALLBACK",
    "FORMATS",
    "GUNICORN",
    "LAST_RESORT",
    "PLACEHOLDER_KEYS",
    "UNREAD_FORMATS",
    "WELCOME",
    "Entry",
    "Source",
    "absolute_reference",
    "config_key",
    "format_of",
    "formats_requests",
    "located",
    "names_config",
    "normal",
    "placeholders",
    "shown",
    "split_reference",
    "welcome_config",
)

#: The folder that holds the packages ``arun`` and ``arun_welcome``.
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: The name that stands for the built-in fallback config.
WELCOME = "welcome"
#: The formats of config files by the end of their names; a name that ends otherwise is read as ini.
FORMATS = {".ini": "INI", ".toml": "TOML", ".yaml": "YAML", ".yml": "YAML", ".json": "JSON"}

#: The ends of the configs of others that no reader is for: uWSGI's xml and sqlite.
UNREAD_FORMATS = frozenset({".xml", ".sqlite", ".sqlite3", ".db"})
#: The config that gunicorn reads by default.
GUNICORN = "gunicorn.conf.py"
#: Keys that name placeholders instead of being one.
PLACEHOLDER_KEYS = ("set-placeholder", "set-ph", "set")
#: Keys that are found even where the rest of a config cannot be read: they decide what follows a failed start.
EARLY = FALLBACK, LAST_RESORT = ("fallback-config", "last-resort")
#: Keys that hold for a whole chain of fallbacks and are known, from command line and environment, before any config is read.
CHAIN = (LAST_RESORT, "on-fallback", "log-format")


class Entry(Value):
    """A key as it was written (with dashes), its value, and where it comes from.

    ``value`` is text, None for a bare key, or the native value of a toml, json or yaml file. ``path`` is the absolute
    path of the file that holds it, empty on the command line and in the environment. ``lenient`` entries come from a
    section of uWSGI, whose own keys are no mistakes. ``written`` is the key of another runner that the entry translates.
    """

    key: str
    value: Any
    origin: str
    path: str = ""
    lenient: bool = False
    written: str = ""


class Source(Value):
    """A section of a config file: its absolute path, the name it was called by, the section that is asked for.

    ``lenient``: it was included by a section of uWSGI.
    """

    path: str
    name: str
    section: str = ""
    lenient: bool = False

    def __str__(self) -> str:
        return f"{self.name}:{self.section}" if self.section else self.name


def normal(key: str) -> str:
    """Return the key with dashes; files may write underscores."""
    return key.replace("_", "-")


def formats_requests(entry: Entry) -> bool:
    """Return whether ``log-format`` has uWSGI's meaning, the lines of requests: in its sections, or where atoms stand in it."""
    return entry.key == "log-format" and (entry.lenient or (isinstance(entry.value, str) and "%(" in entry.value))


def placeholders(entry: Entry) -> list[tuple[str, Entry]]:
    """Return the names by which placeholders refer to the entry: its key, or those that set-placeholder sets."""
    if entry.key not in PLACEHOLDER_KEYS:
        return [(entry.key, entry)]
    values = entry.value if isinstance(entry.value, list) else [entry.value]
    if isinstance(entry.value, dict):
        values = [f"{key}={value}" for key, value in entry.value.items()]
    pairs = [str(one).partition("=") for one in values]
    return [(name.strip().replace("_", "-"), entry._replace(value=value.strip())) for name, _, value in pairs]


def split_reference(reference: str) -> tuple[str, str]:
    """Split ``FILE:SECTION``; a colon only counts behind the suffix of a config file or at the very start."""
    head, colon, section = reference.rpartition(":")
    if colon and "/" not in section and (not head or os.path.splitext(head)[1].lower() in FORMATS):
        return head, section
    return reference, ""


def names_config(text: str) -> bool:
    """Return whether a bare argument is a config file and no app, also one in a format that arun does not read."""
    path = split_reference(text)[0]
    ending = os.path.splitext(path)[1].lower()
    return ending in FORMATS or ending in UNREAD_FORMATS


def format_of(path: str, key: str = "config") -> str:
    """Return the format of a config file; ``--toml FILE`` and the like settle it, else the name does."""
    if key in {"ini", "toml", "json", "yaml"}:
        return key.upper()
    return FORMATS.get(os.path.splitext(path)[1].lower(), "INI")


def absolute_reference(text: str, folder: str) -> str | None:
    """Return where a fallback config is: absolute, or ``welcome``; None for nowhere (empty or ``none``)."""
    if text in {"", "none"}:
        return None
    return text if text == WELCOME else os.path.abspath(os.path.join(folder, text))


def config_key(reference: str) -> str:
    """Return the identity of a config: device and inode of its file, and its section."""
    path, section = split_reference(reference)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return reference
    return f"{status.st_dev}:{status.st_ino}:{section}"


def shown(reference: str, directory: str) -> str:
    """Return a config as a user would name it: relative below the directory, the built-in one by its name."""
    if reference == welcome_config():
        return WELCOME
    return os.path.relpath(reference, directory) if reference.startswith(directory.rstrip("/") + "/") else reference


def located(reference: str | None) -> str | None:
    """Return the reference with a path; only the built-in config has a name that is none."""
    return welcome_config() if reference == WELCOME else reference


def welcome_config() -> str:
    """Return the path of the built-in fallback config."""
    return os.path.join(_HOME, "arun_welcome", "welcome.ini")
