"""``--welcome-html``: a page of one's own in place of the built-in one, through an outage that takes its file along."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import until

if TYPE_CHECKING:
    from tests.conftest import Starter

PAGE = "<!doctype html><title>Shop</title><p>Wir sind gleich zurück.</p>"
HTML = {"Accept": "text/html"}


@pytest.mark.parametrize("way", [("--workers", "1"), ("--workers", "2")], ids=["one", "two"])
@pytest.mark.parametrize(
    "broken", [("gone.py",), ("--no-such-option",), ("dies.py", "--supervise", "--crash-limit", "2")], ids=str
)
def test_the_built_in_fallback_shows_it_though_its_file_is_gone(arun: Starter, way: Any, broken: Any) -> None:
    arun.write("page.html", PAGE)
    arun.write("dies.py", "import os\nos.path.exists('page.html') and os.unlink('page.html')\n1 / 0\n")
    line = ("--bind", "{address}", "--welcome-html", "page.html", "--fallback-config", "welcome")
    instance = arun(*broken, *line, *way).ready()
    answer = instance.get(headers=HTML)
    assert (answer.status, answer.text) == (503, PAGE)
    assert instance.get().text.startswith("We’ll be right back.")  # noqa: RUF001 - typographic


def test_the_last_resort_shows_it_too(arun: Starter) -> None:
    arun.write("page.html", PAGE)
    arun.write("safe.ini", "[arun]\napp = gone.py\n")
    line = ("--bind", "{address}", "--welcome-html", "page.html", "--fallback-config", "safe.ini")
    instance = arun("gone.py", *line)
    instance.wait_for("arun running on")
    assert instance.get(headers=HTML).text == PAGE


def test_a_fallback_config_has_one_of_its_own(arun: Starter) -> None:
    arun.write("page.html", PAGE)
    arun.write("other.html", "<p>other</p>")
    arun.write("safe.ini", "[arun]\nwelcome-html = other.html\n")
    line = ("--bind", "{address}", "--welcome-html", "page.html", "--fallback-config", "safe.ini")
    assert arun("gone.py", *line).ready().get(headers=HTML).text == "<p>other</p>"


#: What is there in place of a page, and how that is told.
UNFIT = {
    "missing": (None, "no such file or directory"),
    "empty": (b" \n", "it is empty"),
    "latin-1": ("zurück".encode("latin-1"), "it is not UTF-8 at byte 3"),
    "large": (b"x" * 1_048_577, "it is larger than 1048576 bytes"),
    "folder": ("folder", "is a directory"),
    "pipe": ("pipe", "it is empty"),
}


@pytest.mark.parametrize(("content", "words"), UNFIT.values(), ids=UNFIT)
def test_a_page_that_cannot_be_shown_is_a_failed_start(arun: Starter, content: Any, words: str) -> None:
    path = arun.folder / "page.html"
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    instance = arun("--bind", "{address}", "--welcome-html", "page.html")
    assert instance.wait() == 1
    assert instance.failures() == ["file-unusable"]
    assert f"cannot serve the page {path}: {words} (from --welcome-html)\narun: hint: it takes a file" in instance.said


def test_a_reload_reads_it_again(arun: Starter) -> None:
    arun.write("page.html", PAGE)
    instance = arun("--bind", "{address}", "--welcome-html", "page.html", "--supervise").ready()
    assert (instance.get(headers=HTML).status, instance.get(headers=HTML).text) == (200, PAGE)
    arun.write("page.html", "<p>new</p>")
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded, ")

    def shows_the_new_page() -> None:
        assert instance.get(headers=HTML).text == "<p>new</p>"  # a worker that retires takes in those who wait

    until(shows_the_new_page, AssertionError)
