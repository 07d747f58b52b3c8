"""Files and folders as apps: whatever they are called and wherever they lie, and what they may import."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import until

if TYPE_CHECKING:
    from collections.abc import Sequence

APP = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [({body}).encode()]
"""


def app(body: str = "'served'", imports: str = "") -> str:
    return f"{imports}\n{APP.format(body=body)}"


def answer(arun: Any, *arguments: str, files: dict[str, str], **more: Any) -> str:
    for name, content in files.items():
        arun.write(name, content)
    instance = arun(*arguments, "--bind", "{address}", **more).ready()
    said: str = instance.get().text
    assert instance.failures() == []
    assert instance.stop() == 0
    return said


NAMES = [
    "welcomeapp.wsgi",
    "site.txt",
    "django.wsgi.py",
    "hello",
    "my shop.py",
    "json.py",
    "app.conf",
    "1.py",
    "shop:v2.py",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", ["--wsgi-file", "--file", ""])
def test_file_of_any_name_is_that_file(arun: Any, option: str, name: str) -> None:
    assert answer(arun, *([option] if option else []), name, files={name: app("__file__")}).endswith(name)


@pytest.mark.parametrize("text", ["hello:application", "site.txt:application", "sub/site.txt:application"])
def test_attribute_of_a_file_of_any_name(arun: Any, text: str) -> None:
    assert answer(arun, text, files={text.partition(":")[0]: app()}) == "served"


@pytest.mark.parametrize(
    "way", [(), ("--workers", "2"), ("--workers", "2", "--preload")], ids=["one", "two", "preload"]
)
def test_file_of_any_name_is_read_again_at_a_reload(arun: Any, way: Sequence[str]) -> None:
    """Its byte code is not kept, where a module of its name would have its own."""
    arun.write("site.wsgi", app("'one'"))
    arun.write("site.py", "raise SystemError('the wrong file')\n")
    instance = arun("--wsgi-file", "site.wsgi", "--bind", "{address}", "--supervise", *way).ready()
    assert instance.get().text == "one"
    arun.write("site.wsgi", app("'two'"))
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")

    def look() -> None:
        assert instance.get().text == "two"  # a worker that retires takes in who waits

    until(look, AssertionError)
    assert not list(arun.folder.glob("**/*.pyc"))
    assert instance.stop() == 0


def test_what_ends_like_a_config_is_a_config(arun: Any) -> None:
    arun.write("site.txt", app())
    arun.write("site.ini", "[arun]\nbind = {address}\nwsgi-file = site.txt\n")
    instance = arun("site.ini").ready()
    assert instance.get().text == "served"


def test_wsgi_file_is_no_module(arun: Any) -> None:
    arun.write("shop.py", app())
    instance = arun("--wsgi-file", "shop", "--bind", "{address}")
    assert instance.wait() == 1
    assert instance.failures() == ["app-not-found"]
    assert "there is no file" in instance.said
    assert "arun: hint: did you mean shop.py?" in instance.said


def test_module_stands_before_a_program_of_its_name_where_an_attribute_is_named(arun: Any) -> None:
    assert answer(arun, "shop:application", files={"shop": "#!/bin/sh\n", "shop.py": app()}) == "served"


DB = {"shop/__init__.py": "", "shop/main.py": "", "shop/db.py": "name = __name__\n"}
#: How shop/main.py may import its neighbour.
IMPORTS = ["from shop import db", "from . import db", "import db", "from shop.db import name", "from .db import name"]
#: How it is named, and from where.
STARTS = {
    "from above": (["shop/main.py"], ""),
    "from inside": (["main.py"], "shop"),
    "nothing named": ([], "shop"),
    "from elsewhere": (["../shop/main.py"], "other"),
    "--app-dir": (["shop/main.py", "--app-dir", "."], ""),
    "--app-dir, counted from it": (["shop/main.py", "--app-dir", ".."], "other"),
    "--wsgi-file": (["--wsgi-file", "shop/main.py"], ""),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("package", ["package", "plain folder"])
@pytest.mark.parametrize("imports", IMPORTS)
def test_file_imports_its_neighbours_in_every_spelling(
    arun: Any, imports: str, package: str, start: tuple[list[str], str]
) -> None:
    arguments, folder = start
    (arun.folder / "other").mkdir()
    files = {**DB, "shop/main.py": app("db.__name__" if "name" not in imports else "name", imports)}
    if package == "plain folder":
        if " ." in imports:
            pytest.skip("a relative import needs a package")
        del files["shop/__init__.py"]
        if "shop" in imports and folder:
            pytest.skip("only a package tells what folder holds it")
    assert answer(arun, *arguments, files=files, cwd=arun.folder / folder) in {"db", "shop.db"}


@pytest.mark.parametrize("way", [("--workers", "2"), ("--workers", "2", "--preload")], ids=["two", "preload"])
def test_so_it_does_in_workers(arun: Any, way: Sequence[str]) -> None:
    files = {**DB, "shop/main.py": app("db.__name__", "import db\nfrom . import db as other")}
    assert answer(arun, "shop/main.py", *way, files=files) == "db"


@pytest.mark.parametrize(
    "way", [(), ("--workers", "2"), ("--workers", "2", "--preload")], ids=["one", "two", "preload"]
)
def test_a_request_finds_what_the_import_left(arun: Any, way: Sequence[str]) -> None:
    """Import path, environment and directory, which a forked worker of a preloaded app keeps too."""
    imports = "import os\nos.environ['MINE'] = 'kept'\nos.chdir('sub')"
    body = "__import__('late').name + os.environ['MINE'] + os.path.basename(os.getcwd())"
    files = {"shop/main.py": app(body, imports), "shop/late.py": "name = 'late'\n", "sub/x": ""}
    assert answer(arun, "shop/main.py", *way, files=files) == "latekeptsub"


def test_order_of_the_import_path(arun: Any) -> None:
    """The folder of the file, --app-dir, --pythonpath; of a file in a package --app-dir, the package's root, its own last."""
    path = "chr(10).join(__import__('sys').path)"
    said = answer(
        arun, "a/site.py", "--app-dir", "b", "--pythonpath", "c", files={"a/site.py": app(path), "b/x": "", "c/x": ""}
    ).splitlines()
    assert said[:3] == [str(arun.folder / name) for name in "abc"]
    files = {"root/shop/__init__.py": "", "root/shop/site.py": app(path)}
    said = answer(arun, "root/shop/site.py", "--app-dir", "b", "--pythonpath", "c", files=files).splitlines()
    assert said[:3] == [str(arun.folder / name) for name in ("b", "root", "c")]
    assert said[-1] == str(arun.folder / "root/shop")


@pytest.mark.parametrize("name", ["email", "queue", "secrets", "calendar"])
def test_module_of_a_package_hides_none_of_pythons(arun: Any, name: str) -> None:
    files = {**DB, f"shop/{name}.py": "raise SystemError\n", "shop/main.py": app("'served'", f"import {name}")}
    assert answer(arun, "shop/main.py", files=files) == "served"


def test_file_beside_its_package_is_the_file(arun: Any) -> None:
    """And the package is still its own: app.py may import app.models."""
    files = {
        "app/__init__.py": "",
        "app/models.py": "name = 'models'\n",
        "app.py": app("name", "from app.models import name"),
    }
    assert answer(arun, "app.py", files=files) == "models"


def test_file_in_a_package_is_loaded_once_however_it_is_imported(arun: Any) -> None:
    """``from main import x`` in another module means the app that is served."""
    main = "seen = []\nimport routes\n" + app("str(seen)")
    files = {
        "shop/__init__.py": "",
        "shop/main.py": main,
        "shop/routes.py": "from main import seen\nseen.append('routes')\n",
    }
    assert answer(arun, "shop/main.py", files=files) == "['routes']"


@pytest.mark.parametrize("folder", ["my-shop", "shop-1.2", "json", "arun"])
@pytest.mark.parametrize("imports", ["from . import db", "import db"])
def test_package_of_an_unusual_name(arun: Any, folder: str, imports: str) -> None:
    files = {f"{folder}/__init__.py": "", f"{folder}/main.py": app("'served'", imports), f"{folder}/db.py": ""}
    assert answer(arun, f"{folder}/main.py", files=files) == "served"


@pytest.mark.parametrize("imports", ["from shop import db", "from . import db", "import db"])
@pytest.mark.parametrize("what", ["package", "file", "file in a package"])
def test_links_are_followed(arun: Any, what: str, imports: str) -> None:
    """A linked package has the name of its link; a linked file has the neighbours of what it leads to."""
    real = "lib/shop-1.2" if what == "package" else "lib/shop"
    for name in DB:
        arun.write(name.replace("shop", real, 1), app("'served'", imports) if "main" in name else "")
    (arun.folder / "site").mkdir()
    link, target = {
        "package": ("site/shop", "../lib/shop-1.2"),
        "file": ("site/main.py", "../lib/shop/main.py"),
        "file in a package": ("lib/shop/current.py", "main.py"),
    }[what]
    (arun.folder / link).symlink_to(target)
    named = f"{link}/main.py" if what == "package" else link
    assert answer(arun, named, files={}) == "served"


def test_installed_module_stands_before_a_plain_folder_of_its_name(arun: Any) -> None:
    """A folder of notes, or of a checkout, is no package."""
    files = {"lib/httpbin/__init__.py": app("'installed'"), "httpbin/app.py": app("'folder'"), "httpbin/notes.txt": ""}
    assert answer(arun, "httpbin:application", "--pythonpath", "lib", files=files) == "installed"
    assert answer(arun, "httpbin", "--pythonpath", "lib", files={}) == "installed"
    assert answer(arun, "./httpbin", "--pythonpath", "lib", files={}) == "folder"


@pytest.mark.parametrize("folder", ["httpbin", "site", "code"])
def test_plain_folder_is_the_app_where_nothing_installed_has_its_name(arun: Any, folder: str) -> None:
    """Modules of Python's own library are not taken for an app."""
    files = {f"{folder}/app.py": app("'folder'")}
    assert answer(arun, folder, files=files) == "folder"
    assert answer(arun, f"{folder}:application", files={}) == "folder"


def test_module_beside_a_plain_folder_of_its_name_is_the_app(arun: Any) -> None:
    assert answer(arun, "shop", files={"shop.py": app("'module'"), "shop/app.py": app("'folder'")}) == "module"


#: What is started, the files, and the hint.
HINTS = {
    "module of the package": (
        "shop.py",
        {"shop.py": "import part.gone\n", "part/__init__.py": ""},
        "has no module gone",
    ),
    "package that is a module": (
        "shop.py",
        {"shop.py": "import part.gone\n", "part.py": ""},
        "is a module and no package",
    ),
    "in a folder below": (
        "shop.py",
        {"shop.py": "import part\n", "src/part.py": ""},
        "name that folder with --pythonpath",
    ),
    "package in a folder below": ("shop.py", {"shop.py": "import part\n", "src/part/__init__.py": ""}, "--pythonpath"),
    "other ending": ("shop.py", {"shop.py": "import part\n", "part.wsgi": ""}, "does not end in .py"),
    "named as a module": ("welcomeapp", {"welcomeapp.wsgi": app()}, "does not end in .py"),
    "named as a module below": ("part:app", {"src/part.py": app()}, "lies in"),
}


@pytest.mark.parametrize(("named", "files", "words"), HINTS.values(), ids=HINTS)
def test_no_hint_installs_what_lies_in_the_folder(arun: Any, named: str, files: dict[str, str], words: str) -> None:
    for name, content in files.items():
        arun.write(name, content)
    instance = arun(named, "--bind", "{address}")
    assert instance.wait() == 1
    assert words in instance.said.partition("arun: hint: ")[2]
    assert "pip install" not in instance.said
    assert "not installed" not in instance.said
