"""The way back, by itself: a fallback becomes its primary when the cause is gone, and refuses nobody meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import own_address, until
from tests.process.knocking import Knocking
from tests.process.recovering import BROKEN, FORMS, TRIED, good, started, talkative, times_back

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Starter

#: What a start is given so that nothing but the way under test leads back.
SLOW = ("--recover-interval", "300", "--recover-interval-max", "300")


@pytest.mark.parametrize("form", FORMS)
def test_a_broken_app_that_is_mended_is_served_within_moments(arun: Starter, form: str) -> None:
    arun.write("shop.py", BROKEN)
    instance = started(arun, form, "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *SLOW)
    with Knocking(instance, arun.address) as client:
        client.wait_for("be right back")
        arun.write("shop.py", good())
        client.wait_for("good")
        assert set(client.statuses) == {"503", "200"}
    assert times_back(instance) == 1
    assert instance.fallbacks() == ["welcome"]


@pytest.mark.parametrize("form", FORMS)
def test_a_port_that_becomes_free_is_taken(arun: Starter, form: str, held: socket.socket) -> None:
    """The client knocks at a second address, which the failed start could bind."""
    other = own_address()
    arun.write("shop.py", good())
    binds = ("--bind", other, "--bind", "{address}", "--bind-retry", "0")
    instance = started(arun, form, "shop.py", *binds, "--fallback-config", "welcome", *SLOW)
    with Knocking(instance, other) as client:
        client.wait_for("be right back")
        assert "address-in-use" in instance.failures()
        held.close()
        client.wait_for("good")
    assert instance.eventually().text == "good"


@pytest.mark.parametrize("form", FORMS)
def test_a_config_is_broken_mended_and_broken_again(arun: Starter, form: str) -> None:
    arun.write("shop.py", good())
    arun.write("site.ini", "[arun]\nbogus = 1\napp = shop.py\nbind = {address}\nfallback-config = welcome\n")
    instance = started(arun, form, "site.ini")
    with Knocking(instance, arun.address) as client:
        client.wait_for("be right back")
        arun.write("site.ini", "[arun]\nrubbish = 1\napp = shop.py\nbind = {address}\nfallback-config = welcome\n")
        instance.wait_for("it would fail now for another reason:\narun: option-unknown: ")
        arun.write("site.ini", "[arun]\napp = shop.py\nbind = {address}\nfallback-config = welcome\n")
        client.wait_for("good")
        arun.write("site.ini", "[arun]\nrubbish = 1\nbind = {address}\n")
        assert set(client.more(50)) == {"200"}
    assert instance.said.count("rubbish") == 1


@pytest.mark.parametrize("form", ["one", "workers"])
def test_a_dependency_that_is_installed_is_found(arun: Starter, form: str) -> None:
    """Its folder is on the import path, and nothing that was read is touched."""
    packages = arun.folder / "packages"
    packages.mkdir()
    arun.write("shop.py", good("import needed"))
    environ = {"PYTHONPATH": str(packages)}
    arguments = ("shop.py", "--bind", "{address}", *talkative(arun), *SLOW)
    instance = started(arun, form, *arguments, env=environ)
    with Knocking(instance, arun.address) as client:
        instance.wait_for("app-dependency-missing")
        instance.wait_for(TRIED)
        arun.write("packages/needed/__init__.py", "")
        client.wait_for("good")


#: How an app in its start-up connects, and says nothing of where to in its failure.
CONNECTS = {
    "uvloop": "await asyncio.open_connection({host!r}, {port})",
    "a socket": "socket.create_connection(({host!r}, {port}))",
    "a path": "await asyncio.open_unix_connection({path!r})",
    "words": "words(({host!r}, {port}))",
}


#: As libpq, which connects in C.
WORDS = """
import asyncio, os, socket, subprocess, sys
def words(address):
    connects = f"import socket; raise SystemExit(socket.socket().connect_ex({address!r}))"
    if subprocess.run([sys.executable, "-c", connects]).returncode:
        raise OSError('connection to server at "db" (%s), port %s failed: Connection refused' % address)
"""


@pytest.mark.parametrize(
    ("form", "how"), [("one", how) for how in CONNECTS] + [("workers", "uvloop"), ("init", "uvloop")]
)
def test_a_refused_dependency_that_answers_is_noticed(arun: Starter, form: str, how: str) -> None:
    host, _, port = own_address().rpartition(":")
    path = arun.folder / "needed.sock"
    connects = CONNECTS[how].format(host=host, port=int(port), path=str(path))
    arun.write("shop.py", good(WORDS, connects))
    ways = ("--recover", "cause")
    instance = started(arun, form, "shop.py", "--bind", "{address}", *talkative(arun), *ways)
    with Knocking(instance, arun.address) as client:
        client.wait_for("be right back")
        assert "app-startup-failed" in instance.failures()
        instance.wait_for(TRIED)
        with contextlib.ExitStack() as needed:
            if how == "a path":
                server = needed.enter_context(socket.socket(socket.AF_UNIX))
                server.bind(str(path))
                server.listen()
            else:
                needed.enter_context(socket.create_server((host, int(port))))
            client.wait_for("good")


@pytest.mark.parametrize("form", FORMS)
def test_a_release_link_that_is_switched_is_followed(arun: Starter, form: str, tmp_path: Path) -> None:
    arun.write("one/shop.py", BROKEN)
    arun.write("two/shop.py", good())
    current = tmp_path / "current"
    current.symlink_to("one")
    instance = started(
        arun,
        form,
        *("shop.py", "--bind", "{address}", *talkative(arun), *SLOW),
        cwd=current,
        env={"PWD": str(current)},
    )
    with Knocking(instance, arun.address) as client:
        client.wait_for("be right back")
        instance.wait_for(TRIED)
        fresh = tmp_path / "fresh"
        fresh.symlink_to("two")
        fresh.replace(current)
        client.wait_for("good")


@pytest.mark.parametrize(("form", "returns"), [("one", 3), ("workers", 10), ("init", 3)])
def test_a_primary_that_fails_though_its_probe_succeeds_is_returned_to_less_and_less_often(
    arun: Starter, form: str, returns: int
) -> None:
    arun.write("shop.py", good("import os\nassert 'ARUN_PROBE' in os.environ"))
    times = ("--recover-interval", "0.05", "--recover-interval-max", "0.4")
    instance = started(arun, form, "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *times)
    with Knocking(instance, arun.address) as client:
        for count in range(1, returns + 1):
            instance.wait_for("going back to the first start", times=count)
            instance.wait_for("this is a fallback", times=count + 1)
        assert set(client.statuses) == {"503"}
        arun.write("shop.py", good())
        client.wait_for("good")
        assert set(client.more(50)) == {"200"}
    assert instance.said.count("app-import-failed: shop.py raised AssertionError (from") >= returns


def test_the_brake_waits_longer_each_time_and_crosses_the_exec(arun: Starter) -> None:
    arun.write(
        "shop.py",
        good(
            "import os, time\nopen('times', 'a').write(f'{time.monotonic()} {os.environ.get(\"ARUN_PROBE\", \"\")}\\n')\nassert 'ARUN_PROBE' in os.environ"
        ),
    )
    times = ("--recover-interval", "0.2", "--recover-interval-max", "3")
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *times)
    instance.wait_for("this is a fallback", times=4)
    real = [
        float(line.split()[0]) for line in (arun.folder / "times").read_text().splitlines() if len(line.split()) == 1
    ]
    gaps = [after - before for before, after in itertools.pairwise(real[1:])]
    assert all(gap > least for gap, least in zip(gaps, (0.2, 0.4), strict=True)), gaps


def test_a_crash_loop_that_is_mended_ends(arun: Starter) -> None:
    """No probe sees that workers die later: the brake holds from the first time on."""
    dies = "'ARUN_PROBE' in os.environ or threading.Timer(0.7, os._exit, (3,)).start()"
    arun.write("shop.py", good("import os, threading", dies))
    crash = ("--crash-limit", "3", "--crash-interval", "30", "--recover-interval", "0.2", "--workers", "2")
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *crash)
    with Knocking(instance, arun.address, dies=True) as client:
        assert "crash-loop" in instance.failures()
        instance.wait_for("this is a fallback", times=2)
        arun.write("shop.py", good())
        until(lambda: assert_good_for_a_second(client), AssertionError)


def assert_good_for_a_second(client: Knocking) -> None:
    """Longer than a worker lives that dies."""
    before, begun = client.cut, time.monotonic()
    while time.monotonic() < begun + 1:
        assert set(client.more(20)) == {"200"}
    assert client.cut == before


@pytest.mark.parametrize("form", FORMS)
def test_sighup_tries_at_once_and_a_try_that_fails_changes_nothing(arun: Starter, form: str) -> None:
    arun.write("shop.py", BROKEN)
    arguments = ("shop.py", "--bind", "{address}", "--fallback-config", "welcome", "--recover", "none")
    instance = started(arun, form, *arguments)
    pid = instance.children()[0] if form == "init" else instance.pid
    with Knocking(instance, arun.address) as client:
        os.kill(pid, signal.SIGHUP)
        instance.wait_for("the first start would fail still, and this fallback stays: app-dependency-missing")
        arun.write("shop.py", good())
        client.more(100)
        assert times_back(instance) == 0
        os.kill(pid, signal.SIGHUP)
        client.wait_for("good")
    assert instance.fallbacks() == ["welcome"]


def test_the_page_says_when_it_is_tried_again(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    times = ("--recover-interval", "100", "--recover-interval-max", "100")
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *times)

    def look() -> None:
        assert 80 < int(instance.get().headers["retry-after"]) <= 110

    until(look, AssertionError)


def test_the_start_up_is_left_out_of_the_probe_where_it_must_not_run_twice(arun: Starter) -> None:
    arun.write(
        "shop.py",
        good(
            "import os\nassert os.path.exists('there')",
            "open('started', 'a').write(os.environ.get('ARUN_PROBE', 'real') + '\\n')",
        ),
    )
    arguments = ("shop.py", "--bind", "{address}", "--fallback-config", "welcome", "--recover-probe", "import")
    instance = started(arun, "one", *arguments)
    arun.write("there", "")
    instance.wait_for("arun running on", times=2)
    assert (arun.folder / "started").read_text() == "real\n"


def test_a_fallback_config_may_say_for_itself_how_it_goes_back(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    arun.write("safe.ini", "[arun]\nbind = {address}\nrecover = signal\n")
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    with Knocking(instance, arun.address) as client:
        arun.write("shop.py", good())
        client.more(100)
        assert times_back(instance) == 0
        instance.send(signal.SIGHUP)
        client.wait_for("good")


def test_a_file_that_is_missing_is_waited_for(arun: Starter) -> None:
    arun.write("shop.py", good("open('key.txt').read()"))
    instance = started(arun, "one", "shop.py", "--bind", "{address}", *talkative(arun), *SLOW)
    with Knocking(instance, arun.address) as client:
        instance.wait_for(TRIED)
        arun.write("key.txt", "")
        client.wait_for("good")


def test_a_start_that_ends_without_a_word_is_tried_when_its_app_changes(arun: Starter) -> None:
    arun.write("shop.py", "import os\nos._exit(3)\n")
    instance = started(arun, "workers", "shop.py", "--bind", "{address}", *talkative(arun), *SLOW)
    with Knocking(instance, arun.address) as client:
        instance.wait_for(TRIED)
        arun.write("shop.py", good())
        client.wait_for("good")


def test_a_probe_makes_and_removes_no_socket_file(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    path = arun.folder / "shop.sock"
    often = ("--recover-interval", "0.05", "--recover-interval-max", "0.05", "--log-level", "debug")
    instance = started(arun, "one", "shop.py", "--uds", str(path), "--fallback-config", "safe.ini", *often)
    assert not path.exists()  # the fallback does not want it
    path.write_text("not ours")
    instance.wait_for("it would fail now for another reason:\narun: address-in-use: ")
    assert path.read_text() == "not ours"
    path.unlink()
    instance.wait_for("it would fail now for another reason:", times=2)
    assert not path.exists()
