"""Fallbacks of fallbacks: which config follows which, what it obeys, what it knows, and where a chain ends."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.process.conftest import STRANGER

SAFE = "[arun]\nbind = {address}\n"
ENDS = "[arun]\nbind = {address}\napp = gone.py\n"
OWN = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"own app of the fallback"]
"""
SEES = """
import os
def app(environ, start_response):
    start_response("200 OK", [])
    return ["".join(f"{k}={v}\\n" for k, v in sorted(os.environ.items())).encode()]
"""


def test_fallback_with_an_app_of_its_own_answers_as_that_app(arun: Any) -> None:
    arun.write("own.py", OWN)
    arun.write("safe.ini", SAFE + "app = own.py\n")
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    assert instance.get()[::2] == (200, b"own app of the fallback")
    assert instance.fallbacks() == ["safe.ini"]


@pytest.mark.parametrize("name", ["welcome", "site.ini:safe", "sub/safe.ini", "safe.toml", "safe.json", "safe.yaml"])
def test_fallback_by_each_spelling(arun: Any, name: str) -> None:
    """The built-in page by its name, a section of a file, a relative path, each format."""
    for path, content in FILES.items():
        arun.write(path, content)
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", name).ready()
    assert instance.get().status == 503
    assert instance.fallbacks() == [name]
    if name != "welcome":
        assert instance.argv()[-1] == str(arun.folder / name)


FILES = {
    "site.ini": "[arun]\nuid = nobody-at-all\n[safe]\nbind = {address}\n",
    "sub/safe.ini": SAFE,
    "safe.toml": 'bind = "{address}"\n',
    "safe.json": '{"bind": "{address}"}',
    "safe.yaml": 'bind: "{address}"\n',
}


def test_relative_fallback_counts_from_the_starting_directory(arun: Any) -> None:
    """Whatever --chdir or the app itself did to the working directory since."""
    arun.write("elsewhere/broken.py", "import os\nos.chdir('/')\n1 / 0\n")
    arun.write("safe.ini", SAFE)
    command = ["broken.py", "--chdir", "elsewhere", "--bind", "{address}", "--fallback-config", "safe.ini"]
    instance = arun(*command).ready()
    assert instance.get().status == 503
    assert os.readlink(f"/proc/{instance.pid}/cwd") == str(arun.folder)


def test_relative_fallback_in_a_file_counts_from_that_file(arun: Any) -> None:
    arun.write("conf/site.ini", ENDS + "fallback-config = safe.ini\n")
    arun.write("conf/safe.ini", SAFE)
    instance = arun("conf/site.ini").ready()
    assert instance.get().status == 503
    assert instance.argv()[-1] == str(arun.folder / "conf/safe.ini")


def test_fallback_from_the_environment(arun: Any) -> None:
    arun.write("safe.ini", SAFE)
    instance = arun("gone.py", "--bind", "{address}", env={"ARUN_FALLBACK_CONFIG": "safe.ini"}).ready()
    assert instance.get().status == 503
    assert instance.fallbacks() == ["safe.ini"]


def test_chain_goes_on_until_a_config_works(arun: Any) -> None:
    """A -> b -> c: each failure is reported once, in its order, and c serves in the first process."""
    arun.write("a.ini", ENDS + "fallback-config = b.ini\n")
    arun.write("b.ini", "[arun]\nbind = {address}\nneed-app = banana\nfallback-config = c.ini\n")
    arun.write("c.ini", SAFE)
    instance = arun("a.ini").ready()
    assert instance.get().status == 503
    assert instance.fallbacks() == ["b.ini", "c.ini"]
    assert instance.failures() == ["app-not-found", "option-invalid"]
    assert instance.argv()[-1] == str(arun.folder / "c.ini")


#: First config, the others, what is fallen back to, and every identifier that is reported.
ENDINGS = {
    "missing": ("gone.ini", {}, ["gone.ini"], ["app-not-found", "config-missing"]),
    "malformed": (
        "b.ini",
        {"b.ini": "[arun]\nbind = {address}\n[oops\n"},
        ["b.ini"],
        ["app-not-found", "config-malformed"],
    ),
    "without the section": (
        "b.ini:safe",
        {"b.ini": SAFE},
        ["b.ini:safe"],
        ["app-not-found", "config-section-missing"],
    ),
    "failing": ("b.ini", {"b.ini": ENDS}, ["b.ini"], ["app-not-found", "app-not-found"]),
    "naming itself": (
        "b.ini",
        {"b.ini": ENDS + "fallback-config = b.ini\n"},
        ["b.ini"],
        ["app-not-found", "app-not-found", "fallback-loop"],
    ),
    "naming itself by another path": (
        "b.ini",
        {"b.ini": ENDS + "fallback-config = sub/../b.ini\n", "sub/x": ""},
        ["b.ini"],
        ["app-not-found", "app-not-found", "fallback-loop"],
    ),
    "two naming each other": (
        "b.ini",
        {"b.ini": ENDS + "fallback-config = c.ini\n", "c.ini": ENDS + "fallback-config = b.ini\n"},
        ["b.ini", "c.ini"],
        ["app-not-found"] * 3 + ["fallback-loop"],
    ),
}


@pytest.mark.parametrize("last", ["page", "exit"])
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_chain_that_ends_shows_the_whole_chain_and_comes_to_its_last_resort(
    arun: Any, ending: tuple[str, dict[str, str], list[str], list[str]], last: str
) -> None:
    """Each config is tried once, every link is named with its cause, and the page answers, or the status is 1."""
    name, files, fallen, told = ending
    for path, content in files.items():
        arun.write(path, content)
    arguments = ("gone.py", "--bind", "{address}", "--fallback-config", name)
    instance = arun(*arguments, *(("--last-resort", "exit") if last == "exit" else ()))
    assert_last_resort(instance, last)
    assert instance.fallbacks() == fallen + ["welcome"] * (last == "page")
    assert instance.failures() == told
    chain = re.split(r"arun: starts that failed in this chain: \d+\n", instance.said)[-1]
    links = re.findall(r"^arun:   (\S.*?): ([a-z-]+): ", chain, re.MULTILINE)
    assert links == list(zip(["command line", *fallen], [one for one in told if one != "fallback-loop"], strict=True))


def assert_last_resort(instance: Any, last: str = "page") -> None:
    if last == "exit":
        assert instance.wait() == 1
    else:
        answer = instance.ready().get()
        assert (answer.status, "be right back" in answer.text) == (503, True)
        assert instance.stop() == 0


@pytest.mark.parametrize("kind", ["folder", "FIFO", "3 MB of zeros", "device", "1 MB of noise"])
def test_fallback_that_is_no_config_at_all_ends_in_the_page_at_once(arun: Any, kind: str) -> None:
    """Nothing is waited for, and of a hundred thousand mistakes only the first are reported."""
    path = arun.folder / "safe.ini"
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(bytes(3_000_000) if kind == "3 MB of zeros" else b"[arun]\n" + b"x x\n" * 100_000)
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_last_resort(instance)
    assert set(instance.failures()) <= {"app-not-found", "config-unreadable", "config-malformed"}
    assert len(instance.said) < 50_000
    if kind == "1 MB of noise":
        assert "there are 99900 more mistakes like these" in instance.said


OWN_APP = "async def app(scope, receive, send):\n    assert scope['type'] == 'http'\n"
#: What is named as the fallback, and how its fault is told before anything has failed; empty for none.
BROKEN = {
    "missing": ("gone.ini", "config-missing: the config {folder}/gone.ini is not there"),
    "folder": ("folder", "config-unreadable: the config {folder}/folder is a directory"),
    "FIFO": ("fifo", "config-unreadable: the config {folder}/fifo is no regular file"),
    "colon": ("a:b/typo.ini", "config-missing: the config {folder}/a:b/typo.ini is not there"),
    "section": (
        "safe.ini:none",
        "config-section-missing: {folder}/safe.ini has no section [none]; it has [arun] (from {folder}/safe.ini)",
    ),
    "key": ("key.ini", "option-unknown: arun has no key no-such (from {folder}/key.ini:2)"),
    "value": (
        "value.ini",
        "option-invalid: bind: 'localhost' has no port: write host:port, :port, unix:/path or fd://number (from {folder}/value.ini:2)",
    ),
    "file of the app": ("app.ini", "app-not-found: there is no file {folder}/gone.py (from {folder}/app.ini:2)"),
    "module of the app": ("mod.ini", "app-not-found: there is no module 'gone' (from {folder}/mod.ini:2)"),
    "folder of the app": ("in.ini", "directory-unusable: there is no directory {folder}/gone (from {folder}/in.ini:2)"),
    "user": ("user.ini", "user-unknown: there is no user 'no-such-user' (from {folder}/user.ini:2)"),
    "certificate": (
        "tls.ini",
        "certificate-missing: there is no file {folder}/gone.pem (from {folder}/tls.ini:2)",
    ),
    "folder of the socket": ("unix.ini", "address-unavailable: there is no folder /gone (from {folder}/unix.ini:2)"),
    "page": (
        "page.ini",
        "file-unusable: cannot serve the page {folder}/gone.html: no such file or directory (from {folder}/page.ini:2)",
    ),
    "fit": ("safe.ini", ""),
    "installed module": ("fit.ini", ""),
    "built-in": ("welcome", ""),
}
CONFIGS = {
    "key.ini": "no-such = 1",
    "value.ini": "bind = localhost",
    "app.ini": "app = gone.py",
    "mod.ini": "app = gone:app",
    "in.ini": "chdir = gone",
    "user.ini": "uid = no-such-user",
    "tls.ini": "ssl-certfile = gone.pem",
    "unix.ini": "uds = /gone/socket",
    "page.ini": "welcome-html = gone.html",
    "fit.ini": "app = arun_welcome:make_app()",
    "a.ini": "app = own.py\nfallback-config = b.ini",
    "b.ini": "fallback-config = a.ini",
}


def _write_configs(arun: Any) -> None:
    (arun.folder / "folder").mkdir()
    os.mkfifo(arun.folder / "fifo")
    arun.write("safe.ini", SAFE)
    arun.write("app.py", OWN_APP)
    arun.write("own.py", OWN_APP)
    arun.write("a", "")
    for name, line in CONFIGS.items():
        arun.write(name, f"[arun]\n{line}\n")


@pytest.mark.parametrize(("name", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_in_a_fallback_is_told_while_nothing_has_failed(arun: Any, name: str, words: str) -> None:
    _write_configs(arun)
    instance = arun("app.py", "--bind", "{address}", "--fallback-config", name).ready()
    told = re.findall(r"^arun: warning: (.*)$", instance.said, re.MULTILINE)
    fault = words.replace("{folder}", str(arun.folder))
    then = f"should this start fail, {name} would fail too; then the welcome page is served"
    assert told == ([f"the fallback config {name}: {fault}", then] if words else [])


def test_the_whole_chain_is_looked_at_with_what_would_follow(arun: Any) -> None:
    _write_configs(arun)
    arun.write("b.ini", "[arun]\napp = gone.py\nfallback-config = a.ini\n")
    instance = arun("app.py", "--bind", "{address}", "--fallback-config", "a.ini", "--last-resort", "exit").ready()
    assert re.findall(r"^arun: warning: (.*)$", instance.said, re.MULTILINE) == [
        f"the fallback config b.ini: app-not-found: there is no file {arun.folder}/gone.py (from {arun.folder}/b.ini:2)",
        "should this start fail, b.ini would fail too; then the instance ends with status 1",
        "fallback-loop: a.ini was tried before in this chain; then the instance ends with status 1",
    ]


def test_a_chain_that_is_too_long_is_told(arun: Any) -> None:
    _write_configs(arun)
    arun.write("a.ini", "[arun]\nfallback-config = safe.ini\nfallback-limit = 1\n")
    instance = arun("app.py", "--bind", "{address}", "--fallback-config", "a.ini").ready()
    assert (
        "warning: fallback-limit: the chain of fallbacks has 1 links, and fallback-limit is 1; then the"
        in instance.said
    )


def test_a_strict_start_fails_with_a_broken_fallback_and_its_last_resort_serves(arun: Any) -> None:
    _write_configs(arun)
    instance = arun("app.py", "--bind", "{address}", "--fallback-config", "key.ini", "--strict-fallback")
    assert instance.ready().get().status == 503
    assert instance.failures() == ["fallback-broken", "option-unknown"]
    assert "fallback-broken: the fallback config key.ini would fail: option-unknown: arun has no key" in instance.said
    assert instance.fallbacks() == ["key.ini", "welcome"]


def test_a_strict_start_with_a_sound_chain_serves(arun: Any) -> None:
    _write_configs(arun)
    arun.write("b.ini", SAFE)
    instance = arun("own.py", "--bind", "{address}", "--fallback-config", "a.ini", "--strict-fallback").ready()
    assert instance.fallbacks() == []


def test_a_strict_reload_with_a_broken_fallback_changes_nothing(arun: Any) -> None:
    _write_configs(arun)
    arun.write("shop.py", OWN)
    line = "--bind", "{address}", "--fallback-config", "safe.ini", "--strict-fallback", "--supervise"
    instance = arun("shop.py", *line).ready()
    (arun.folder / "safe.ini").unlink()
    instance.send(signal.SIGHUP)
    instance.wait_for("reload failed (fallback-broken): the old workers go on")
    assert instance.get().status == 200


def test_fallback_that_this_user_cannot_read_is_reported_while_nothing_has_failed(public_arun: Any) -> None:
    public_arun.write("app.py", OWN_APP)
    public_arun.write("safe.ini", SAFE).chmod(0o600)
    who = {"user": STRANGER, "group": STRANGER, "extra_groups": []}
    instance = public_arun("app.py", "--bind", "{address}", "--fallback-config", "safe.ini", **who).ready()
    assert (
        f"config-unreadable: the config {public_arun.folder}/safe.ini cannot be read: permission denied"
        in instance.said
    )


@pytest.mark.parametrize("name", ["safe.ini", "app.py"])
def test_what_the_dropped_user_cannot_read_is_told_before_the_drop(public_arun: Any, name: str) -> None:
    public_arun.write("app.py", OWN_APP)
    public_arun.write("other.py", OWN_APP)
    public_arun.write("safe.ini", f"{SAFE}app = other.py\n")
    (public_arun.folder / {"app.py": "other.py"}.get(name, name)).chmod(0o600)
    who = "--uid", str(STRANGER), "--gid", str(STRANGER)
    instance = public_arun("app.py", "--bind", "{address}", "--fallback-config", "safe.ini", *who).ready()
    words = {
        "safe.ini": f"config-unreadable: uid {STRANGER} cannot read the config safe.ini",
        "app.py": f"app-not-found: cannot read {public_arun.folder}/other.py as uid {STRANGER} (from ",
    }
    assert f"arun: warning: the fallback config safe.ini: {words[name]}" in instance.said
    assert instance.said.count("arun: warning: ") == 2


def test_the_built_in_page_is_named_as_what_it_is(arun: Any) -> None:
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "welcome").ready()
    assert "\n[arun] getting the built-in configuration, welcome\n" in instance.said
    assert "INI" not in instance.said


def test_fallback_whose_own_workers_die_ends_in_the_page(arun: Any) -> None:
    arun.write("dies.py", "import os\nos._exit(3)\n")
    arun.write("safe.ini", SAFE + "app = dies.py\nworkers = 2\n")
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_last_resort(instance)
    assert instance.fallbacks() == ["safe.ini", "welcome"]


@pytest.mark.parametrize("where", ["first config", "environment", "fallback", "malformed fallback"])
def test_last_resort_is_known_wherever_it_is_said(arun: Any, where: str) -> None:
    """It holds for the whole chain, though the configs of the chain obey nothing else of the first start."""
    says = "last-resort = exit\n"
    arun.write("first.ini", ENDS + "fallback-config = b.ini\n" + says * (where == "first config"))
    arun.write("b.ini", ENDS + "fallback-config = c.ini\n" + says * (where == "fallback"))
    arun.write("c.ini", f"no section\n{says}" if where == "malformed fallback" else ENDS)
    instance = arun("first.ini", env={"ARUN_LAST_RESORT": "exit"} if where == "environment" else {})
    assert instance.wait() == 1
    assert instance.fallbacks() == ["b.ini", "c.ini"]
    assert "arun: starts that failed in this chain: 3\n" in instance.said


def test_fallback_may_ask_for_the_page_where_the_first_start_did_not(arun: Any) -> None:
    arun.write("b.ini", ENDS + "last-resort = page\n")
    assert_last_resort(arun("gone.py", "--bind", "{address}", "--fallback-config", "b.ini", "--last-resort", "exit"))


def test_last_resort_that_is_no_word_is_a_failure_with_the_page(arun: Any) -> None:
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "b.ini", "--last-resort", "die")
    assert_last_resort(instance)
    assert instance.failures() == ["option-invalid", "config-missing"]


def test_last_resort_alone_asks_for_no_fallback(arun: Any) -> None:
    instance = arun("gone.py", "--bind", "{address}", "--last-resort", "page")
    assert instance.wait() == 1
    assert instance.fallbacks() == []


def test_last_resort_is_tried_once(arun: Any) -> None:
    """Where not even the built-in page can be served, the chain is reported, and the status is 1."""
    instance = arun("--no-such-option", "--fallback-config", "b.ini", env={"PORT": "unix:///no/such/folder/socket"})
    assert instance.wait() == 1
    assert instance.fallbacks() == ["b.ini", "welcome"]
    assert instance.failures() == ["option-unknown", "config-missing", "address-unavailable"]
    assert instance.said.count("arun: starts that failed in this chain: 3\n") == 1


def test_config_that_is_started_and_names_itself_is_not_tried_again(arun: Any) -> None:
    arun.write("a.ini", ENDS + "fallback-config = a.ini\n")
    instance = arun("a.ini")
    assert_last_resort(instance)
    assert instance.fallbacks() == ["welcome"]
    assert instance.failures() == ["app-not-found", "fallback-loop"]


@pytest.mark.parametrize(("limit", "fallen"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_chain_is_no_longer_than_its_limit(arun: Any, limit: int, fallen: int) -> None:
    """The last resort is not counted."""
    for number in range(5):
        following = f"fallback-config = {number + 1}.ini\nfallback-limit = {limit}\n"
        arun.write(f"{number}.ini", ENDS + following)
    instance = arun("0.ini")
    assert_last_resort(instance)
    assert len(instance.fallbacks()) == fallen + 1
    assert instance.failures() == ["app-not-found"] * (fallen + 1) + ["fallback-limit"]


@pytest.mark.parametrize("causes", ["none", "listen"])
def test_fallback_on_of_a_fallback_narrows_its_last_resort_too(arun: Any, causes: str) -> None:
    arun.write("b.ini", ENDS + f"fallback-on = {causes}\n")
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "b.ini")
    assert instance.wait() == 1
    assert instance.fallbacks() == ["b.ini"]
    assert f"arun: no fallback to welcome: fallback-on is {causes}\n" in instance.said
    assert "arun: starts that failed in this chain: 2\n" in instance.said


def test_causes_that_cannot_be_read_do_not_take_the_fallback_away(arun: Any) -> None:
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "welcome", "--fallback-on", "lod").ready()
    assert instance.get().status == 503
    assert instance.failures()[0] == "option-invalid"


#: --fallback-on, and whether a missing app falls back.
NARROWED = {
    "all": True,
    "app-not-found": True,
    "load": True,
    "settings,app-not-found": True,
    "app-import-failed": False,
    "listen": False,
    "settings,startup": False,
    "none": False,
}


@pytest.mark.parametrize(("causes", "falls"), NARROWED.items(), ids=NARROWED)
def test_fallback_on_names_the_failures_that_fall_back(arun: Any, causes: str, falls: bool) -> None:  # noqa: FBT001
    arun.write("safe.ini", SAFE)
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini", "--fallback-on", causes)
    if falls:
        assert instance.ready().get().status == 503
        assert instance.stop() == 0
    else:
        assert instance.wait() == 1
    assert instance.fallbacks() == ["safe.ini"] * falls
    assert instance.failures() == ["app-not-found"]
    assert ("arun: no fallback to safe.ini: fallback-on is" in instance.said) is not falls


def test_fallback_takes_its_settings_from_its_config_alone(arun: Any) -> None:
    """Neither the command line nor ARUN_* of the failed start counts: they may be what was wrong."""
    arun.write("own.py", OWN)
    arun.write("safe.ini", SAFE + "app = own.py\n")
    settings = {"ARUN_APP": "gone.py", "ARUN_BIND": "nonsense", "ARUN_START_TIMEOUT": "x", "ARUN_NO_SUCH": "1"}
    options = [
        "--log-level",
        "critical",
        "--chdir",
        "/nowhere",
        "--fallback-config",
        "safe.ini",
        "--uid",
        "nobody-at-all",
    ]
    instance = arun(*options, env=settings).ready()
    assert instance.get().text == "own app of the fallback"
    assert instance.fallbacks() == ["safe.ini"]


def test_fallback_still_reads_the_environment_where_its_config_states_it(arun: Any) -> None:
    arun.write("own.py", SEES)
    arun.write("safe.ini", "[arun]\nbind = $(WHERE)\napp = $(WHAT)\n")
    settings = {"WHERE": arun.address, "WHAT": "own.py"}
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini", env=settings).ready()
    assert f"WHERE={arun.address}\n" in instance.get().text


def test_fallback_without_an_address_listens_where_the_first_start_did(arun: Any) -> None:
    """PORT is a default only: it does not take the fallback away from the inherited address."""
    arun.write("safe.ini", "[arun]\nprint = safe\n")
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini", env={"PORT": "1"}).ready()
    assert instance.get().status == 503


def test_port_is_the_address_of_a_fallback_that_has_no_other(arun: Any) -> None:
    """Where the failed start had bound nothing and the config names nothing, PORT counts."""
    arun.write("safe.ini", "[arun]\nprint = safe\n")
    instance = arun("--no-such-option", "--fallback-config", "safe.ini", env={"PORT": "0"}).ready()
    assert "arun running on http://0.0.0.0:" in instance.said
    assert ":8000 " not in instance.said


#: How the first start asks for causes: arguments, environment, files.
ASKED = {
    "option": (["gone.py", "--debug", "--fallback-config", "welcome"], {}, {}),
    "environment": (["gone.py", "--fallback-config", "welcome"], {"ARUN_DEBUG": "1"}, {}),
    "config": (["site.ini"], {}, {"site.ini": ENDS + "debug = true\nfallback-config = welcome\n"}),
    "beside a mistake": (["gone.py", "--debug", "--bogus", "--fallback-config", "welcome"], {}, {}),
    "last resort": (["gone.py", "--debug", "--fallback-config", "b.ini"], {}, {"b.ini": ENDS}),
    "last resort, asked for on the way": (
        ["gone.py", "--fallback-config", "b.ini"],
        {},
        {"b.ini": ENDS + "debug = on\n"},
    ),
    "fallback that is missing": (["gone.py", "--debug", "--fallback-config", "b.ini"], {}, {}),
}


@pytest.mark.parametrize(("arguments", "env", "files"), ASKED.values(), ids=ASKED)
def test_debug_of_the_first_start_reaches_the_built_in_page(
    arun: Any, arguments: list[str], env: dict[str, str], files: dict[str, str]
) -> None:
    for name, content in files.items():
        arun.write(name, content)
    listen = [] if "site.ini" in arguments else ["--bind", "{address}"]
    instance = arun(*arguments, *listen, env=env).ready()
    assert instance.failures()[0] in instance.get(headers={"Accept": "text/plain"}).text


def test_log_level_of_the_first_start_reaches_the_built_in_fallback(arun: Any) -> None:
    instance = arun("gone.py", "--log-level", "warning", "--fallback-config", "welcome", "--bind", "{address}")
    said = instance.wait_for("this is a fallback")
    assert instance.get().status == 503
    assert "arun running on" not in said


SILENT = {
    "no option": (["gone.py", "--fallback-config", "welcome"], {}),
    "a fallback of the user's goes by its config alone": (
        ["gone.py", "--debug", "--fallback-config", "safe.ini"],
        {"safe.ini": SAFE},
    ),
    "a config on the way said no": (
        ["gone.py", "--debug", "--fallback-config", "b.ini"],
        {"b.ini": ENDS + "debug = false\n"},
    ),
}


@pytest.mark.parametrize(("arguments", "files"), SILENT.values(), ids=SILENT)
def test_page_shows_no_cause_where_no_option_asks_for_it(
    arun: Any, arguments: list[str], files: dict[str, str]
) -> None:
    for name, content in files.items():
        arun.write(name, content)
    answer = arun(*arguments, "--bind", "{address}").ready().get(headers={"Accept": "text/plain"})
    assert (answer.status, "app-not-found" in answer.text) == (503, False)


SECRETS = """
import os
os.environ["LEFT"] = "s3cret-left"
password = "s3cret-local"
raise RuntimeError("cannot connect to postgres://u:s3cret-dsn@db")
"""


def test_neither_secret_nor_traceback_goes_to_argv_or_environment(arun: Any) -> None:
    """What failed crosses the exec in memory: /proc shows none of it, and a client sees nothing."""
    arun.write("broken.py", SECRETS)
    arun.write("safe.ini", SAFE)
    command = ["broken.py", "--bind", "{address}", "--env", "TOKEN=s3cret-env", "--fallback-config", "safe.ini"]
    instance = arun(*command).ready()
    assert "postgres://u:***@db" in instance.said
    assert "s3cret-dsn" not in instance.said
    for name in ("cmdline", "environ"):
        assert b"s3cret" not in Path(f"/proc/{instance.pid}/{name}").read_bytes()
    for kind in ("text/html", "text/plain", "application/problem+json"):
        answer = instance.get(headers={"Accept": kind})
        assert b"s3cret" not in answer.body
        assert b"RuntimeError" not in answer.body


def test_app_of_the_fallback_does_not_see_the_handover(arun: Any) -> None:
    """Its environment is that of the first start, without arun's own variable, and without what the failed app put there."""
    arun.write("broken.py", SECRETS)
    arun.write("own.py", SEES)
    arun.write("safe.ini", SAFE + "app = own.py\n")
    given = {"MINE": "1", "ARUN_LOG_LEVEL": "info"}
    instance = arun("broken.py", "--bind", "{address}", "--fallback-config", "safe.ini", env=given).ready()
    seen = dict(line.split("=", 1) for line in instance.get().text.splitlines())
    assert seen["MINE"] == "1"
    assert "LEFT" not in seen
    assert [name for name in seen if name.startswith("ARUN_HANDOVER")] == []


@pytest.mark.parametrize("number", ["banana", "0", "7", "-1", "999999"])
def test_handover_that_is_none_is_ignored(arun: Any, number: str) -> None:
    """A variable left over in an environment is no reason to fail, nor to close a descriptor in use."""
    arun.write("own.py", OWN)
    instance = arun("own.py", "--bind", "{address}", env={"ARUN_HANDOVER": number}).ready()
    assert instance.get().text == "own app of the fallback"
    assert "ARUN_HANDOVER" in instance.said
    assert instance.descriptors()[0] == "/dev/null"  # it was not closed
    assert instance.failures() == []
