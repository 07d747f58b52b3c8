"""The compiled build: what its compiler asks of sources, and which wheel is built where."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "runner"
SCRIPT = RUNNER / "compiling.py"
COMPILED = subprocess.run([sys.executable, SCRIPT], check=True, capture_output=True, text=True).stdout.splitlines()
TREES = {path: ast.parse((RUNNER / path).read_text()) for path in COMPILED}
#: The wheel that make built for this environment.
WHEELS = list((Path(sys.prefix) / "wheel").glob("*.whl"))
#: What C and gcc have for themselves behind the "_" or "__" with which an attribute's name begins there.
WORDS_OF_C = {
    "alignof",
    "asm",
    "attribute",
    "auto_type",
    "complex",
    "const",
    "extension",
    "float128",
    "func",
    "imag",
    "inline",
}
WORDS_OF_C |= {"int128", "label", "real", "restrict", "signed", "thread", "typeof", "volatile"}


# ---- what the compiler asks of sources


def test_something_is_compiled() -> None:
    assert {"arun/http/exchange.py", "arun/http/http1/parser.py", "arun/apps/asgi/exchange.py"} <= set(COMPILED)


@pytest.mark.parametrize("path", COMPILED)
def test_a_compiled_class_inherits_from_compiled_ones(path: str) -> None:
    """Of others the compiler knows a few; one from ``io`` cannot be made on CPython 3.13, and of all exceptions it knows one."""
    ours = {node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    known = {"Exception", "Generic", "Protocol", "Value", "asyncio.Protocol", "dict", "object"}
    classes = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.ClassDef)]
    bases = {ast.unparse(base).partition("[")[0] for node in classes for base in node.bases}
    assert bases - ours - known == set()


@pytest.mark.parametrize("path", COMPILED)
def test_no_compiled_class_stands_in_a_condition_a_function_or_a_class(path: str) -> None:
    """The compiler knows classes at the margin only, also those that only a type checker reads."""
    margin = [node for node in TREES[path].body if isinstance(node, ast.ClassDef)]
    assert [node.name for node in ast.walk(TREES[path]) if isinstance(node, ast.ClassDef) and node not in margin] == []


@pytest.mark.parametrize("path", COMPILED)
def test_what_type_checkers_read_has_no_other_branch(path: str) -> None:
    """The compiler takes ``TYPE_CHECKING`` for true: in ``else`` it would raise. Such a thing stands in an interpreted module."""
    assert not [
        node
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "not TYPE_CHECKING"} and node.orelse
    ]


@pytest.mark.parametrize("path", COMPILED)
def test_no_attribute_has_a_name_of_c(path: str) -> None:
    names = {node.attr for node in ast.walk(TREES[path]) if isinstance(node, ast.Attribute)}
    assert {name for name in names if name.startswith("_") and name.strip("_") in WORDS_OF_C} == set()


@pytest.mark.parametrize("path", COMPILED)
def test_no_number_or_text_is_compared_by_identity(path: str) -> None:
    """A compiled number is no object, and becomes another one whenever it has to be one."""
    values = {
        ast.unparse(target)
        for node in TREES[path].body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and (isinstance(node.value, ast.Constant) or ast.unparse(node.value or node).startswith(("float(", "int(")))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    compared = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Compare)]
    told = [node for node in compared if any(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops)]
    assert [ast.unparse(node) for node in told if ast.unparse(node.comparators[0]) in values] == []


@pytest.mark.parametrize("path", COMPILED)
def test_what_bounds_a_slice_is_computed_before(path: str) -> None:
    """The compiler computes it twice where it does not know what is sliced: ``left[file.write(left):]`` writes twice."""
    slices = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Slice)]
    calls = [
        call for part in slices for call in ast.walk(part) if isinstance(call, ast.Call | ast.NamedExpr | ast.Await)
    ]
    assert [ast.unparse(call) for call in calls if not ast.unparse(call).startswith("len(")] == []


@pytest.mark.parametrize("path", COMPILED)
def test_nothing_is_awaited_while_an_exception_is_handled(path: str) -> None:
    """A compiled coroutine does not get its exception back when it goes on: ``raise`` would end the process (SIGSEGV)."""
    handling = [node.body for node in ast.walk(TREES[path]) if isinstance(node, ast.ExceptHandler)]
    handling += [node.finalbody for node in ast.walk(TREES[path]) if isinstance(node, ast.Try)]
    waiting = (ast.Await, ast.Yield, ast.YieldFrom, ast.AsyncWith, ast.AsyncFor)
    inside = [node for body in handling for statement in body for node in ast.walk(statement)]
    assert [ast.unparse(node) for node in inside if isinstance(node, waiting)] == []


def test_compiled_classes_with_interpreted_subclasses_say_so() -> None:
    """Without ``mypyc_attr(allow_interpreted_subclasses=True)``, calls would not reach what a subclass overrides."""
    classes = {node.name: node for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    silent = set()
    for path in sorted(RUNNER.rglob("*.py")):
        if str(path.relative_to(RUNNER)) in COMPILED:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                compiled = classes.get(ast.unparse(base))
                if (
                    compiled is not None
                    and "allow_interpreted_subclasses=True" not in ast.unparse(compiled).partition("class ")[0]
                ):
                    silent.add(compiled.name)
    assert silent == set()


# ---- what is installed


def run(*command: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"ARUN_COMPILE", "CC"}}
    return subprocess.run(
        [sys.executable, *command], check=False, capture_output=True, text=True, cwd=ROOT, env=environment | changes
    )


def test_the_build_is_the_one_that_was_asked_for() -> None:
    told = run("-m", "arun", "--version").stdout
    loaded = run(
        "-c", "import arun.http.exchange as one, arun.http.http1.parser as other; print(one.__file__, other.__file__)"
    )
    is_compiled = [name.endswith(".so") for name in loaded.stdout.split()]
    assert is_compiled in ([True, True], [False, False])
    assert ("(compiled)" if is_compiled[0] else "(pure Python)") in told
    asked = os.environ.get("ARUN_COMPILE")
    assert not asked or is_compiled[0] == (asked == "1")


def test_nothing_of_the_compiler_is_needed_at_run_time() -> None:
    names = [path.removesuffix(".py").replace("/", ".") for path in COMPILED]
    code = f"import sys\nfor name in {names!r}: __import__(name)\nprint(*sys.modules)"
    loaded = run("-c", code)
    assert loaded.returncode == 0, loaded.stderr
    assert {"mypy_extensions", "mypyc", "mypy", "librt"} & set(loaded.stdout.split()) == set()


def test_each_module_knows_its_file() -> None:
    """The successor of a process looks for the files of what is loaded: one that seems gone would keep it from starting."""
    names = [path.removesuffix(".py").replace("/", ".") for path in COMPILED]
    code = f"import os, sys\nfor name in {names!r}: __import__(name)\nprint([n for n, m in sys.modules.items() if n[:4] == 'arun' and not os.path.exists(m.__file__)])"
    assert run("-c", code).stdout == "[]\n"


# ---- which wheel is built


def build(directory: Path, checkout: Path = ROOT, before: str = "", **environment: str) -> tuple[int, str, list[str]]:
    """Build a wheel as pip does; return status, output, and the names in the wheel."""
    code = (
        f"import os, sys\n{before}\nos.chdir(sys.argv[1])\nfrom hatchling import build\nbuild.build_wheel(sys.argv[2])"
    )
    done = run("-c", code, checkout, directory, **environment)
    names = [name for wheel in directory.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()]
    return done.returncode, done.stdout + done.stderr, names


def is_pure(directory: Path, names: list[str]) -> bool:
    (wheel,) = directory.glob("*.whl")
    return wheel.name.endswith("-py3-none-any.whl") and not [name for name in names if name.endswith(".so")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is built."""
    copy = tmp_path / "checkout"
    for part in ("runner", "welcome"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, copy)
    return copy


def test_a_wheel_that_is_asked_to_be_pure_is_silently(tmp_path: Path) -> None:
    status, said, names = build(tmp_path, ARUN_COMPILE="0")
    assert (status, said) == (0, "")
    assert is_pure(tmp_path, names)


NO_HEADERS = "import sysconfig\nsysconfig.get_path = lambda *_: '/nowhere'"
HINDRANCES = {
    "no compiler": (
        {"CC": "/nowhere/cc"},
        "",
        "there is no C compiler, /nowhere/cc (on Debian: apt-get install gcc libc6-dev)",
    ),
    "a broken one": ({"CC": "false"}, "", "the C compiler does not work: false ended with status 1"),
    "no headers": ({}, NO_HEADERS, "Python's headers are not in /nowhere (on Debian: apt-get install python3-dev)"),
}


@pytest.mark.parametrize(("environment", "before", "reason"), HINDRANCES.values(), ids=HINDRANCES)
def test_where_nothing_can_be_compiled_the_wheel_is_pure_and_says_why(
    tmp_path: Path, environment: dict[str, str], before: str, reason: str
) -> None:
    status, said, names = build(tmp_path, ROOT, before, **environment)
    assert (status, said.strip()) == (0, f"this wheel of arun is pure Python, which is slower: {reason}")
    assert is_pure(tmp_path, names)


@pytest.mark.parametrize(("environment", "before", "reason"), HINDRANCES.values(), ids=HINDRANCES)
def test_where_it_must_be_compiled_and_cannot_the_build_fails_in_one_sentence(
    tmp_path: Path, environment: dict[str, str], before: str, reason: str
) -> None:
    status, said, names = build(tmp_path, ROOT, before, ARUN_COMPILE="1", **environment)
    assert (status, names) == (1, [])
    assert said.strip() == f"arun is not built, as it cannot be compiled, and ARUN_COMPILE=1: {reason}"


def test_what_the_compiler_said_when_it_failed_is_in_the_warning(tmp_path: Path, checkout: Path) -> None:
    pytest.importorskip("mypyc")
    (checkout / "runner/arun/http/fields.py").write_text('"""Broken."""\n\nclass Broken(OSError, str):\n    pass\n')
    status, said, names = build(tmp_path, checkout)
    if "C compiler" in said or "headers" in said:
        pytest.skip("nothing can be compiled here")
    assert status == 0
    assert said.startswith("this wheel of arun is pure Python, which is slower: python")
    assert "arun/http/fields.py:3: error: " in said
    assert is_pure(tmp_path, names)


@pytest.mark.parametrize("wanted", ["yes", "true"])
def test_another_word_is_a_mistake(tmp_path: Path, wanted: str) -> None:
    status, said, _ = build(tmp_path, ARUN_COMPILE=wanted)
    assert (status, said.strip()) == (1, f"ARUN_COMPILE is 0, 1, or not set: not {wanted!r}")


def test_an_editable_installation_is_never_compiled(tmp_path: Path) -> None:
    pytest.importorskip("editables")
    code = "import sys\nfrom hatchling import build\nbuild.build_editable(sys.argv[1])"
    assert run("-c", code, tmp_path, ARUN_COMPILE="1", CC="false").returncode == 0
    (wheel,) = tmp_path.glob("*.whl")
    assert "py3-none-any" in wheel.name


def test_a_build_asks_for_a_compiler_of_types_only_if_it_compiles() -> None:
    code = "import json\nfrom hatchling import build\nprint(json.dumps(build.get_requires_for_build_wheel()))"
    asked = {wanted: json.loads(run("-c", code, ARUN_COMPILE=wanted).stdout) for wanted in "01"}
    assert asked["0"] == []
    assert [requirement.split("~")[0].split(">")[0] for requirement in asked["1"]] == ["mypy", "setuptools"]


@pytest.mark.skipif(
    not [wheel for wheel in WHEELS if "none-any" not in wheel.name], reason="make built no compiled wheel"
)
def test_pip_leaves_nothing_of_a_compiled_build_when_it_installs_a_pure_one(tmp_path: Path) -> None:
    build(tmp_path, ARUN_COMPILE="0")
    (pure,), (compiled,) = tmp_path.glob("*.whl"), WHEELS
    venv = tmp_path / "venv"
    assert run("-m", "venv", "--without-pip", venv).returncode == 0
    python, installed = venv / "bin/python", []
    for wheel in (compiled, pure, compiled):
        pip = run(
            "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", wheel
        )
        assert pip.returncode == 0, pip.stderr
        version = subprocess.run([python, "-m", "arun", "--version"], capture_output=True, text=True, check=True).stdout
        installed.append((version.split("(")[1], len(list(venv.rglob("*.so")))))
    assert installed == [("compiled)\n", len(COMPILED) + 1), ("pure Python)\n", 0), ("compiled)\n", len(COMPILED) + 1)]
