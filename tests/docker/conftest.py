"""What the tests of the image share: its files, and the linters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DOCKER = Path(__file__).resolve().parents[2] / "docker"


@pytest.fixture
def docker() -> Path:
    """The folder of the image's files."""
    return DOCKER


@pytest.fixture
def lint() -> Callable[..., str]:
    """Run a linter that is installed beside the interpreter (dependency group lint); return what it has to say."""

    def run(*command: str | Path) -> str:
        tool = Path(sys.executable).parent / command[0]
        assert tool.exists(), f"{tool} is missing: pip install --group lint"
        said = subprocess.run([tool, *command[1:]], check=False, capture_output=True, text=True, timeout=60)
        return said.stdout + said.stderr

    return run
