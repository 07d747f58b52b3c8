"""arun: an HTTP instance runner that always answers."""

__version__ = "0.1.0"
