"""The user that an instance becomes, and its surroundings: each fault is reported, and shown on the fallback's page."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.conftest import FailingStart, Instance, Starter


class Row(NamedTuple):
    """Arguments of a start that fails with one identifier; ``told`` is a regex of its line."""

    arguments: str
    fails: str
    told: str


ROWS = {
    "user unknown": Row("--uid nosuchuser", "user-unknown", r"'nosuchuser' \(from --uid\)"),
    "user out of range": Row("--uid 99999999999", "user-unknown", r"'99999999999' .*\(from --uid\)"),
    "group unknown": Row("--gid nosuchgroup", "group-unknown", r"'nosuchgroup' \(from --gid\)"),
    "folder missing": Row("--chdir nope", "directory-unusable", r"cannot enter .*nope: .* \(from --chdir\)"),
    "folder a file": Row("--chdir safe.ini", "directory-unusable", r"cannot enter .*safe.ini: .* \(from --chdir\)"),
    "pid file in no folder": Row("--pidfile no/pid", "file-unusable", r"the pid file \S*no/pid: .* \(from --pidfile\)"),
    "pid file a folder": Row("--pidfile .", "file-unusable", r"the pid file .* \(from --pidfile\)"),
    "env file missing": Row("--env-file nope.env", "file-unusable", r"nope.env.* \(from --env-file\)"),
    "env file malformed": Row("--env-file bad.env", "file-unusable", r"the env file \S*bad.env:2 is no assignment"),
    "env file with a bare name": Row(
        "--env-file bare.env", "file-unusable", r"bare.env:1 is no assignment .*\n.*a NAME alone, as docker takes it"
    ),
    "mode out of range": Row("--umask 999", "option-invalid", r"umask: '999' .*\(from --umask\)"),
    "socket for an unknown user": Row(
        "--bind unix:a.sock --chown-socket nosuchuser", "user-unknown", r"'nosuchuser' \(from --chown-socket\)"
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_fault_of_the_surroundings_is_named_and_the_fallback_answers(failing_start: FailingStart, row: Row) -> None:
    failing_start.arun.write("bad.env", "A=1\nsecret without a name\n")
    failing_start.arun.write("bare.env", "HOME\n")

    said = failing_start(*row.arguments.split(), fails=[row.fails])

    assert re.search(f"^arun: {row.fails}: .*{row.told}", said, re.MULTILINE), said
    assert "secret" not in said


def test_a_wrong_folder_does_not_lead_the_relative_fallback_astray(failing_start: FailingStart) -> None:
    """The fallback's path counts from the starting directory, and so does what the fallback itself names."""
    (failing_start.arun.folder / "inside").mkdir()
    arguments = ("--chdir", "inside", "--env-file", "nope.env", "--fallback-config", "safe.ini")

    instance = failing_start.falls_back(*arguments, fails=["file-unusable"])

    assert os.readlink(f"/proc/{instance.pid}/cwd") == str(failing_start.arun.folder)


def test_low_ports_are_bound_for_the_fallback_of_a_start_whose_user_is_unknown(public_arun: Starter) -> None:
    """Shared or not: the fallback of a start that has given up no rights wants what that start wanted."""
    host = public_arun.address.partition(":")[0]
    public_arun.address = shared = f"{host}:80"
    ordinary = f"{host}:81"
    public_arun.write("safe.ini", "[arun]\n")

    arguments = ("--shared-socket", shared, "--bind", ordinary, "--uid", "nosuchuser", "--fallback-config", "safe.ini")
    instance = public_arun(*arguments)
    instance.wait_for("arun running on", times=2)

    assert (instance.get().status, instance.failures()) == (503, ["user-unknown"])


@pytest.mark.parametrize("option", ["--uid", "--gid"])
def test_a_stranger_may_not_become_root(public_arun: Starter, stranger: dict[str, Any], option: str) -> None:
    public_arun.write("safe.ini", "[arun]\nbind = {address}\n")

    instance = public_arun(option, "0", "--fallback-config", "safe.ini", **stranger)
    answer = instance.eventually()

    assert (answer.status, instance.failures()) == (503, ["privileges-denied"])
    assert re.search(rf"cannot become .* not permitted \(from {option}\)", instance.said), instance.said
    assert instance.argv()[-1] == str(public_arun.folder / "safe.ini")
    assert public_arun(option, "0", **stranger).wait() == 1


WHO_IMPORTED_ME = """
import os
who = f"{os.getuid()} {os.getgid()} {os.getgroups()}"

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [who.encode()]
"""


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        (("--uid", "1234"), "1234 1234 [1234]"),
        (("--uid", "1234", "--gid", "1235"), "1234 1235 [1235]"),
        (("--gid", "1235"), "0 1235 [1235]"),
    ],
    ids=["user", "user and group", "group"],
)
def test_an_app_is_imported_by_the_user_that_was_asked_for(
    public_arun: Starter, arguments: tuple[str, ...], who: str
) -> None:
    public_arun.write("app.py", WHO_IMPORTED_ME)

    instance = public_arun("app.py", "--bind", "{address}", *arguments)

    assert (instance.eventually().text, instance.failures()) == (who, [])
    assert set(identity(instance)["Uid:"]) == {int(who.split(maxsplit=1)[0])}


needs_closed_ports = pytest.mark.skipif(
    int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80,
    reason="every user may have port 80 here",
)

SCENE = (
    r"arun: address-denied: cannot listen on \S*:80: permission denied \(from --http-socket\)\n"
    r"arun: hint: (?P<hint>.*)\n"
    r"!!! {program} \(pid: {pid}\) exited with status 1 !!!\n"
    r"!!! Fallback config to safe.ini !!!\n"
)


def identity(instance: Instance) -> dict[str, list[int]]:
    """Real, effective, saved and file system ids, and the supplementary groups."""
    rows = (line.split() for line in Path(f"/proc/{instance.pid}/status").read_text().splitlines())
    return {row[0]: [int(word) for word in row[1:]] for row in rows if row[0] in {"Uid:", "Gid:", "Groups:"}}


@needs_closed_ports
def test_the_scene_this_project_exists_for(public_arun: Starter) -> None:
    """A low port after the drop of privileges: the lines in uWSGI's order, the same pid, still dropped."""
    safe = public_arun.write("safe.ini", "[arun]\nprint = Hello i am the fallback config !!!\nbind = {address}\n")

    instance = public_arun("--fallback-config", "safe.ini", "--uid", "1000", "--http-socket", ":80")
    answer = instance.eventually()

    scene = SCENE.format(program=public_arun.command, pid=instance.pid) + (
        r"\[arun\] getting INI configuration from safe.ini\n"
        r"Hello i am the fallback config !!!\n"
        r"\*\*\* Starting arun \S+ \(64bit\) on \[.*\] \*\*\*\n"
    )
    told = re.search(scene, instance.ready().said)
    assert told, instance.said
    assert answer.status == 503
    assert identity(instance) == {"Uid:": [1000] * 4, "Gid:": [1000] * 4, "Groups:": [1000]}
    assert instance.argv()[-2:] == [str(public_arun.command), str(safe)]
    assert instance.failures() == ["address-denied"]


@needs_closed_ports
def test_a_forbidden_port_comes_with_three_remedies(public_arun: Starter, stranger: dict[str, Any]) -> None:
    instance = public_arun("--bind", ":80", **stranger)

    assert (instance.wait(), instance.failures(), instance.hints()) == (1, ["address-denied"], 1)
    hint = instance.said.partition("arun: hint: ")[2]
    for remedy in ("sysctl net.ipv4.ip_unprivileged_port_start=80", "CAP_NET_BIND_SERVICE", "--shared-socket"):
        assert remedy in hint


@pytest.fixture
def locked_command(public_arun: Starter) -> Iterator[Path]:
    """The command ``arun`` with an interpreter in a folder that only root may enter."""
    private = Path(tempfile.mkdtemp(prefix="arun-locked-"))
    try:
        shutil.copy2(os.path.realpath(sys.executable), private / "python")
        script = public_arun.command.read_text().split("\n", 1)[1]
        command = public_arun.command.with_name("arun-locked")
        command.write_text(f"#!{private}/python\n{script}")
        command.chmod(0o755)
        yield command
    finally:
        shutil.rmtree(private)


@needs_closed_ports
def test_with_an_interpreter_that_the_user_cannot_read_the_process_answers_itself(
    public_arun: Starter, locked_command: Path
) -> None:
    """Noticed before the drop, said, and still answered on the address that the fallback names."""
    public_arun.write("safe.ini", "[arun]\nbind = {address}\n")
    scene = ("--fallback-config", "safe.ini", "--uid", "1000", "--http-socket", ":80")

    instance = public_arun(*scene, command=[str(locked_command)])
    answer = instance.eventually(headers={"Accept": "text/plain"})

    said = instance.ready().said
    assert (answer.status, "be right back" in answer.text) == (503, True)
    assert re.search(SCENE.format(program=locked_command, pid=instance.pid), said), said
    assert re.search(r"arun: warning: uid 1000 cannot read \S+/python: .*itself\n(.*\n)*arun: address-denied", said), (
        said
    )
    assert f"this process (pid: {instance.pid}) serves the welcome page itself" in said
    assert instance.failures() == ["address-denied", "exec-failed"]
    assert identity(instance)["Uid:"] == [1000] * 4
    assert instance.argv()[-6:] == [*scene]
    assert instance.stop() == 0


@pytest.mark.parametrize("option", ["bind", "shared-socket"])
def test_the_process_that_answers_itself_listens_where_the_fallback_would(
    public_arun: Starter, locked_command: Path, option: str
) -> None:
    public_arun.write("safe.ini", f"[arun]\n{option} = {{address}}\n")

    arguments = ("--fallback-config", "safe.ini", "--uid", "1000", "--bind", "192.0.2.1:1")
    instance = public_arun(*arguments, command=[str(locked_command)])

    assert (instance.eventually().status, instance.failures()) == (503, ["address-unavailable", "exec-failed"])


@pytest.mark.parametrize("hidden_by", ["its own mode", "the mode of its folder"])
def test_with_a_fallback_that_the_user_cannot_read_the_process_answers_itself(
    public_arun: Starter, hidden_by: str
) -> None:
    """The listener that was bound is the one that answers, and the environment has no say, as in any fallback."""
    safe = public_arun.write("private/safe.ini", "[arun]\nbind = {address}\n")
    (safe if hidden_by == "its own mode" else safe.parent).chmod(0o600)

    arguments = ("--bind", "{address}", "--uid", "1000", "--fallback-config", "private/safe.ini")
    instance = public_arun("nope.py", *arguments, env={"ARUN_BIND": "192.0.2.1:1", "ARUN_PORT": "abc"})
    answer = instance.eventually()

    assert answer.status == 503
    assert instance.failures() == ["app-not-found", "exec-failed"]
    assert "uid 1000 cannot read" in instance.said.partition("arun: app-not-found")[0]
    assert identity(instance)["Uid:"] == [1000] * 4
