"""The options of the HTTP server agree with the declaration that the command line, the help and the files go by."""

from __future__ import annotations

import pytest

from arun.http import options as module
from arun.http.options import HttpOptions
from arun.server.server import ServerOptions
from arun.settings import Settings
from arun.settings.declaration import declared

#: Fields whose value is derived from several settings, or is no setting.
DERIVED = {
    "forwarded_allow_ips": (),
    "limit_connections": 0,
    "timeout_request": 0.0,
    "request_id_header": None,
    "access": None,
    "measures": False,
    "on_error": module.silent,
    "thread_lost": module.silent,
}
PLAIN = [name for name in HttpOptions._fields if name not in DERIVED]


@pytest.mark.parametrize("name", PLAIN)
def test_a_field_has_the_default_and_the_type_of_its_option(name: str) -> None:
    default = declared(Settings)[name.replace("_", "-")].default
    ours = HttpOptions._field_defaults[name]
    assert (ours, type(ours)) == (default, type(default))


@pytest.mark.parametrize("name", [name for name in ServerOptions._fields if name != "parting"])
def test_so_has_a_field_of_the_options_of_a_servers_life(name: str) -> None:
    assert ServerOptions._field_defaults[name] == declared(Settings)[name.replace("_", "-")].default


def test_only_derived_fields_have_defaults_of_their_own() -> None:
    assert {name: HttpOptions._field_defaults[name] for name in DERIVED} == DERIVED
