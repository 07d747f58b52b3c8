"""What the tests of the settings share: a folder of config files, and one call from there to settings or problems."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from arun.settings import SettingsRejected, read, validate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from arun.core.failures import StartupFailure
    from arun.settings import Layers, Settings


class Folder:
    """A starting directory with config files in it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def write(self, name: str, text: str | bytes) -> str:
        """Write a file and return its absolute path."""
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(text if isinstance(text, bytes) else text.encode())
        return path

    def layers(self, *argv: str, environ: Mapping[str, str] | None = None, factory_reset: bool = False) -> Layers:
        """Read without validating."""
        return read(argv, environ or {}, directory=self.path, factory_reset=factory_reset)

    def settings(self, *argv: str, environ: Mapping[str, str] | None = None, factory_reset: bool = False) -> Settings:
        """Read and validate; every problem is an error of the test."""
        return validate(self.layers(*argv, environ=environ, factory_reset=factory_reset))

    def rejected(self, *argv: str, environ: Mapping[str, str] | None = None) -> SettingsRejected:
        """Read and validate what must not be taken."""
        with pytest.raises(SettingsRejected) as caught:
            self.settings(*argv, environ=environ)
        return caught.value

    def problem(self, *argv: str, environ: Mapping[str, str] | None = None) -> StartupFailure:
        """Return the only problem there is."""
        problems = self.rejected(*argv, environ=environ).problems
        assert len(problems) == 1, [(one.cause.identifier, one.sentence) for one in problems]
        return problems[0]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return an empty starting directory, resolved as uWSGI resolves the folder of a config."""
    return Folder(tmp_path.resolve())
