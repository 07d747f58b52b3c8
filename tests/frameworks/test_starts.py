"""Apps started as their users start them: by a file, by a name, or by nothing at all, in projects as frameworks lay them out."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.frameworks.conftest import APPS, Framework, each

if TYPE_CHECKING:
    from tests.conftest import Starter

FASTAPI = """
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
def hello(): return "fastapi"
"""
FLASK = """
from flask import Flask
def create_app(config=None):
    made = Flask(__name__)
    made.config.from_mapping(config or {})
    made.add_url_rule("/", view_func=lambda: "flask")
    return made
"""
AIOHTTP = """
from aiohttp import web
async def hello(request): return web.Response(text="aiohttp")
async def init_app():
    made = web.Application()
    made.router.add_get("/", hello)
    return made
if __name__ == "__main__":
    web.run_app(init_app())
"""
LITESTAR = """
from litestar import Litestar, get
@get("/")
async def hello() -> str: return "litestar"
def create_app() -> Litestar: return Litestar([hello])
"""
QUART = """
from quart import Quart
app = Quart(__name__)
@app.route("/")
async def hello(): return "quart"
if __name__ == "__main__":
    app.run()
"""
FALCON = """
import falcon
class Hello:
    def on_get(self, req, resp): resp.text = "falcon"
app = application = falcon.App()
app.add_route("/", Hello())
"""
PROJECTS = {
    "fastapi": ("main.py", FASTAPI, '"fastapi"'),
    "flask": ("app.py", FLASK, "flask"),
    "aiohttp": ("main.py", AIOHTTP, "aiohttp"),
    "litestar": ("app.py", LITESTAR, "litestar"),
    "quart": ("app.py", QUART, "quart"),
    "falcon": ("wsgi.py", FALCON, "falcon"),
}


@each()
def test_a_file_is_enough_and_the_app_is_shut_down_with_the_instance(framework: Framework, arun: Starter) -> None:
    instance = arun(f"{framework.name}_app.py", "--bind", "{address}", cwd=APPS, measured=False).ready()
    assert instance.get("/").text == "hello"
    assert instance.stop() == 0
    assert instance.said.count("the shop is closed") == framework.starts
    assert "Traceback" not in instance.said


@pytest.mark.parametrize("name", PROJECTS)
def test_a_folder_with_a_usual_file_needs_no_name(name: str, arun: Starter) -> None:
    file, content, body = PROJECTS[name]
    arun.write(file, content)
    instance = arun("--bind", "{address}", measured=False).ready()
    assert instance.get("/").text == body


@pytest.mark.parametrize("target", ["site_of_ann/asgi.py", "site_of_ann.wsgi"])
def test_a_project_as_django_lays_it_out(target: str, arun: Starter) -> None:
    """The admin's login page: settings, templates, middleware, and a form with its token."""
    command = [sys.executable, "-m", "django", "startproject", "site_of_ann", "."]
    subprocess.run(command, cwd=arun.folder, check=True)
    settings = arun.folder / "site_of_ann" / "settings.py"
    settings.write_text(settings.read_text() + "ALLOWED_HOSTS = ['*']\n")
    instance = arun(target, "--bind", "{address}", measured=False).ready()
    page = instance.get("/admin/login/")
    assert page.status == 200
    assert "csrfmiddlewaretoken" in page.text
    assert "csrftoken" in page.headers["set-cookie"]
    assert instance.stop() == 0
