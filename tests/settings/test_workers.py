"""Options of workers: their number, what makes an instance supervised, memory as uWSGI counts it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.settings.conftest import Folder


def test_auto_is_one_worker_for_each_core_that_this_process_may_use(folder: Folder) -> None:
    assert 1 <= folder.settings("--workers", "auto").workers <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("text", ["0", "-1", "1025", "many", "AUTO", "1.5", ""])
def test_a_number_of_workers_that_is_none_is_told(folder: Folder, text: str) -> None:
    (problem,) = folder.rejected(f"--workers={text}").problems
    assert problem.cause.identifier == "option-invalid"


def test_auto_is_told_as_a_possibility(folder: Folder) -> None:
    (problem,) = folder.rejected("--workers", "many").problems
    assert problem.sentence == "workers: 'many' is neither auto nor a whole number from 1 to 1024"


@pytest.mark.parametrize(
    "words",
    [
        ("--workers", "2"),
        ("--supervise",),
        ("--master",),
        ("-M",),
        ("--preload",),
        ("--touch-reload", "x"),
        ("--max-requests", "5"),
        ("--limit-max-requests", "5"),
        ("--max-worker-lifetime", "1h"),
        ("--reload-on-rss", "512"),
        ("--worker-timeout", "10"),
        ("-t", "10"),
        ("--crash-limit", "3"),
        ("--crash-interval", "1m"),
    ],
)
def test_what_needs_a_supervisor_gets_one(folder: Folder, words: tuple[str, ...]) -> None:
    assert folder.settings(*words).is_supervised


@pytest.mark.parametrize(
    "words", [(), ("--workers", "1"), ("--threads", "4"), ("--no-supervise", "--max-requests", "5")]
)
def test_nothing_else_is_supervised(folder: Folder, words: tuple[str, ...]) -> None:
    assert not folder.settings(*words).is_supervised


def test_the_master_of_uwsgi_is_a_supervisor(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nmaster = true\nprocesses = 3\nreload-on-rss = 200\ntouch-reload = %dx\n")
    settings = folder.settings("site.ini")
    assert (settings.supervise, settings.workers, settings.reload_on_rss) == (True, 3, 200 * 1024 * 1024)
    assert settings.touch_reload == (os.path.join(folder.path, "x"),)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512 << 20), ("512m", 512 << 20), ("1g", 1 << 30), ("2048k", 2 << 20)]
)
def test_memory_without_a_unit_is_in_megabytes(folder: Folder, text: str, size: int) -> None:
    assert folder.settings("--reload-on-rss", text).reload_on_rss == size
