"""Apps that work: every way to name one, every kind, and what an instance without one does."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import pytest

ASGI = """
async def {name}(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"{body}"}})
"""
WSGI = """
def {name}(environ, start_response):
    start_response("200 OK", [])
    return [b"{body}"]
"""
AIOHTTP = """
from aiohttp import web
async def hello(request):
    return web.Response(text="{body}")
def {name}():
    made = web.Application()
    made.router.add_get("/", hello)
    return made
"""


def asgi(name: str = "app", body: str = "asgi") -> str:
    return ASGI.format(name=name, body=body)


def wsgi(name: str = "app", body: str = "wsgi") -> str:
    return WSGI.format(name=name, body=body)


def aiohttp(name: str = "make", body: str = "aiohttp") -> str:
    return AIOHTTP.format(name=name, body=body)


class Row(NamedTuple):
    """Arguments, files, and what the app answers."""

    arguments: list[str]
    files: dict[str, str]
    body: str


NAMED = {
    "asgi by file": Row(["shop.py"], {"shop.py": asgi()}, "asgi"),
    "wsgi by file": Row(["shop.py"], {"shop.py": wsgi()}, "wsgi"),
    "aiohttp by file": Row(["shop.py"], {"shop.py": aiohttp() + "app = make()\n"}, "aiohttp"),
    "file in a folder": Row(["a/b/shop.py"], {"a/b/shop.py": "import part\n" + wsgi(), "a/b/part.py": ""}, "wsgi"),
    "file whose name is no module": Row(["my-shop.2.py"], {"my-shop.2.py": wsgi()}, "wsgi"),
    "file with attribute": Row(["shop.py:site"], {"shop.py": wsgi("site") + "app = 1\n"}, "wsgi"),
    "application before nothing": Row(["shop.py"], {"shop.py": wsgi("application")}, "wsgi"),
    "app and application the same": Row(["shop.py"], {"shop.py": wsgi() + "application = app\n"}, "wsgi"),
    "module": Row(["shop"], {"shop.py": asgi()}, "asgi"),
    "module:attribute": Row(["shop.web:site"], {"shop/__init__.py": "", "shop/web.py": asgi("site")}, "asgi"),
    "dotted attribute": Row(
        ["shop:site.app"],
        {"shop.py": wsgi() + "import types\nsite = types.SimpleNamespace(app=app)\ndel app\n"},
        "wsgi",
    ),
    "relative import": Row(
        ["shop/web.py"],
        {"shop/__init__.py": "", "shop/web.py": "from .part import app\n", "shop/part.py": asgi()},
        "asgi",
    ),
    "package": Row(["shop"], {"shop/__init__.py": "from .web import app\n", "shop/web.py": wsgi()}, "wsgi"),
    "namespace package": Row(["shop.web"], {"shop/web.py": wsgi()}, "wsgi"),
    "factory": Row(["shop.py"], {"shop.py": aiohttp("create_app")}, "aiohttp"),
    "factory by name": Row(["shop:produce"], {"shop.py": aiohttp("produce")}, "aiohttp"),
    "factory called": Row(["shop:produce()"], {"shop.py": aiohttp("produce")}, "aiohttp"),
    "async factory": Row(["shop:produce"], {"shop.py": aiohttp() + "async def produce(): return make()\n"}, "aiohttp"),
    "--factory": Row(
        ["shop:produce", "--factory"], {"shop.py": wsgi() + "def produce(*, debug=False): return app\n"}, "wsgi"
    ),
    "--wsgi-file": Row(["--wsgi-file", "hello.py"], {"hello.py": wsgi("application")}, "wsgi"),
    "--wsgi-file --callable": Row(
        ["--wsgi-file", "hello.py", "--callable", "site"], {"hello.py": wsgi("site")}, "wsgi"
    ),
    "--module --callable": Row(["--module", "shop", "--callable", "site"], {"shop.py": wsgi("site")}, "wsgi"),
    "folder": Row(["./site"], {"site/app.py": wsgi()}, "wsgi"),
    "nothing named, app.py": Row([], {"app.py": wsgi(body="found"), "main.py": wsgi()}, "found"),
    "nothing named, main.py": Row([], {"main.py": asgi()}, "asgi"),
    "--app-dir": Row(["shop", "--app-dir", "src"], {"src/shop.py": wsgi()}, "wsgi"),
    "--app-dir, nothing named": Row(["--app-dir", "src"], {"src/app.py": wsgi()}, "wsgi"),
    "--pythonpath": Row(
        ["shop.py", "--pythonpath", "lib"], {"shop.py": "from part import app\n", "lib/part.py": wsgi()}, "wsgi"
    ),
    "--chdir": Row(["shop.py", "--chdir", "src"], {"src/shop.py": wsgi()}, "wsgi"),
    "--env": Row(
        ["shop.py", "--env", "GREETING=hello"],
        {"shop.py": wsgi().replace('b"wsgi"', "os.environ['GREETING'].encode()") + "import os\n"},
        "hello",
    ),
    "--env-file": Row(
        ["shop.py", "--env-file", ".env"],
        {
            "shop.py": "import os\n" + wsgi().replace('b"wsgi"', "os.environ['GREETING'].encode()"),
            ".env": "GREETING='a b'\n",
        },
        "a b",
    ),
    "config file": Row(
        ["site.ini"], {"site.ini": "[arun]\nbind = {address}\nmodule = shop:app\n", "shop.py": wsgi()}, "wsgi"
    ),
}


@pytest.mark.parametrize("row", NAMED.values(), ids=NAMED)
def test_app_is_found_and_served(arun: Any, row: Row) -> None:
    assert served(arun, row) == row.body


KINDS = {
    "function of two": wsgi("make") + "app = make\n",
    "instance, WSGI": "class Site:\n    def __call__(self, environ, start_response):\n        start_response('200 OK', [])\n        return [b'wsgi']\napp = Site()\n",
    "class, WSGI": (
        "class app:\n    def __init__(self, environ, start_response): start_response('200 OK', [])\n"
        "    def __iter__(self): yield b'wsgi'\n"
    ),
    "method, WSGI": wsgi("f").replace("def f(", "def f(self, ") + "app = type('Site', (), {'f': f})().f\n",
    "partial, WSGI": wsgi("f").replace("def f(", "def f(x, ") + "import functools\napp = functools.partial(f, 1)\n",
    "decorated, WSGI": (
        wsgi("f") + "import functools\n@functools.wraps(f)\ndef app(*args, **named): return f(*args, **named)\n"
    ),
    "instance, ASGI": asgi("f")
    + "class Site:\n    async def __call__(self, scope, receive, send): await f(scope, receive, send)\napp = Site()\n",
    "method, ASGI": asgi("f").replace("def f(", "def f(self, ") + "app = type('Site', (), {'f': f})().f\n",
    "partial, ASGI": asgi("f").replace("def f(", "def f(x, ") + "import functools\napp = functools.partial(f, 1)\n",
    "plain function that returns a coroutine, ASGI": asgi("f")
    + "def app(scope, receive, send): return f(scope, receive, send)\n",
    "class that makes apps, ASGI": asgi("f")
    + "class app:\n    def __init__(self): pass\n    def __call__(self, s, r, send): return f(s, r, send)\n",
    "subclass, aiohttp": aiohttp() + "class Site(web.Application):\n    pass\napp = make()\n",
}


@pytest.mark.parametrize("code", KINDS.values(), ids=KINDS)
def test_kind_is_found_by_looking_at_the_object(arun: Any, code: str) -> None:
    kind = next(kind for kind in ("asgi", "wsgi", "aiohttp") if f"b'{kind}'" in code or f'"{kind}"' in code)
    assert served(arun, Row(["shop.py"], {"shop.py": code}, kind)) == kind


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_interface_settles_a_doubt(arun: Any, kind: str) -> None:
    doubtful = {"asgi": asgi("f"), "wsgi": wsgi("f")}[kind] + "def app(*arguments): return f(*arguments)\n"
    assert served(arun, Row(["shop.py", "--interface", kind], {"shop.py": doubtful}, kind)) == kind


def test_interface_that_cannot_be_is_refused(arun: Any) -> None:
    arun.write("shop.py", wsgi())
    instance = arun("shop.py", "--interface", "aiohttp", "--bind", "{address}")
    assert instance.wait() == 1
    assert instance.failures() == ["app-kind-unknown"]


def test_nothing_named_in_an_empty_folder_is_welcomed(arun: Any) -> None:
    """Nothing failed, nothing was configured: the page answers 200."""
    instance = arun("--bind", "{address}").ready()
    answer = instance.get(headers={"Accept": "text/html"})
    assert answer.status == 200
    assert "retry-after" not in answer.headers
    assert instance.failures() == []


def test_nothing_named_where_an_app_is_needed_is_a_failure(arun: Any, assert_welcomes: Any) -> None:
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    assert arun("--need-app", "--bind", "{address}").wait() == 1
    instance = arun("--need-app", "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_welcomes(instance)
    assert instance.failures() == ["app-not-named"]


@pytest.mark.parametrize(
    "code", ["1 / 0\n", "import sys\nsys.exit(1)\n", "app = 42\n"], ids=["raises", "exits", "no app"]
)
def test_no_need_app_starts_without_one_and_answers_500(arun: Any, code: str) -> None:
    """As uWSGI's dynamic mode: the failure is reported, no fallback follows, every request gets a short text."""
    arun.write("shop.py", code)
    instance = arun("shop.py", "--no-need-app", "--bind", "{address}", "--fallback-config", "welcome").ready()
    answer = instance.get("/any/path", method="POST")
    assert answer.status == 500
    assert "No app is loaded here" in answer.text
    assert len(instance.failures()) == 1
    assert instance.fallbacks() == []


#: Names of modules that arun, or what it is made of, imports: an app's folder may hold a file of that name.
TAKEN = ["logging", "ssl", "json", "asyncio", "uvloop", "httptools", "socket", "select", "signal", "traceback", "types"]


@pytest.mark.parametrize("name", TAKEN)
def test_file_named_like_another_module_that_the_app_does_not_import_is_harmless(arun: Any, name: str) -> None:
    """A file that is not imported has no effect."""
    files = {"shop.py": wsgi(), f"{name}.py": "raise SystemError('the wrong module')\n"}
    assert served(arun, Row(["shop.py"], files, "wsgi")) == "wsgi"


@pytest.mark.parametrize("name", ["runner", "welcome", "settings", "server", "http_app"])
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"], ids=["module", "package"])
@pytest.mark.parametrize("found_by", ["folder", "PYTHONPATH"])
def test_a_module_of_the_apps_own_may_have_any_name_but_aruns(arun: Any, name: str, form: str, found_by: str) -> None:
    """The names of arun's own source folders, and of its parts, are free: a Django app may be called welcome."""
    arun.write(form.format(name), "mine = 'its own'\n")
    arun.write("shop.py", f"from {name} import mine\n" + wsgi().replace('b"wsgi"', "mine.encode()"))
    environ = {**os.environ, "PYTHONPATH": "."} if found_by == "PYTHONPATH" else None
    instance = arun("shop:app", "--bind", "{address}", env=environ).ready()
    assert instance.get().text == "its own"


@pytest.mark.parametrize("name", ["runner", "welcome", "arun", "arun_welcome"])
def test_a_file_with_a_name_of_arun_can_be_the_app(arun: Any, name: str) -> None:
    """Named as a file it is not mistaken: it is that file."""
    assert served(arun, Row([f"{name}.py"], {f"{name}.py": wsgi()}, "wsgi")) == "wsgi"


@pytest.mark.parametrize("name", ["arun", "arun_welcome"])
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"], ids=["module", "package"])
def test_a_module_with_a_name_of_arun_is_harmless_while_it_is_not_imported(arun: Any, name: str, form: str) -> None:
    files = {"shop.py": wsgi(), form.format(name): "raise SystemError('the wrong module')\n"}
    assert served(arun, Row(["shop.py"], files, "wsgi")) == "wsgi"


@pytest.mark.parametrize("name", ["arun", "arun_welcome"])
@pytest.mark.parametrize("imported", ["import", "target"])
def test_a_module_with_a_name_of_arun_that_is_imported_is_a_failure_that_names_the_file(
    arun: Any, assert_welcomes: Any, name: str, imported: str
) -> None:
    """Imported, it is arun's: the failure says so, and the fallback has its own."""
    arun.write(f"{name}.py", f"mine = True\n{wsgi()}")
    arun.write("shop.py", f"from {name} import mine\n" + wsgi())
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    target = "shop.py" if imported == "import" else f"{name}:app"
    instance = arun(target, "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_welcomes(instance)
    assert instance.failures() == ["app-import-failed" if imported == "import" else "app-name-collision"]
    assert f"{name}.py" in instance.said.partition("hint:")[2]


@pytest.mark.parametrize("name", ["logging", "ssl"])
def test_apps_own_module_with_a_name_of_pythons_gives_no_wrong_module(arun: Any, name: str) -> None:
    """The app that imports its own logging.py gets it or an error that names the file, never half of each."""
    arun.write(f"{name}.py", "mine = 'mine'\n")
    arun.write("shop.py", f"from {name} import mine\n" + wsgi().replace('b"wsgi"', "mine.encode()"))
    instance = arun("shop.py", "--bind", "{address}")
    assert instance.wait() == 1
    assert instance.failures() == ["app-import-failed"]
    assert f"{name}.py" in instance.said.partition("hint:")[2]


def served(arun: Any, row: Row) -> str:
    for name, content in row.files.items():
        arun.write(name, content)
    listen = [] if row.arguments[:1] == ["site.ini"] else ["--bind", "{address}"]
    instance = arun(*row.arguments, *listen).ready()
    answer = instance.get()
    assert answer.status == 200
    assert instance.failures() == []
    assert instance.stop() == 0
    return str(answer.text)


@pytest.mark.parametrize("kind", ["asgi", "wsgi", "aiohttp"])
def test_root_path_that_an_app_of_this_kind_has_no_use_for_is_reported(arun: Any, kind: str) -> None:
    code = {
        "asgi": "async def app(scope, receive, send): ...\n",
        "wsgi": "def app(environ, start_response): ...\n",
        "aiohttp": "from aiohttp import web\napp = web.Application()\n",
    }
    arun.write("shop.py", code[kind])
    instance = arun("shop.py", "--bind", "{address}", "--root-path", "/api").ready()
    assert ("arun: warning: root-path does nothing for an aiohttp app" in instance.said) is (kind == "aiohttp")


def test_root_path_that_is_none_is_a_failed_start_with_what_was_meant(arun: Any) -> None:
    arun.write("site.ini", "[arun]\nbind = {address}\nroot-path = api\n")
    instance = arun("site.ini")
    assert instance.wait() == 1
    assert (
        "arun: option-invalid: root-path: 'api' is not a path such as /api: it begins with no slash; " in instance.said
    )
    assert "did you mean /api? (from site.ini:3)" in instance.said
