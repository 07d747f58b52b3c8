"""The log file, taken and opened again by a process of its own: pytest keeps its standard streams."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.conftest import without_heads

from arun.core.failures import FILE_UNUSABLE, StartupFailure
from arun.system.log_file import LogFile

if TYPE_CHECKING:
    from pathlib import Path

#: Takes the file that it is given; each word on standard input is an order.
PROCESS = """
import os, subprocess, sys
from arun.system.log_file import LogFile

print("before", end=" ")  # stands in a buffer
log_file = LogFile(sys.argv[1])
log_file.open(origin="--log-file")
log_file.take_streams()
for order in sys.stdin:
    if order.strip() == "reopen":
        log_file.reopen()
    else:
        print(order.strip())
        sys.stdout.flush()
        subprocess.run(["/bin/sh", "-c", f"echo child {order.strip()} >&2"], check=True)
    os.write(int(sys.argv[2]), b".")
"""


class Process:
    """A process that writes into a log file, one order at a time."""

    def __init__(self, path: Path) -> None:
        self.reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(path), str(writing)],
            env={},  # the streams are buffered
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(writing,),
        )
        os.close(writing)

    def __call__(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n".encode())
        self.process.stdin.flush()
        assert os.read(self.reading, 1) == b"."

    def close(self) -> str:
        """End it and return what has come out of the standard output that it began with."""
        out, _ = self.process.communicate()
        os.close(self.reading)
        return out.decode()


def test_the_streams_of_a_process_and_of_its_children_go_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "arun.log"
    path.write_text("of yesterday\n")
    process = Process(path)

    process("one")

    assert process.close() == "before "
    assert path.read_text() == "of yesterday\none\nchild one\n"


def test_a_rotated_file_is_left_and_the_new_one_is_taken(tmp_path: Path) -> None:
    path, old = tmp_path / "arun.log", tmp_path / "arun.log.1"
    process = Process(path)

    process("one")
    path.rename(old)
    process("two")  # until it is asked to
    process("reopen")
    process("three")

    process.close()
    assert old.read_text() == "one\nchild one\ntwo\nchild two\n"
    assert path.read_text() == "three\nchild three\n"


def test_a_file_that_cannot_be_opened_again_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    process = Process(folder / "arun.log")

    process("one")
    folder.rename(tmp_path / "gone")
    process("reopen")
    process("two")

    process.close()
    one, _, warning, two, _ = (tmp_path / "gone" / "arun.log").read_text().splitlines()
    assert (one, two) == ("one", "two")
    assert without_heads(warning).startswith(
        f"arun: warning: the log file {folder}/arun.log cannot be opened again: No such file"
    )


def test_a_new_file_can_be_read_by_its_group_and_nobody_else(tmp_path: Path) -> None:
    former = os.umask(0)
    log_file = LogFile(str(tmp_path / "arun.log"))
    try:
        log_file.open(origin="--log-file")
    finally:
        os.umask(former)

    os.close(log_file._fd)
    assert stat.S_IMODE((tmp_path / "arun.log").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["", "nowhere/arun.log", "pipe", "a\0b"])
def test_a_file_that_cannot_be_opened_is_a_failure_with_its_origin(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")  # without a reader

    with pytest.raises(
        StartupFailure, match=r"^cannot write the log file ", check=lambda error: error.cause is FILE_UNUSABLE
    ) as caught:
        LogFile(str(tmp_path / name)).open(origin="site.ini:3")

    assert caught.value.origin == "site.ini:3"
