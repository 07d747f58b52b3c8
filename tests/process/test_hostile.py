"""What an enemy tried: faults before there is a socket, apps that take the process apart, configs that never end."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.process.conftest import Instance, Starter

NET = ("--bind", "{address}", "--fallback-config", "welcome")


@pytest.mark.parametrize(
    ("fault", "identifier"),
    [
        (("--chdir", "/nonexistent"), "directory-unusable"),
        (("--uid", "nobody-of-this-name"), "user-unknown"),
        (("--pidfile", "/nonexistent/pid"), "file-unusable"),
        (("--env-file", "/nonexistent/env"), "file-unusable"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_fault_before_the_sockets_is_answered_on_the_address_that_was_meant(
    arun: Starter, fault: tuple[str, str], identifier: str
) -> None:
    instance = arun(*fault, *NET)
    assert instance.eventually().status == 503
    assert instance.failures() == [identifier]


#: What an app does to its process before it fails, and what the failure is then called.
APPS = {
    "closes all descriptors": ("import os\nos.closerange(3, 256)\n1 / 0\n", "app-import-failed"),
    "sets an alarm": ("import signal\nsignal.alarm(1)\nimport time\ntime.sleep(1.5)\n1 / 0\n", "app-import-failed"),
    "raises what has no text": (
        (
            "class E(Exception):\n    def __str__(self): raise self\n"
            "class A:\n    def __getattr__(self, n): raise E\napp = A()\n"
        ),
        "app-import-failed",
    ),
    "exits with what cannot be shown": (
        "class C:\n    def __repr__(self): 1 / 0\nimport sys\nsys.exit(C())\n",
        "app-exited",
    ),
    "raises megabytes": ("raise RuntimeError('x' * 10**7)\n", "app-import-failed"),
    "takes the exec away": ("import os\nos.execve = None\n1 / 0\n", "app-import-failed"),
    "takes json away": ("import sys\nsys.modules['json'] = None\n1 / 0\n", "app-import-failed"),
    "takes poll away, as eventlet does": ("import select\ndel select.poll\nimport nowhere\n", "app-dependency-missing"),
    "takes the way out away": ("import os\nos._exit = os.write = os.getpid = None\n1 / 0\n", "app-import-failed"),
    "takes open away": ("import builtins\nbuiltins.open = None\nimport nowhere\n", "app-dependency-missing"),
    "takes waiting away": ("import time\ntime.sleep = time.time = time.monotonic = None\n1 / 0\n", "app-import-failed"),
    "takes signals away": (
        "import signal\nsignal.signal = signal.pthread_sigmask = None\n1 / 0\n",
        "app-import-failed",
    ),
    "takes sockets away": ("import socket\nsocket.socket = socket.AF_UNIX = None\n1 / 0\n", "app-import-failed"),
    "takes threads away": (
        "import _thread\n_thread.start_new_thread = _thread.allocate_lock = None\n1 / 0\n",
        "app-import-failed",
    ),
    "takes its streams away": ("import sys\nsys.stdout = sys.stderr = object()\n1 / 0\n", "app-import-failed"),
    "takes its hooks away": ("import atexit\natexit._run_exitfuncs = None\n1 / 0\n", "app-import-failed"),
    "breaks traceback": ("import traceback\ntraceback.TracebackException = None\n1 / 0\n", "app-import-failed"),
    "breaks import": (
        "import builtins\ndef refuse(*a, **k): raise RuntimeError('no imports')\nbuiltins.__import__ = refuse\n1 / 0\n",
        "app-import-failed",
    ),
    "hooks import": (
        (
            "import sys\nclass Hook:\n    @staticmethod\n    def find_spec(*a): raise RuntimeError('no imports')\n"
            "sys.meta_path.insert(0, Hook)\n1 / 0\n"
        ),
        "app-import-failed",
    ),
    "forgets where modules are": ("import sys\nsys.path = sys.meta_path = None\n1 / 0\n", "app-import-failed"),
    "lets few descriptors be": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (8, 4096))\n1 / 0\n",
        "app-import-failed",
    ),
    "has no memory": ("raise MemoryError\n", "app-import-failed"),
    "raises what cannot be formatted": (
        "raise SyntaxError('bad', ('f.py', 3, 5, b'text'))\n",
        "app-syntax-error",
    ),
    "raises what has no notes": (
        "class E(Exception):\n    __notes__ = property(lambda self: 1 / 0)\nraise E('x')\n",
        "app-import-failed",
    ),
}


@pytest.mark.parametrize(("code", "identifier"), APPS.values(), ids=APPS)
def test_an_app_that_takes_its_process_apart_and_fails_is_answered_for(
    arun: Starter, code: str, identifier: str
) -> None:
    arun.write("shop.py", code)
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    target = "shop:app.missing" if "__getattr__" in code else "shop.py"
    instance = arun(target, "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    assert instance.get().status == 503
    assert instance.failures()[0] == identifier
    assert len(instance.said) < 100_000
    assert instance.stop() == 0


@pytest.mark.parametrize(
    "env", [{"ARUN_HANDOVER": "9" * 25}, {"LISTEN_FDS": "\u00b2"}, {"LISTEN_FDS": "999999999"}], ids=str
)
def test_an_odd_environment_is_no_reason_not_to_start(arun: Starter, env: dict[str, str]) -> None:
    command = ("sh", "-c", f'LISTEN_PID=$$ exec {arun.command} "$@"', "sh")
    instance = arun("--bind", "{address}", command=command, env=env).ready()
    assert instance.get().status == 200
    assert instance.stop() == 0


#: Configs whose own fallback has to be found although their reader gives up in ways of its own.
CONFIGS = {
    "huge.toml": 'fallback-config = "welcome"\nbind = "{address}"\nbacklog = ' + "9" * 5000 + "\n",
    "tag.yaml": "fallback-config: welcome\nbind: '{address}'\ndebug: !!bool perhaps\n[a]: b\n",
    "deep.ini": "[arun]\nfallback-config = welcome\nbind = {address}\nset-placeholder = p0=x\n"
    + "".join(f"set-placeholder = p{n}=%(p{n - 1})\n" for n in range(1, 2000))
    + "print = %(p1999)\n",
    "laughs.ini": "[arun]\nfallback-config = welcome\nbind = {address}\nset-placeholder = p0=0123456789\n"
    + "".join(f"set-placeholder = p{n}={f'%(p{n - 1})' * 10}\n" for n in range(1, 10))
    + "print = %(p9)\n",
}


@pytest.mark.parametrize(("name", "text"), CONFIGS.items(), ids=CONFIGS)
def test_a_config_that_cannot_be_read_to_its_end_still_names_its_fallback_and_soon(
    arun: Starter, name: str, text: str
) -> None:
    arun.write(name, text)
    began = time.monotonic()
    instance: Instance = arun(name)
    instance.wait_for("!!! Fallback config to welcome !!!")
    assert time.monotonic() - began < 10
    assert set(instance.failures()) <= {"config-malformed", "option-invalid"}


def test_the_umask_of_the_first_start_is_not_that_of_its_fallback(arun: Starter) -> None:
    instance = arun("missing.py", "--umask", "777", *NET).ready()
    umask = re.search(r"^Umask:\s*(\d+)$", Path(f"/proc/{instance.pid}/status").read_text(), re.MULTILINE)
    own = re.search(r"^Umask:\s*(\d+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert umask is not None
    assert own is not None
    assert umask[1] == own[1]
