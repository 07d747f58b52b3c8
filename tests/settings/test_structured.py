"""toml, json and yaml: the same keys with native values, and each mistake with file and line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from arun.core.addresses import Tcp

if TYPE_CHECKING:
    from tests.settings.conftest import Folder

SAME = {
    "site.toml": 'app = "shop:app"\nbind = [":1", ":2"]\nneed_app = true\nthreads = 3\nchmod-socket = "660"\n'
    'start-timeout = 1.5\n[env]\nA = "b"\nC = true\n',
    "site.json": '{"app": "shop:app", "bind": [":1", ":2"], "need_app": true, "threads": 3, "chmod-socket": 660,\n'
    '"start-timeout": 1.5, "env": {"A": "b", "C": true}}',
    "site.yaml": "app: shop:app\nbind: [':1', ':2']\nneed_app: yes\nthreads: 3\nchmod-socket: 0660\n"
    "start-timeout: 1.5\nenv:\n  A: b\n  C: true\n",
}


#: Seven lists of ten aliases each: ten million values in a few lines.
BOMB = "l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 8))


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("table", ["", "arun"])
def test_every_format_says_the_same(folder: Folder, name: str, table: str) -> None:
    text = SAME[name]
    if table and name == "site.toml":
        text = "[arun]\n" + text.replace("[env]", "[arun.env]")
    elif table:
        indented = "\n".join("  " + line for line in text.splitlines())
        text = f'{{"arun": {text}}}' if name == "site.json" else f"other: 1\narun:\n{indented}\n"
    folder.write(name, text)
    settings = folder.settings(name)
    assert settings.app == "shop:app"
    assert settings.bind == (Tcp("0.0.0.0", 1), Tcp("0.0.0.0", 2))
    assert (settings.need_app, settings.threads, settings.chmod_socket) == (True, 3, 0o660)
    assert (settings.start_timeout, settings.env) == (1.5, (("A", "b"), ("C", "true")))
    assert folder.layers(name).configs[0].format == name.rpartition(".")[2].upper()


def test_pyproject_is_read_from_its_tool_table_with_the_line(folder: Folder) -> None:
    folder.write("pyproject.toml", "[tool.other]\nport = 1\n\n[tool.arun]\nthreads = 2\nport = 3\n")
    settings = folder.settings("pyproject.toml")
    assert (settings.port, settings.origin("port")) == (3, "pyproject.toml:6")


def test_pyproject_without_the_table_says_so(folder: Folder) -> None:
    folder.write("pyproject.toml", "[project]\nname = 'x'\n")
    problem = folder.problem("pyproject.toml")
    assert problem.cause.identifier == "config-section-missing"
    assert "tool.arun" in problem.sentence


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "[web]\nport = 1"), ("a.json", '{"web": {"port": 1}}'), ("a.yaml", "web: {port: 1}")]
)
def test_another_table_is_asked_for_by_name(folder: Folder, name: str, text: str) -> None:
    folder.write(name, text)
    assert folder.settings(f"{name}:web").port == 1
    assert folder.rejected(f"{name}:nope").problems[0].cause.identifier == "config-section-missing"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.toml", "port = 1\nbind = [\n", 3),
        ("a.toml", "port = 1\nthis is no line\n", 2),
        ("a.toml", "port = 1\nport = 2\n", 2),
        ("a.json", '{\n"port": 1,\n"port" 2}', 3),
        ("a.json", "[1]", None),
        ("a.json", '{"port": 1, "port": 2}', None),
        ("a.yaml", "port: 1\n bind: 2\n", 2),
        ("a.yaml", "port: 1\nport: 2\n", 2),
        ("a.yaml", "- 1\n", None),
        ("a.yaml", "port: 1\nbind: [\n", 3),
        ("a.yaml", "port: 1\n---\nport: 2\n", 2),
        ("a.json", "[" * 100_000, None),
        ("a.toml", "x = " + "[" * 100_000, None),
        ("a.yaml", "[" * 10_000, None),
        ("a.yaml", "port: \x01\n", None),
        ("a.yaml", BOMB, None),
    ],
)
def test_a_malformed_file_is_told_with_its_line(folder: Folder, name: str, text: str, line: int | None) -> None:
    folder.write(name, text)
    problem = folder.problem(name)
    assert problem.cause.identifier == "config-malformed"
    assert problem.origin == (f"{name}:{line}" if line else name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "app = 'x'\nport = true\n"),
        ("a.toml", "app = 'x'\nport = 1.5\n"),
        ("a.toml", "app = 'x'\nport = [1]\n"),
        ("a.toml", "app = 'x'\nport = 99999\n"),
        ("a.toml", "app = 'x'\nchmod-socket = 660\n"),
        ("a.toml", "app = 'x'\nneed-app = 'banana'\n"),
        ("a.toml", "app = 'x'\nbind = [[':1']]\n"),
        ("a.toml", "app = 'x'\nchdir = {a = 1}\n"),
        ("a.json", '{"app": "x",\n"port": "abc"}'),
        ("a.json", '{"app": "x",\n"port": null}'),
        ("a.yaml", "app: x\nport: abc\n"),
        ("a.yaml", "app: x\nport: no\n"),
        ("a.yaml", "app: x\nport:\n"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_with_its_line(folder: Folder, name: str, text: str) -> None:
    folder.write(name, text)
    problem = folder.problem(name)
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", f"{name}:2")


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "bakclog = 1"), ("a.json", '{"bakclog": 1}'), ("a.yaml", "bakclog: 1")]
)
def test_an_unknown_key_names_the_one_that_was_meant(folder: Folder, name: str, text: str) -> None:
    folder.write(name, text)
    problem = folder.problem(name)
    assert (problem.cause.identifier, problem.hint) == ("option-unknown", "did you mean backlog?")


def test_a_table_of_uwsgi_is_read_and_its_own_keys_are_one_warning(folder: Folder) -> None:
    folder.write("a.yaml", "uwsgi:\n  cheaper: 2\n  http-socket: :80\n")
    assert folder.settings("a.yaml").bind == (Tcp("0.0.0.0", 80),)
    assert "cheaper" in folder.layers("a.yaml").warnings[0]


def test_yaml_without_its_reader_names_the_extra_and_keeps_the_fallback(folder: Folder) -> None:
    folder.write("a.yaml", "fallback-config: welcome\n")
    program = (
        "import sys; sys.modules['yaml'] = None\n"
        "from arun.settings import read\n"
        f"layers = read(['a.yaml'], {{}}, directory={folder.path!r}, factory_reset=False)\n"
        "print(layers.problems[0].cause.identifier, layers.fallback)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "config-format-unavailable welcome\n"
