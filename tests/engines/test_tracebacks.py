"""Tracebacks show the app's frames, not ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

from arun.system.tracebacks import app_traceback


def test_import_machinery_is_left_out() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        __import__("importlib").import_module("no_such_module_anywhere")
    told = app_traceback(caught.value)
    assert "<frozen importlib" not in told
    assert told.endswith("ModuleNotFoundError: No module named 'no_such_module_anywhere'\n")
    assert __file__ in told


def test_causes_are_shown_too() -> None:
    def fail() -> None:
        try:
            raise KeyError("first")  # noqa: TRY301 - the tests make it
        except KeyError as exc:
            raise ValueError("second") from exc

    with pytest.raises(ValueError, match="second") as caught:
        fail()
    told = app_traceback(caught.value)
    assert told.index("KeyError: 'first'") < told.index("direct cause") < told.index("ValueError: second")


@pytest.mark.parametrize("engine", ["asgi", "wsgi"])
def test_h1_engine_imports_neither_aiohttp_nor_what_a_start_does_not_need(engine: str) -> None:
    """The start of an ASGI or WSGI instance must not pay for what only others need."""
    unwanted = "aiohttp typing re logging traceback ipaddress urllib http email json dataclasses_json pathlib"
    code = (
        "import sys, asyncio; before = set(sys.modules)\n"
        f"import arun.apps.{engine}.application\n"
        f"print(*sorted(set({unwanted.split()!r}) & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
