"""Settings: one declaration; command line, environment and files become one frozen value that knows its origins."""

from __future__ import annotations

from .command_line import scan_chain, scan_fallback, scan_state_dir, secret_flags
from .layers import Layers, read
from .options import BIND_RETRY, DEFAULT
from .settings import Settings
from .validation import SettingsRejected, validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .pages import help_text, reference, schema, show_config

__all__ = (
    "BIND_RETRY",
    "DEFAULT",
    "Layers",
    "Settings",
    "SettingsRejected",
    "help_text",
    "read",
    "reference",
    "scan_chain",
    "scan_fallback",
    "scan_state_dir",
    "schema",
    "secret_flags",
    "show_config",
    "validate",
)


def __getattr__(name: str) -> object:
    """Import the pages when they are asked for (PEP 562): an ordinary start shows none of them."""
    if name in __all__:
        from . import pages

        return getattr(pages, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
