"""An app that cannot be loaded: what is reported, what the status is, and what responds instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SAFE = "[arun]\nbind = {address}\n"


class Row(NamedTuple):
    """One way to break an app: files, what is named on the command line, the identifier, and words of its line."""

    named: str
    identifier: str
    words: str
    files: dict[str, str]
    detail: str = ""
    hint: str = ""


ROWS = {
    "file missing": Row("gone.py", "app-not-found", "gone.py", {}),
    "module missing": Row("gone:app", "app-not-found", "'gone'", {}),
    "command misspelt": Row("statu", "app-not-found", "'statu'", {}, hint="did you mean the command arun status?"),
    "submodule missing": Row("shop.gone:app", "app-not-found", "'shop.gone'", {"shop/__init__.py": ""}),
    "folder without an app": Row("./empty", "app-not-found", "empty", {"empty/notes.txt": ""}),
    "dependency missing": Row("shop.py", "app-dependency-missing", "'nowhere'", {"shop.py": "import nowhere\n"}),
    "dependency of a module missing": Row(
        "shop", "app-dependency-missing", "'nowhere'", {"shop.py": "import nowhere\n"}
    ),
    "syntax error": Row("shop.py", "app-syntax-error", "shop.py:2", {"shop.py": "x = 1\ndef app(:\n"}, "def app(:"),
    "syntax error in a dependency": Row(
        "shop.py", "app-syntax-error", "part.py:1", {"shop.py": "import part\n", "part.py": "1 +\n"}, "1 +"
    ),
    "source that is no UTF-8 text": Row("shop.py", "app-syntax-error", "shop.py", {"shop.py": "x = '\udcff'\n"}),
    "source with a null byte": Row(
        "shop.py", "app-syntax-error", "importing shop.py: source", {"shop.py": "x = '\0'\n"}
    ),
    "source of a dependency with a null byte": Row(
        "shop.py",
        "app-syntax-error",
        "source code",
        {"shop.py": "import part\n", "part.py": "x = '\0'\n"},
        "import part",
    ),
    "file that is no Python": Row(
        "notes.txt",
        "app-syntax-error",
        "notes.txt:1: ",
        {"notes.txt": "ask him\n"},
        hint="a config is .ini, .toml, .json",
    ),
    "factory with arguments": Row(
        "shop:create_app('a:b')",
        "app-attribute-missing",
        "shop:create_app('a:b'): arun calls a factory without arguments, as create_app()",
        {"shop.py": "def create_app(name): ...\n"},
        hint="write app = create_app('a:b') into a module",
    ),
    "factory of a file with arguments": Row(
        "shop.py:make_app(1)", "app-attribute-missing", "as make_app()", {"shop.py": "def make_app(name): ...\n"}
    ),
    "exception": Row("shop.py", "app-import-failed", "KeyError: 'DSN'", {"shop.py": "{}['DSN']\n"}, "{}['DSN']"),
    "exception of its own class": Row(
        "shop:app", "app-import-failed", "Odd", {"shop.py": "class Odd(BaseException): ...\nraise Odd\n"}, "raise Odd"
    ),
    "exception that cannot be shown": Row(
        "shop.py",
        "app-import-failed",
        "shop.py",
        {"shop.py": "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd\n"},
    ),
    "recursion without end": Row(
        "shop.py", "app-import-failed", "RecursionError", {"shop.py": "def f(): f()\nf()\n"}, "in f"
    ),
    "attribute missing": Row(
        "shop:aplication", "app-attribute-missing", "'aplication'", {"shop.py": "def application(e, s): ...\n"}
    ),
    "no usual name": Row("shop.py", "app-attribute-missing", "none of app", {"shop.py": "x = 1\n"}),
    "part of a dotted attribute missing": Row(
        "shop:site.app", "app-attribute-missing", "'site.app'", {"shop.py": "class site: ...\n"}
    ),
    "number": Row("shop:app", "app-kind-unknown", "an int", {"shop.py": "app = 42\n"}),
    "callable of four in a file": Row(
        "shop.py", "app-kind-unknown", "shop.py:app is a function", {"shop.py": "def app(a, b, c, d): ...\n"}
    ),
    "factory that needs an argument": Row(
        "shop.py",
        "app-kind-unknown",
        "shop.py:create_app is a function that needs arguments",
        {"shop.py": "def create_app(name): ...\n"},
    ),
    "module of Python's own missing": Row(
        "shop.py",
        "app-dependency-missing",
        "'tkinter.nowhere' of Python's own library",
        {"shop.py": "raise ModuleNotFoundError(name='tkinter.nowhere')\n"},
    ),
    "callable of four": Row("shop:app", "app-kind-unknown", "a function", {"shop.py": "def app(a, b, c, d): ...\n"}),
    "ASGI 2 class": Row(
        "shop:app", "app-kind-unknown", "a type", {"shop.py": "class app:\n    def __init__(self, scope): ...\n"}
    ),
    "app and application differ": Row(
        "shop.py",
        "app-ambiguous",
        "app and application",
        {"shop.py": "def app(e, s): ...\ndef application(e, s): ...\n"},
    ),
    "callable of anything": Row("shop:app", "app-ambiguous", "ASGI or as WSGI", {"shop.py": "def app(*args): ...\n"}),
    "factory raising": Row(
        "shop:make_app",
        "app-import-failed",
        "ValueError: no",
        {"shop.py": "def make_app():\n    raise ValueError('no')\n"},
    ),
    "async factory raising": Row(
        "shop:make_app",
        "app-import-failed",
        "ValueError: no",
        {"shop.py": "async def make_app():\n    raise ValueError('no')\n"},
    ),
    "factory making nothing": Row(
        "shop:make_app", "app-kind-unknown", "NoneType", {"shop.py": "def make_app(): ...\n"}
    ),
    "factory exiting": Row(
        "shop:make_app", "app-exited", "sys.exit(3)", {"shop.py": "import sys\ndef make_app():\n    sys.exit(3)\n"}
    ),
    "sys.exit(0)": Row("shop.py", "app-exited", "sys.exit(0)", {"shop.py": "import sys\nsys.exit(0)\n"}),
    "sys.exit(1)": Row("shop.py", "app-exited", "sys.exit(1)", {"shop.py": "import sys\nsys.exit(1)\n"}),
    "sys.exit(text)": Row("shop.py", "app-exited", "sys.exit('no')", {"shop.py": "import sys\nsys.exit('no')\n"}),
    "KeyboardInterrupt": Row("shop.py", "app-exited", "KeyboardInterrupt", {"shop.py": "raise KeyboardInterrupt\n"}),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_app_that_cannot_be_loaded(arun: Any, assert_welcomes: Any, row: Row) -> None:
    """It is named, ends with status 1, and with a fallback is replaced by the page, in the same process."""
    write(arun, row.files)
    alone = arun(row.named, "--bind", "{address}")
    assert alone.wait() == 1
    assert_told(alone, row)
    assert alone.fallbacks() == []
    arun.write("safe.ini", SAFE)
    saved = arun(row.named, "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_welcomes(saved)
    assert_told(saved, row)


def write(arun: Any, files: dict[str, str]) -> None:
    for name, content in files.items():
        arun.write(name, "").write_bytes(content.encode(errors="surrogateescape"))


def assert_told(instance: Any, row: Row) -> None:
    assert instance.failures() == [row.identifier]
    assert instance.hints() == 1
    assert instance.own_frames() == []
    line = next(line for line in instance.said.splitlines() if line.startswith("arun: " + row.identifier))
    assert row.words in line
    assert row.detail in instance.said.partition(line)[0]
    assert row.hint in instance.said.partition(f"{line}\narun: hint: ")[2].partition("\n")[0]


def test_misspelt_attribute_is_reported_with_the_nearest_name(arun: Any) -> None:
    arun.write("shop.py", "def application(environ, start_response): ...\n")
    instance = arun("shop:aplication", "--bind", "{address}")
    instance.wait()
    assert "arun: hint: did you mean 'application'?" in instance.said


def test_app_of_an_unusual_name_is_reported(arun: Any) -> None:
    arun.write("shop.py", "from flask import Flask, request\nserver = Flask(__name__)\n")
    instance = arun("shop.py", "--bind", "{address}")
    instance.wait()
    assert "arun: hint: it has an app of another name: shop.py:server" in instance.said


def test_traceback_is_the_users_own(arun: Any) -> None:
    """Every frame of the app is shown with its line, in order, and no other."""
    arun.write("shop.py", "import importlib\nimportlib.import_module('part')\n")
    arun.write("part.py", "def connect():\n    raise OSError('no database')\nconnect()\n")
    instance = arun("shop.py", "--bind", "{address}")
    instance.wait()
    shown = re.findall(r'^  File "(.*)", line (\d+), in (.*)$', instance.said, re.MULTILINE)
    files = [(str(arun.folder / name), line, place) for name, line, place in FRAMES]
    assert shown == files


FRAMES = [("shop.py", "2", "<module>"), ("part.py", "3", "<module>"), ("part.py", "2", "connect")]

#: What a broken import can leave behind, and the words that show that it did.
LEFTOVERS = {
    "thread that never ends": "import threading, time\nthreading.Thread(target=lambda: time.sleep(1e6)).start()\n",
    "busy thread": "import threading\ndef f():\n    while True: pass\nthreading.Thread(target=f).start()\n",
    "stuck pool": (
        "import concurrent.futures, time\n"
        "pool = concurrent.futures.ThreadPoolExecutor(2)\npool.submit(time.sleep, 1e6)\n"
    ),
    "exit hook that hangs": "import atexit, time\natexit.register(time.sleep, 1e6)\n",
    "exit hook that raises": "import atexit\natexit.register(lambda: 1 / 0)\n",
    "exit hook that exits": "import atexit, sys\natexit.register(sys.exit, 0)\n",
    "exit hook that forks": "import atexit, os\natexit.register(os.fork)\n",
    "exit hooks cleared": "import atexit\natexit._clear()\n",
    "standard output replaced": "import sys\nclass Odd:\n    def flush(self): 1 / 0\nsys.stdout = Odd()\n",
    "signals ignored": (
        "import signal\nfor n in range(1, 32):\n"
        "    if n not in (signal.SIGKILL, signal.SIGSTOP): signal.signal(n, signal.SIG_IGN)\n"
    ),
    "timer": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.4)\n",
    "alarm hook": "import signal\nsignal.signal(signal.SIGALRM, lambda *_: 1 / 0)\nsignal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n",
    "directory left": "import os\nos.chdir('/')\n",
    "directory gone": "import os, tempfile\np = tempfile.mkdtemp()\nos.chdir(p)\nos.rmdir(p)\n",
    "descriptors": (
        "import os, socket\nkept = [open('/dev/zero') for _ in range(40)]\n"
        "for n in range(100, 140): os.dup2(kept[0].fileno(), n, inheritable=True)\ns = socket.socket()\ns.listen()\n"
    ),
    "no descriptor left": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\nkept = []\n"
        "try:\n    while True: kept.append(open('/dev/zero'))\nexcept OSError: pass\n"
    ),
    "environment emptied": "import os\nos.environ.clear()\n",
    "interpreter switched off": "import os\nos.environ['PYTHONHOME'] = '/nowhere'\nos.environ['PYTHONPATH'] = '/nowhere'\n",
    "import path emptied": "import sys\nsys.path.clear()\n",
    "children": (
        "import subprocess\n"
        "kept = [subprocess.Popen(['sleep', '1000']) for _ in range(3)] + [subprocess.Popen(['true'])]\n"
    ),
    "child that is deaf": (
        "import subprocess\n"
        "child = subprocess.Popen(['sh', '-c', \"trap '' TERM; echo deaf; exec sleep 1000\"], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
    ),
    "process pool": (
        "import concurrent.futures\npool = concurrent.futures.ProcessPoolExecutor(2)\npool.submit(abs, 1).result()\n"
    ),
    "running loop": "import asyncio\nloop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\nloop.run_in_executor(None, input)\n",
}


@pytest.mark.parametrize("left", LEFTOVERS.values(), ids=LEFTOVERS)
def test_nothing_that_a_broken_import_leaves_behind_holds_the_fallback_back(
    arun: Any, assert_welcomes: Any, left: str
) -> None:
    """The successor has no more descriptors and children than a healthy start, obeys SIGTERM, and knows no zombie."""
    arun.write("shop.py", left + "raise RuntimeError('broken')\n")
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_welcomes(instance)
    assert instance.failures() == ["app-import-failed"]
    assert instance.stop() == 0


@pytest.mark.parametrize("left", ["thread that never ends", "exit hook that hangs", "exit hook that exits"])
def test_nothing_that_a_broken_import_leaves_behind_holds_the_end_back(arun: Any, left: str) -> None:
    arun.write("shop.py", LEFTOVERS[left] + "raise RuntimeError('broken')\n")
    assert arun("shop.py", "--bind", "{address}").wait() == 1


def test_children_of_a_broken_import_are_gone(arun: Any) -> None:
    """They are ended and reaped, not left to others: their pids are free again."""
    arun.write("shop.py", CHILDREN)
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    pids = (arun.folder / "pids").read_text().split()
    assert len(pids) == 3
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert instance.fallbacks() == ["safe.ini"]


CHILDREN = """
import subprocess
children = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
open("pids", "w").write(" ".join(str(child.pid) for child in children))
raise RuntimeError
"""

#: How a child that the app forks may end; the parent then goes on to break.
ENDS = ["sys.exit(1)", "sys.exit()", "raise RuntimeError('child')", "raise KeyboardInterrupt", "os.kill(0, 0)"]


@pytest.mark.parametrize("end", ENDS)
def test_forked_child_of_a_broken_import_does_not_fall_back_too(arun: Any, assert_welcomes: Any, end: str) -> None:
    arun.write(
        "shop.py",
        f"import os, sys\npid = os.fork()\nif not pid:\n    {end}\n    os._exit(0)\nos.waitpid(pid, 0)\n1 / 0\n",
    )
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_welcomes(instance)
    assert instance.failures() == ["app-import-failed"]


def test_forked_child_keeps_its_own_status(arun: Any) -> None:
    """The status that a child of the app exits with is the one that its parent sees."""
    arun.write(
        "shop.py",
        "import os, sys\npid = os.fork()\nif not pid: sys.exit(7)\nraise ValueError(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    )
    instance = arun("shop.py", "--bind", "{address}")
    instance.wait()
    assert "ValueError: 7" in instance.said


LEAVES_FEW = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
held = []
try:
    while True: held.append(os.open("/dev/null", 0))
except OSError: pass
for _ in range({free}): os.close(held.pop())
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"fine"]
"""


@pytest.mark.parametrize("loop", ["auto", "uvloop", "asyncio"])
@pytest.mark.parametrize("free", [1, 2, 3, 5])
def test_an_app_that_leaves_few_descriptors_is_answered_by_itself_or_by_the_page(
    arun: Any, free: int, loop: str
) -> None:
    """Uvloop ends the process with SIGABRT where it gets none for itself."""
    arun.write("shop.py", LEAVES_FEW.format(free=free))
    options = ("--bind", "{address}", "--loop", loop, "--fallback-config", "welcome")
    assert arun("shop.py", *options).ready().get().status in {200, 503}


def test_an_aiohttp_without_a_name_that_arun_needs_is_a_failure_of_one_sentence(arun: Any) -> None:
    """As another release of it may be: no traceback of arun's, and the fallback serves."""
    arun.write("shop.py", "from aiohttp import web\ndel web.FileResponse._sendfile_fallback\napp = web.Application()\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "welcome").ready()
    assert instance.get().status == 503
    assert instance.failures() == ["app-dependency-missing"]
    assert "has no aiohttp.web.FileResponse._sendfile_fallback" in instance.said
    assert "Traceback" not in instance.said
