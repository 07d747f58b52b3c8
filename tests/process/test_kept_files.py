"""Files that an instance keeps: the pid file, log files, unix sockets. Whose they are, who may lead arun astray, what is left."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.process.conftest import STRANGER
from tests.process.family import settled, stop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.conftest import Starter

APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""
BIND = ("--bind", "{address}")
#: How each file is named, and what takes it.
FILES = {
    "pid file": ("--pidfile", "{}"),
    "log file": ("--log-file", "{}"),
    "access log": ("--access-logfile", "{}"),
    "daemon": ("--daemonize", "{}"),
    "unix socket": ("--chmod-socket", "666", "--bind", "unix:{}"),
}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root is who may be led astray")


def named(what: str, path: Path | str) -> list[str]:
    """The options that name a file."""
    return [one.format(path) for one in FILES[what]]


def yard(arun: Starter, mode: int = 0o777) -> Path:
    """A folder that another user may write to."""
    folder = arun.folder / "yard"
    folder.mkdir()
    folder.chmod(mode)
    return folder


def lay(link: Path, target: Path | str) -> None:
    """Make a link as another user would."""
    link.symlink_to(target)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)


@needs_root
@pytest.mark.parametrize("place", ["the file", "a folder of its path"])
@pytest.mark.parametrize("what", FILES)
def test_root_follows_no_link_that_another_user_may_have_made(arun: Starter, what: str, place: str) -> None:
    arun.write("shop.py", APP)
    folder, precious = yard(arun), arun.folder / "precious"
    precious.mkdir()
    victim = precious / "victim"
    if what != "unix socket":
        victim.write_text("of value")
    if place == "the file":
        lay(folder / "it", victim)
        path = folder / "it"
    else:
        lay(folder / "sub", precious)
        path = folder / "sub" / "victim"
    instance = arun("shop.py", *BIND, *named(what, path))
    assert instance.wait() == 1, instance.said
    assert instance.failures() == ["address-unavailable" if what == "unix socket" else "file-unusable"]
    assert [one.name for one in precious.iterdir()] == ([] if what == "unix socket" else ["victim"])
    if what != "unix socket":
        assert victim.read_text() == "of value"
        assert "is a link, in a folder that others may write to" in instance.said


@needs_root
@pytest.mark.parametrize("what", FILES)
def test_links_of_root_lead_where_they_always_did(arun: Starter, what: str) -> None:
    """A folder of root's that is a link, as /var/run is; and one that root has made where others may write."""
    arun.write("shop.py", APP)
    (arun.folder / "elsewhere").mkdir()
    (yard(arun, 0o1777) / "run").symlink_to("../elsewhere")
    (arun.folder / "run").symlink_to(arun.folder / "yard" / "run")
    path = arun.folder / "run" / "it"
    instance = arun("shop.py", *BIND, *([] if what == "pid file" else ["--pidfile", "own.pid"]), *named(what, path))
    if what == "daemon":
        assert instance.wait() == 0
    elif what == "log file":
        instance.eventually()
    else:
        instance.ready()
    assert (arun.folder / "elsewhere" / "it").exists()
    os.kill(int((arun.folder / "own.pid").read_text()) if what != "pid file" else instance.pid, signal.SIGTERM)


@needs_root
def test_a_log_file_may_be_standard_output_by_its_name(arun: Starter) -> None:
    """Whose name is a link of the kernel's."""
    arun.write("shop.py", APP)
    with (arun.folder / "out").open("wb") as out:
        instance = arun("shop.py", *BIND, "--access-logfile", "/dev/stdout", stdout=out).ready()
        assert instance.get().status == 200
        assert instance.stop() == 0
    assert "GET / HTTP/1.1" in (arun.folder / "out").read_text()


@needs_root
def test_root_adds_no_line_to_a_file_that_another_user_gave_a_second_name(arun: Starter) -> None:
    arun.write("shop.py", APP)
    precious = arun.write("precious", "of value")
    os.link(precious, yard(arun) / "log")
    instance = arun("shop.py", *BIND, "--log-file", "yard/log")
    assert (instance.wait(), instance.failures()) == (1, ["file-unusable"])
    assert precious.read_text() == "of value"


@pytest.mark.parametrize(("umask", "mode"), [("000", 0o644), ("027", 0o640)])
def test_no_other_user_may_write_the_pid_file_whatever_the_umask(arun: Starter, umask: str, mode: int) -> None:
    arun.write("shop.py", APP)
    instance = arun("shop.py", *BIND, "--umask", umask, "--pidfile", "pid").ready()
    assert stat.S_IMODE((arun.folder / "pid").stat().st_mode) == mode
    assert instance.stop() == 0
    assert not (arun.folder / "pid").exists()


def test_a_pid_that_belongs_to_something_else_is_no_obstacle(arun: Starter) -> None:
    arun.write("shop.py", APP)
    path = arun.write("pid", f"{os.getpid()}\n")
    with path.open() as before:
        instance = arun("shop.py", *BIND, "--pidfile", "pid").ready()
        assert path.read_text() == f"{instance.pid}\n"
        assert before.read() == f"{os.getpid()}\n"  # a reader that was there has the old file, whole
    assert [one.name for one in arun.folder.iterdir() if "pid" in one.name] == ["pid"]
    assert instance.stop() == 0


def test_a_pid_that_another_arun_has_got_since_is_no_obstacle(arun: Starter) -> None:
    """After a reboot the numbers begin anew: the file is older than the process."""
    arun.write("shop.py", APP)
    other = arun("shop.py", "--bind", "unix:other").ready()
    path = arun.write("pid", f"{other.pid}\n")
    os.utime(path, (1e9, 1e9))
    instance = arun("shop.py", *BIND, "--pidfile", "pid").ready()
    assert path.read_text() == f"{instance.pid}\n"
    assert (instance.stop(), other.stop()) == (0, 0)


def test_the_pid_file_of_an_arun_that_lives_is_refused_and_stays(arun: Starter) -> None:
    arun.write("shop.py", APP)
    first = arun("shop.py", "--bind", "unix:first", "--pidfile", "pid").ready()
    second = arun("shop.py", *BIND, "--pidfile", "pid")
    assert (second.wait(), second.failures()) == (1, ["file-unusable"])
    assert f"arun (pid: {first.pid}) lives, and has written it" in second.said
    assert (arun.folder / "pid").read_text() == f"{first.pid}\n"
    assert first.stop() == 0


def test_a_pid_file_that_another_process_has_taken_is_not_removed(arun: Starter) -> None:
    arun.write("shop.py", APP)
    instance = arun("shop.py", *BIND, "--pidfile", "pid").ready()
    path = arun.write("pid", "1\n")
    assert instance.stop() == 0
    assert path.read_text() == "1\n"


#: What a start does that fails in the end, and the configs of its chain.
FAILING = {
    "alone": ((), {}),
    "fallback without it": (("--fallback-config", "b.ini", "--last-resort", "exit"), {"b.ini": ""}),
    "fallback with another": (("--fallback-config", "b.ini", "--last-resort", "exit"), {"b.ini": "pidfile = pid2\n"}),
    "two fallbacks": (
        ("--fallback-config", "b.ini", "--last-resort", "exit"),
        {"b.ini": "pidfile = pid2\nfallback-config = c.ini\n", "c.ini": ""},
    ),
    "supervised": (("--supervise",), {}),
}


@pytest.mark.parametrize(("options", "configs"), FAILING.values(), ids=FAILING)
def test_no_pid_file_of_a_chain_stays_when_it_ends_with_status_1(
    arun: Starter, options: tuple[str, ...], configs: dict[str, str]
) -> None:
    for name, content in configs.items():
        arun.write(name, f"[arun]\nbind = {{address}}\napp = gone.py\n{content}")
    arun.write("shop.py", "print(open('pid').read(), flush=True)\n1 / 0\n")
    instance = arun("shop.py", *BIND, "--pidfile", "pid", *options, stdout=subprocess.PIPE)
    assert instance.wait() == 1
    assert instance.process.stdout is not None
    assert instance.process.stdout.read().split() == [f"{instance.pid}".encode()]
    assert instance.fallbacks() == sorted(configs)
    assert [one.name for one in arun.folder.iterdir() if "pid" in one.name] == []


def test_the_pid_file_of_a_failed_start_stays_while_its_fallback_serves(arun: Starter) -> None:
    instance = arun("gone.py", *BIND, "--pidfile", "pid", "--fallback-config", "welcome").ready()
    assert (arun.folder / "pid").read_text() == f"{instance.pid}\n"


@needs_root
@pytest.mark.parametrize("supervise", ["no", "yes"])
def test_a_pid_file_that_the_dropped_user_cannot_remove_is_reported_in_one_line(
    public_arun: Starter, supervise: str
) -> None:
    public_arun.write("shop.py", APP)
    options = (*BIND, "--uid", str(STRANGER), "--pidfile", "pid", "--supervise" if supervise == "yes" else "--debug")
    instance = public_arun("shop.py", *options).ready()
    assert instance.stop() == 0
    path = public_arun.folder / "pid"
    assert path.exists()
    told = f"arun: warning: the pid file {path} stays: uid {STRANGER} cannot remove it: Permission denied\n"
    assert instance.said.count(told) == 1


@needs_root
def test_a_pid_file_that_only_itself_may_be_written_is_written_as_it_stands(public_arun: Starter) -> None:
    """As an administrator prepares it: the folder is root's, the file is not."""
    public_arun.write("shop.py", APP)
    path = public_arun.write("pid", "")
    os.chown(path, STRANGER, STRANGER)
    before = path.stat().st_ino
    who: dict[str, Any] = {"user": STRANGER, "group": STRANGER, "extra_groups": []}
    instance = public_arun("shop.py", *BIND, "--pidfile", "pid", **who).ready()
    assert (path.read_text(), path.stat().st_ino) == (f"{instance.pid}\n", before)
    assert instance.stop() == 0


@pytest.mark.parametrize("supervise", ["no", "yes"])
def test_vacuum_removes_its_own_socket_and_no_other_of_that_name(arun: Starter, supervise: str) -> None:
    arun.write("shop.py", APP)
    options = ("--bind", "unix:s", "--vacuum", *(["--supervise"] if supervise == "yes" else []))
    first = arun("shop.py", *options).ready()
    (arun.folder / "s").unlink()
    second = arun("shop.py", *options).ready()
    assert first.stop() == 0
    assert (arun.folder / "s").is_socket()
    assert second.stop() == 0
    assert not (arun.folder / "s").exists()


@pytest.mark.parametrize("vacuum", ["--vacuum", "--workers=2"])
def test_a_unix_socket_whose_file_is_gone_is_made_again_by_a_reload(arun: Starter, vacuum: str) -> None:
    arun.write("shop.py", APP)
    path = arun.folder / "s"
    instance = arun("shop.py", "--bind", "unix:s", *BIND, "--supervise", vacuum).ready()
    instance.wait_for("serving shop.py")
    path.unlink()
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")
    settled(instance, 2 if vacuum == "--workers=2" else 1)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
    stop(instance)
    assert path.exists() == (vacuum != "--vacuum")


def test_a_unix_socket_whose_file_is_gone_is_made_again_by_the_way_back(arun: Starter) -> None:
    arun.write("safe.ini", "[arun]\n")
    arun.write("shop.py", "1 / 0")
    instance = arun("shop.py", "--bind", "unix:s", "--fallback-config", "safe.ini").ready()
    arun.write("shop.py", APP)
    (arun.folder / "s").unlink()
    instance.send(signal.SIGHUP)
    instance.wait_for("arun running on", times=2)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(arun.folder / "s"))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
    assert instance.stop() == 0


@needs_root
def test_a_unix_socket_has_the_owner_and_mode_that_are_asked_for(arun: Starter) -> None:
    arun.write("shop.py", APP)
    yard(arun)
    options = ("--bind", "unix:yard/s", "--umask", "000", "--chmod-socket", "660")
    instance = arun("shop.py", *options, "--chown-socket", f"{STRANGER}:{STRANGER}").ready()
    status = (arun.folder / "yard" / "s").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (STRANGER, STRANGER, 0o660)
    assert instance.stop() == 0
