"""A start from ``current``, the link that a deployment switches: what begins anew begins in the release of now."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import Instance

APP = """
import os
import part
def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/late":
        import late
        return [late.release.encode()]
    return [f"{part.release} {os.path.basename(os.getcwd())}".encode()]
"""
BROKEN = "import nowhere\n"


@pytest.fixture
def current(arun: Any) -> Path:
    """The link ``current`` to the first of two releases."""
    for release in ("one", "two"):
        arun.write(f"{release}/app.py", APP)
        for name in ("part", "late"):
            arun.write(f"{release}/{name}.py", f"release = '{release}'\n")
        arun.write(f"{release}/site.ini", f"[arun]\nbind = {{address}}\napp = app:app\nprint = config {release}\n")
    link: Path = arun.folder / "current"
    link.symlink_to("one")
    return link


def deploy(link: Path, release: str = "two") -> None:
    """Switch the link as deployments do: at once."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(release)
    fresh.replace(link)


def start(arun: Any, current: Path, *arguments: str, **more: Any) -> Instance:
    """Start from the link, as a shell that went there with ``cd current`` does."""
    instance: Instance = arun(*arguments, cwd=current, env={"PWD": str(current)}, **more)
    return instance


def serves(instance: Instance, text: str) -> None:
    def look() -> None:
        assert instance.get().text == text  # a worker that retires takes in who waits

    until(look, AssertionError)


#: How the app is named, and how an instance is made that reloads.
NAMED = {
    "module": ["app:app", "--bind", "{address}"],
    "file": ["app.py", "--bind", "{address}"],
    "nothing": ["--bind", "{address}"],
    "config": ["site.ini"],
    "--app-dir": ["app:app", "--app-dir", ".", "--bind", "{address}"],
    "--chdir": ["app:app", "--chdir", ".", "--bind", "{address}"],
}
WAYS = {"one": ["--supervise"], "two": ["--workers", "2"], "preload": ["--workers", "2", "--preload"]}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
def test_a_reload_takes_the_new_release(arun: Any, current: Path, named: Sequence[str], way: Sequence[str]) -> None:
    instance = start(arun, current, *named, *way).ready()
    assert instance.get().text == "one one"
    deploy(current)
    assert instance.get("/late").text == "one"  # what serves belongs to one release
    for times in (1, 2):
        instance.send(signal.SIGHUP)
        instance.wait_for("arun: reloaded", times=times)
    serves(instance, "two two")
    if "site.ini" in named:
        assert "config two" in instance.said
    assert instance.stop() == 0


def test_a_worker_that_is_replaced_stays_in_its_release(arun: Any, current: Path) -> None:
    instance = start(arun, current, "app:app", "--bind", "{address}", "--supervise").ready()
    deploy(current)
    (worker,) = instance.children()
    os.kill(worker, signal.SIGKILL)
    until(instance.get, ConnectionResetError, ConnectionRefusedError)
    instance.wait_for("was ended by SIGKILL")
    serves(instance, "one one")
    assert instance.stop() == 0


def test_a_reload_that_fails_leaves_the_workers_where_they_are(arun: Any, current: Path) -> None:
    arun.write("two/app.py", BROKEN)
    instance = start(arun, current, "app:app", "--bind", "{address}", "--supervise").ready()
    deploy(current)
    instance.send(signal.SIGHUP)
    instance.wait_for("reload failed")
    serves(instance, "one one")
    deploy(current, "one")
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")
    serves(instance, "one one")
    assert instance.stop() == 0


def test_an_upgrade_takes_the_new_release(arun: Any, current: Path) -> None:
    instance = start(arun, current, "app:app", "--bind", "{address}", "--supervise").ready()
    deploy(current)
    instance.send(signal.SIGUSR2)
    instance.wait_for("arun running on", times=2)
    serves(instance, "two two")
    deploy(current, "one")
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")
    serves(instance, "one one")
    assert instance.stop() == 0


def test_the_way_back_takes_the_new_release(arun: Any, current: Path) -> None:
    arun.write("one/app.py", BROKEN)
    instance = start(arun, current, "app:app", "--bind", "{address}", "--fallback-config", "welcome").ready()
    deploy(current)
    instance.send(signal.SIGHUP)
    instance.wait_for("arun running on", times=2)
    serves(instance, "two two")
    assert instance.stop() == 0


def test_files_of_a_reloaded_instance_lie_in_the_new_release(arun: Any, current: Path) -> None:
    """Its pid file, and its unix socket, by relative paths."""
    command = ("app:app", "--bind", "{address}", "--bind", "unix:site.sock", "--pidfile", "site.pid", "--supervise")
    instance = start(arun, current, *command).ready()
    pid = (arun.folder / "one/site.pid").read_text()
    deploy(current)
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")
    serves(instance, "two two")
    assert (arun.folder / "two/site.pid").read_text() == pid
    assert not (arun.folder / "one/site.pid").exists()
    assert (arun.folder / "two/site.sock").is_socket()
    assert instance.stop() == 0
    assert not (arun.folder / "two/site.pid").exists()


@pytest.mark.parametrize("name", ["elsewhere", "current/../one", "one/.", "gone", "", "relative"])
def test_pwd_that_is_not_this_folder_is_not_believed(arun: Any, current: Path, name: str) -> None:
    (arun.folder / "elsewhere").mkdir()
    pwd = f"{arun.folder}/{name}" if name not in {"", "relative"} else name
    instance = arun("app:app", "--bind", "{address}", "--supervise", cwd=arun.folder / "one", env={"PWD": pwd}).ready()
    deploy(current)
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")
    serves(instance, "one one")
    assert instance.stop() == 0


def test_an_upgrade_takes_the_interpreter_of_the_new_release(arun: Any, current: Path) -> None:
    """A virtual environment in the release, called by a relative path."""
    for release in ("one", "two"):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", "v"], cwd=arun.folder / release, check=True)
        needed = ("arun", "arun_welcome", "uvloop", "httptools")
        paths = {str(Path(spec.origin).parents[1]) for name in needed if (spec := find_spec(name)) and spec.origin}
        site = next((arun.folder / release).glob("v/lib/*/site-packages"))
        site.joinpath("ours.pth").write_text("\n".join(paths))
    command = ("v/bin/python", "-m", "arun")
    arguments = ("app:app", "--bind", "{address}", "--supervise")
    instance = start(arun, current, *arguments, command=command, measured=False).ready()
    deploy(current)
    instance.send(signal.SIGUSR2)
    instance.wait_for("arun running on", times=2)
    serves(instance, "two two")
    assert instance.argv()[0] == f"{current}/v/bin/python"
    assert instance.stop() == 0
