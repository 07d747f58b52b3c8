"""Coming from uWSGI, gunicorn and uvicorn: their configs and command lines serve the site that they served there, or say why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Starter
    from tests.process.conftest import FailingStart

WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the shop"]
"""


@pytest.mark.parametrize(
    "lines",
    [
        "http = {address}",
        "http11-socket = {address}",
        "socket = {address}\nprotocol = http",
        "if-file = shop.py\nhttp = {address}\nendif",
        "set-ph = where={address}\nfor = %(where)\nhttp-socket = %(_)\nendfor",
    ],
)
def test_the_address_of_a_config_of_uwsgi_is_the_one_that_is_served(arun: Starter, lines: str) -> None:
    arun.write("shop.py", WSGI)
    arun.write("site.ini", f"[uwsgi]\n{lines}\nmodule = shop\nmaster = true\ndie-on-term = true\nthreads = 2\n")
    instance = arun("site.ini").ready()
    assert instance.get().text == "the shop"
    assert "warning" not in instance.said


def test_lines_of_requests_are_written_as_uwsgi_was_told(arun: Starter) -> None:
    arun.write("shop.py", WSGI)
    arun.write(
        "site.ini",
        "[uwsgi]\nhttp = {address}\nmodule = shop\nlogformat = %(method) %(uri) %(status) %(rsize) %(vsz)\n"
        "req-logger = file:requests.log\n",
    )
    instance = arun("site.ini").ready()
    instance.get("/a?b=1")
    instance.stop()
    assert (arun.folder / "requests.log").read_text() == "GET /a?b=1 200 8 -\n"


def test_a_site_that_arun_cannot_serve_is_no_welcome_page(failing_start: FailingStart) -> None:
    failing_start.arun.write("site.ini", "[uwsgi]\nhttp = {address}\nmount = /x=shop.py\nsocket = :3031\n")
    failing_start("site.ini", fails=["option-unsupported"] * 2)
