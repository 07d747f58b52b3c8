"""Addresses that cannot be had: each is named with the reason and its holder, and the fallback answers on its own."""

from __future__ import annotations

import os
import re
import socket
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.conftest import FailingStart, Starter

IN_USE, UNAVAILABLE, UNRESOLVABLE = "address-in-use", "address-unavailable", "address-unresolvable"


class Row(NamedTuple):
    """Arguments of a start that fails with one identifier; ``told`` is a regex of its line."""

    arguments: str
    fails: str
    told: str


ROWS = {
    "unresolvable": Row("--bind no-such-host.invalid:80", UNRESOLVABLE, r"'no-such-host.invalid': .*\(from --bind\)"),
    "no name of a host": Row("--bind ä..b:80", UNRESOLVABLE, r"cannot resolve 'ä..b': .*\(from --bind\)"),
    "not of this machine": Row("--bind 192.0.2.1:8080", UNAVAILABLE, r"192.0.2.1:8080: .*\(from --bind\)"),
    "v6 not of this machine": Row("--bind [2001:db8::1]:8080", UNAVAILABLE, r"\[2001:db8::1\]:8080: .*\(from --bind\)"),
    "host and port apart": Row(
        "--host 192.0.2.1 --port 8080", UNAVAILABLE, r"192.0.2.1:8080: .*\(from --host, --port\)"
    ),
    "path too long": Row(f"--bind unix:{'x' * 120}", UNAVAILABLE, r"too long \(from --bind\)\n.*hint: .*107 bytes"),
    "folder missing": Row("--uds no/a.sock", UNAVAILABLE, r"\(from --uds\)\n.*hint: create the folder \S*/no$"),
    "folder a file": Row("--uds safe.ini/a.sock", UNAVAILABLE, r"not a directory \(from --uds\)"),
    "a file there": Row("--uds safe.ini", IN_USE, r"no socket .*\(from --uds\)\n.*hint: remove the file or choose"),
    "a folder there": Row("--uds .", IN_USE, r"no socket .*\(from --uds\)"),
    "descriptor closed": Row("--fd 77", UNAVAILABLE, r"fd://77: bad file descriptor \(from --fd\)"),
    "descriptor no socket": Row("--bind fd://0", UNAVAILABLE, r"fd://0: .*\(from --bind\)"),
    "shared socket": Row("--shared-socket 192.0.2.1:80", UNAVAILABLE, r"192.0.2.1:80: .*\(from --shared-socket\)"),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_an_address_that_cannot_be_had_is_named_and_the_fallback_answers(failing_start: FailingStart, row: Row) -> None:
    said = failing_start(*row.arguments.split(), fails=[row.fails])

    assert re.search(f"^arun: {row.fails}: .*{row.told}", said, re.MULTILINE | re.IGNORECASE), said


@pytest.fixture
def busy(address: str) -> Iterator[str]:
    """An address that this test process itself listens on, beside the one of the fallback."""
    with socket.create_server((address.rpartition(":")[0], 0)) as holder:
        host, port = holder.getsockname()
        yield f"{host}:{port}"


def test_a_busy_address_names_its_holder(failing_start: FailingStart, busy: str) -> None:
    said = failing_start("--bind", busy, "--bind-retry", "0", fails=[IN_USE])

    held_by = re.search(
        rf"^arun: address-in-use: cannot listen on {busy}: held by pid (\d+) \((.+)\)", said, re.MULTILINE
    )
    assert held_by, said
    assert int(held_by[1]) == os.getpid()
    assert "python" in held_by[2]


def test_a_fallback_on_the_same_busy_address_fails_too_where_it_is_not_to_wait(arun: Starter, busy: str) -> None:
    arun.write("safe.ini", f"[arun]\nbind = {busy}\nbind-retry = 0\n")

    instance = arun("--bind", busy, "--fallback-config", "safe.ini", "--last-resort", "exit")

    assert instance.wait() == 1
    assert (instance.failures(), instance.hints(), instance.fallbacks()) == ([IN_USE] * 2, 2, ["safe.ini"])


@pytest.mark.parametrize("suffix", ["ini", "toml", "json", "yaml"])
def test_a_busy_address_names_the_line_of_the_file_that_asks_for_it(
    failing_start: FailingStart, busy: str, suffix: str
) -> None:
    content = {
        "ini": "[arun]\n\nbind = {}\n",
        "toml": '\n\nbind = "{}"\n',
        "json": '{{"threads": 8,\n\n"bind": "{}"}}\n',
        "yaml": "threads: 8\n\nbind: {}\n",
    }[suffix]
    failing_start.arun.write(f"site.{suffix}", content.format(busy))

    instance = failing_start.falls_back(f"site.{suffix}", "--fallback-config", "safe.ini", fails=[IN_USE])

    assert re.search(rf"^arun: address-in-use: .* \(from site.{suffix}:3\)$", instance.said, re.MULTILINE)


def test_what_was_bound_before_a_busy_address_is_closed_when_the_fallback_does_not_name_it(
    failing_start: FailingStart, busy: str, address: str
) -> None:
    host = address.rpartition(":")[0]
    arguments = ("--bind", f"{host}:0", "--bind", busy, "--fallback-config", "safe.ini")

    failing_start.falls_back(*arguments, fails=[IN_USE])  # which counts the descriptors


def test_an_address_of_two_instances_belongs_to_the_first(failing_start: FailingStart, arun: Starter) -> None:
    """The second names the first; reuse-port on one side only does not help."""
    taken = f"unix:{arun.folder}/a.sock"
    first = arun("--bind", taken).ready()

    said = failing_start("--bind", taken, "--reuse-port", "--bind-retry", "0", fails=[IN_USE])

    assert f"held by pid {first.pid} (" in said
    assert stat.S_ISSOCK(os.stat(arun.folder / "a.sock").st_mode)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(arun.folder / "a.sock"))


def test_a_file_in_the_place_of_a_socket_is_not_touched(failing_start: FailingStart) -> None:
    precious = failing_start.arun.write("precious", "do not delete\n")

    failing_start("--uds", "precious", fails=[IN_USE])

    assert precious.read_text() == "do not delete\n"


def test_a_link_in_the_place_of_a_socket_is_not_followed(failing_start: FailingStart, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    failing_start("--uds", "link", fails=[IN_USE])

    assert (tmp_path / "link").is_symlink()


def test_a_datagram_socket_cannot_be_listened_on(failing_start: FailingStart) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as passed:
        said = failing_start.alone("--fd", str(passed.fileno()), fails=[UNAVAILABLE], pass_fds=(passed.fileno(),))

    assert "it is no stream socket (from --fd)" in said


def test_a_folder_that_this_user_may_not_write_to_is_named(public_arun: Starter, stranger: dict[str, Any]) -> None:
    public_arun.write("safe.ini", "[arun]\nbind = {address}\n")

    instance = public_arun("--uds", "a.sock", "--fallback-config", "safe.ini", **stranger)
    answer = instance.eventually()

    assert (answer.status, instance.failures()) == (503, ["address-denied"])
    assert f"hint: let this user write to {public_arun.folder}\n" in instance.said


def test_only_root_gives_a_socket_away(public_arun: Starter, stranger: dict[str, Any]) -> None:
    """What cannot get the owner that was asked for is not left behind with another one."""
    public_arun.write("safe.ini", "[arun]\nbind = {address}\n")
    public_arun.folder.chmod(0o777)  # the stranger has to write here

    instance = public_arun("--uds", "a.sock", "--chown-socket", "root", "--fallback-config", "safe.ini", **stranger)
    answer = instance.eventually()

    assert (answer.status, instance.failures()) == (503, ["address-denied"])
    assert not (public_arun.folder / "a.sock").exists()
