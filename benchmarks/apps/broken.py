"""An app that is there and cannot be imported, as after a bad deployment; each server finds that out in its own way."""

from __future__ import annotations

raise RuntimeError("this app is broken on purpose")
