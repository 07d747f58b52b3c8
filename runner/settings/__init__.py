"""Settings: one declaration; command line, environment and files become one frozen value that knows its origins."""

from __future__ import annotations

from .arguments import scan_fallback
from .judgement import SettingsRejected, judge
from .layers import Layers, read
from .options import Settings
from .pages import help_text, reference, schema, show_config

__all__ = (
    "Layers",
    "Settings",
    "SettingsRejected",
    "help_text",
    "judge",
    "read",
    "reference",
    "scan_fallback",
    "schema",
    "show_config",
)
