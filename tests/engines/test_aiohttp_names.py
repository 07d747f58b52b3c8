"""The names of aiohttp that it does not document: there in the installed release, and reported when they are gone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.streams import EmptyStreamReader
from tests.engines.conftest import aiohttp_server

from arun.apps.aiohttp import names
from arun.apps.aiohttp.body import NoBody
from arun.apps.aiohttp.exchange import AiohttpExchange
from arun.core.failures import StartupFailure
from arun.http.options import HttpOptions

SOURCE = Path(__file__).parents[2] / "runner/arun/apps/aiohttp"


def test_the_installed_aiohttp_has_every_name() -> None:
    names.require()
    assert web.Application(handler_args={"debug": True})._handler_args == {"debug": True}
    app, below = web.Application(), web.Application()
    app.add_subapp("/below", below)
    assert app._subapps == [below]


def test_a_response_without_a_name_that_is_read_of_it_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "RESPONSE", (*names.RESPONSE, "_new"))
    with pytest.raises(StartupFailure) as caught:
        names.require()
    assert caught.value.sentence.endswith("has no aiohttp.web.Response._new")


@pytest.mark.parametrize("name", ["_sendfile", "_sendfile_fallback"])
def test_a_name_that_is_gone_fails_the_start_in_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delattr(web.FileResponse, name)
    with pytest.raises(StartupFailure) as caught:
        aiohttp_server(web.Application(), HttpOptions())
    assert caught.value.cause.identifier == "app-dependency-missing"
    assert caught.value.sentence.endswith(f"has no aiohttp.web.FileResponse.{name}")


def test_a_request_without_a_body_has_the_payload_that_aiohttp_gives_it() -> None:
    theirs, ours = EmptyStreamReader(), NoBody()
    slots = {name for one in type(theirs).__mro__ for name in getattr(one, "__slots__", ())}
    set_there = {
        name: getattr(theirs, name) for name in slots | set(getattr(theirs, "__dict__", ())) if hasattr(theirs, name)
    }
    assert "_read_eof_chunk" in set_there
    assert {name: getattr(ours, name) for name in set_there} == set_there


def test_an_exchange_has_what_a_response_asks_of_its_writer() -> None:
    asked: set[str] = {name for name in vars(AbstractStreamWriter) if not name.startswith("_")}
    asked |= set(AbstractStreamWriter.__abstractmethods__)
    assert {name for name in asked if not hasattr(AiohttpExchange, name)} == set()


def test_no_other_private_name_is_used() -> None:
    used: dict[str, Any] = {
        line.strip(): path.name
        for path in SOURCE.glob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"noqa:[^#]*SLF001", line) and "see names" not in line
    }
    assert used == {}
