"""Settings that cannot be taken: each mistake is named with its place, and never keeps the fallback from answering."""

from __future__ import annotations

import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from tests.process.conftest import FailingStart, Starter

INVALID, UNKNOWN, MALFORMED = "option-invalid", "option-unknown", "config-malformed"


class Row(NamedTuple):
    """Arguments, files and environment of a start that fails with one identifier; ``told`` is a regex of its sentence."""

    arguments: str
    fails: str
    told: str
    files: dict[str, str] = {}  # noqa: RUF012 - never changed
    env: dict[str, str] = {}  # noqa: RUF012 - never changed


ROWS = {
    "unknown option": Row("--frobnicate", UNKNOWN, r"no option --frobnicate \(from command line\)"),
    "option misspelt": Row("--http-soket :0", UNKNOWN, r"--http-soket .*\n.*did you mean --http-socket\?"),
    "wrong type on the command line": Row("--port abc", INVALID, r"port: 'abc' .*\(from --port\)"),
    "wrong type in the environment": Row("", INVALID, r"port: 'abc' .*\(from ARUN_PORT\)", env={"ARUN_PORT": "abc"}),
    "wrong type in ini": Row("a.ini", INVALID, r"port: 'abc' .*\(from a.ini:2\)", {"a.ini": "[arun]\nport = abc\n"}),
    "wrong type in toml": Row("a.toml", INVALID, r"port: 'abc' .*\(from a.toml:2\)", {"a.toml": '\nport = "abc"\n'}),
    "wrong type in json": Row("a.json", INVALID, r"port: 'abc' .*\(from a.json:2\)", {"a.json": '{\n"port": "abc"}'}),
    "wrong type in yaml": Row("a.yaml", INVALID, r"port: 'abc' .*\(from a.yaml:2\)", {"a.yaml": "#\nport: abc\n"}),
    "value left out": Row("--chdir", INVALID, r"--chdir takes a value"),
    "no truth value": Row("--need-app=banana", INVALID, r"need-app: 'banana' is neither yes nor no"),
    "port out of range": Row("--bind :99999", INVALID, r"bind: .*99999 is not a port"),
    "no IP address": Row("--bind 999.1.2.3:80", INVALID, r"bind: .*'999.1.2.3' is not an IP address"),
    "one app too many": Row("a.py b.py", INVALID, r"'b.py' is one argument too many"),
    "config missing": Row("nope.ini", "config-missing", r"nope.ini is not there \(from command line\)"),
    "config a directory": Row("--config .", "config-unreadable", r"is a directory"),
    "config that cannot be read": Row("--config /proc/self/mem", "config-unreadable", r"cannot be read: input/output"),
    "config empty": Row("a.ini", MALFORMED, r"a.ini is empty", {"a.ini": ""}),
    "config without its section": Row(
        "a.ini", "config-section-missing", r"a.ini .*\n.*hint: .*\[arun\]", {"a.ini": "[web]\nport = 1\n"}
    ),
    "section missing": Row("a.ini:web", "config-section-missing", r"web", {"a.ini": "[arun]\nport = 1\n"}),
    "included config missing": Row(
        "a.ini", "config-missing", r"b.ini is not there \(from a.ini:2\)", {"a.ini": "[arun]\ninclude = b.ini\n"}
    ),
    "include loop": Row(
        "a.ini",
        "config-include-loop",
        r"a.ini includes itself: a.ini -> b.ini -> a.ini \(from b.ini:2\)",
        {"a.ini": "[arun]\ninclude = b.ini\n", "b.ini": "[arun]\ninclude = a.ini\n"},
    ),
    "include loop over formats": Row(
        "a.toml",
        "config-include-loop",
        r"a.toml -> b.json -> a.toml",
        {"a.toml": 'include = "b.json"\n', "b.json": '{"include": "a.toml"}'},
    ),
    "unknown magic variable": Row("a.ini", INVALID, r"%x .*\(from a.ini:2\)", {"a.ini": "[arun]\nchdir = %x\n"}),
    "unset variable": Row("a.ini", INVALID, r"\$\(NOPE\) is not set", {"a.ini": "[arun]\nchdir = $(NOPE)\n"}),
    "unknown key in ini": Row(
        "a.ini", UNKNOWN, r"key pidfil \(from a.ini:2\)\n.*did you mean pidfile\?", {"a.ini": "[arun]\npidfil = x\n"}
    ),
    "what arun cannot do, in ini": Row(
        "a.ini",
        "option-unsupported",
        r"mount .*\(from a.ini:3\)\n.*root-path",
        {"a.ini": "[uwsgi]\nhttp = 127.0.0.1:0\nmount = /x=app.py\n"},
    ),
    "what arun cannot do, on the command line": Row(
        "--static-map /x=y", "option-unsupported", r"--static-map .*\n.*proxy.*--ignore static-map"
    ),
    "gunicorn's config": Row(
        "-c gunicorn.conf.py app:app", "option-unsupported", r"gunicorn.conf.py is a program in Python"
    ),
    "unknown key in toml": Row(
        "a.toml", UNKNOWN, r"pidfil \(from a.toml:2\)\n.*did you mean pidfile\?", {"a.toml": '#\npidfil = "x"\n'}
    ),
    "unknown key in json": Row(
        "a.json", UNKNOWN, r"pidfil \(from a.json:2\)\n.*did you mean pidfile\?", {"a.json": '{\n"pidfil": "x"}'}
    ),
    "unknown key in yaml": Row(
        "a.yaml", UNKNOWN, r"pidfil \(from a.yaml:2\)\n.*did you mean pidfile\?", {"a.yaml": "#\npidfil: x\n"}
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_mistake_in_the_settings_is_named_and_the_fallback_answers(failing_start: FailingStart, row: Row) -> None:
    for name, content in row.files.items():
        failing_start.arun.write(name, content)

    said = failing_start(*row.arguments.split(), fails=[row.fails], env=row.env)

    assert re.search(f"^arun: {row.fails}: .*{row.told}", said, re.MULTILINE), said
    assert "*** Starting" not in said  # a mistake is reported before anything is done


MISSING = "certificate-missing"


@pytest.mark.parametrize(
    ("words", "fails", "sentences"),
    [
        (
            "--workers 2 --no-supervise --ssl-cert-reqs required app.py",
            [INVALID, INVALID],
            ["2 workers need a supervisor", "needs TLS"],
        ),
        (
            "--workers 2 --no-supervise --ssl-cert-reqs required --port abc app.py",
            [INVALID, INVALID, INVALID],
            ["port: 'abc'", "2 workers need a supervisor", "it also needs the authorities"],
        ),
        (
            "--ssl-certfile a.pem --ssl-ciphers banana --workers 2 --no-supervise app.py",
            [INVALID, INVALID],
            ["ssl-ciphers: 'banana' names no cipher", "2 workers need a supervisor"],
        ),
        (
            "--https-socket 127.0.0.1:1 --workers 2 --no-supervise app.py",
            [INVALID, MISSING],
            ["2 workers need a supervisor", "TLS is asked for, and no certificate is named"],
        ),
        (
            "--https-socket 127.0.0.1:1,a,b --https-socket 127.0.0.1:2,a,b,HIGH,ca --ssl-cert-reqs required --port x",
            [INVALID, INVALID],
            ["port: 'x'", "ssl-cert-reqs: required needs the authorities"],
        ),
        (
            "--https-socket 127.0.0.1:1,a,b,banana --wsgi-file shop.py cart.py",
            [INVALID, INVALID],
            ["https-socket: 'banana' names no cipher", "two apps are named"],
        ),
    ],
)
def test_mistakes_that_show_in_the_settings_are_all_reported_before_anything_is_done(
    failing_start: FailingStart, words: str, fails: list[str], sentences: list[str]
) -> None:
    said = failing_start(*words.split(), fails=fails)
    assert "*** Starting" not in said
    for sentence in sentences:
        assert said.count(sentence) == 1


def test_a_reload_is_refused_for_what_contradicts_itself_with_all_of_it(arun: Starter) -> None:
    arun.write(
        "app.py", "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'own']\n"
    )
    arun.write("site.ini", "[arun]\nbind = {address}\nsupervise = true\n")
    instance = arun("site.ini", "app.py").ready()
    instance.wait_for("serving app.py")
    arun.write("site.ini", "[arun]\nbind = {address}\nsupervise = no\nworkers = 2\nssl-cert-reqs = required\n")
    instance.send(signal.SIGHUP)
    said = instance.wait_for("the old workers go on")
    for told in ("2 workers need a supervisor", "needs TLS", "needs the authorities"):
        assert told in said
    assert instance.get().text == "own"


#: A sound line, the line that names the fallback, and a line that the format's grammar refuses.
FORMATS = {
    "ini": ("[arun]\n{}\n{}\n", "fallback-config = safe.ini", "threads 8 = 8 8"),
    "toml": ("threads = 8\n{}\n{}\n", 'fallback-config = "safe.ini"', "bind = = 1"),
    "json": ('{{"threads": 8,\n{},\n{}\n}}\n', '"fallback-config": "safe.ini"', '"bind": oops'),
    "yaml": ("threads: 8\n{}\n{}\n", "fallback-config: safe.ini", "bind: ] {"),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_malformed_line_before_or_after_the_key_does_not_hide_the_fallback(
    failing_start: FailingStart, suffix: str, place: str
) -> None:
    template, key, fault = FORMATS[suffix]
    lines = (fault, key) if place == "before" else (key, fault)
    failing_start.arun.write(f"site.{suffix}", template.format(*lines))

    instance = failing_start.falls_back(f"site.{suffix}", fails=[MALFORMED])

    line = 2 if place == "before" else 3
    assert re.search(rf"^arun: config-malformed: .*\(from site.{suffix}:{line}\)$", instance.said, re.MULTILINE)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_malformed_config_without_a_fallback_ends_with_status_1(failing_start: FailingStart, suffix: str) -> None:
    template, _, fault = FORMATS[suffix]
    failing_start.arun.write(f"site.{suffix}", template.format(fault, fault))

    said = failing_start.alone(f"site.{suffix}", fails=[MALFORMED] * (2 if suffix == "ini" else 1))

    assert f"(from site.{suffix}:2)" in said


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_config_that_is_not_utf_8_is_named_with_its_line_and_still_names_its_fallback(
    failing_start: FailingStart, suffix: str, place: str
) -> None:
    template, key, _ = FORMATS[suffix]
    fault = {"ini": "chdir = é", "toml": 'chdir = "é"', "json": '"chdir": "é"', "yaml": "chdir: é"}[suffix]
    lines = (fault, key) if place == "before" else (key, fault)
    (failing_start.arun.folder / f"site.{suffix}").write_bytes(template.format(*lines).encode("latin-1"))

    instance = failing_start.falls_back(f"site.{suffix}", fails=[MALFORMED])

    line = 2 if place == "before" else 3
    assert f"site.{suffix} is not UTF-8 (from site.{suffix}:{line})" in instance.said


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_wrong_value_before_the_key_does_not_hide_the_fallback(failing_start: FailingStart, suffix: str) -> None:
    template, key, _ = FORMATS[suffix]
    fault = {"ini": "port = abc", "toml": 'port = "abc"', "json": '"port": "abc"', "yaml": "port: abc"}[suffix]
    failing_start.arun.write(f"site.{suffix}", template.format(fault, key))

    instance = failing_start.falls_back(f"site.{suffix}", fails=[INVALID])

    assert f"port: 'abc' is not a whole number from 0 to 65535 (from site.{suffix}:2)" in instance.said


@pytest.mark.parametrize(
    "env",
    [{"ARUN_FALLBACK_CONFIG": "safe.ini"}, {"ARUN_CMD_ARGS": "--fallback-config safe.ini"}],
    ids=lambda env: next(iter(env)),
)
def test_the_environment_names_the_fallback_too(failing_start: FailingStart, env: dict[str, str]) -> None:
    failing_start.falls_back("--frobnicate", fails=[UNKNOWN], env=env)


def test_a_section_of_the_faulty_file_can_be_the_fallback(arun: Starter) -> None:
    """The same file is another config by its section, and no loop."""
    site = arun.write("site.ini", "[arun]\nport = abc\nfallback-config = :safe\n[safe]\nbind = {address}\n")

    instance = arun("site.ini")

    assert instance.eventually().status == 503
    assert (instance.failures(), instance.fallbacks()) == ([INVALID], ["site.ini:safe"])
    assert instance.argv()[-1] == f"{site}:safe"


def test_without_pyyaml_a_yaml_config_states_what_to_install_and_still_names_its_fallback(
    failing_start: FailingStart,
) -> None:
    failing_start.arun.write("hidden/yaml.py", "raise ImportError('hidden by the test')\n")
    failing_start.arun.write("site.yaml", "threads: 8\nfallback-config: safe.ini\n")
    env = {"PYTHONPATH": str(failing_start.arun.folder / "hidden")}

    instance = failing_start.falls_back("site.yaml", fails=["config-format-unavailable"], env=env)

    assert "pip install" in instance.said


def test_the_fallback_obeys_neither_the_old_command_line_nor_the_environment(failing_start: FailingStart) -> None:
    """A reset to factory defaults: ARUN_PORT is the fault here, and would be again."""
    instance = failing_start.falls_back(
        "--welcome-status=418", "--fallback-config=safe.ini", fails=[INVALID], env={"ARUN_PORT": "abc"}
    )

    assert "ARUN_PORT" not in instance.said.partition("!!! Fallback config")[2].partition("this is a fallback")[0]


def test_the_config_of_a_folder_names_a_fallback_beside_itself(failing_start: FailingStart) -> None:
    """The path counts from the file that names it, wherever the process was started."""
    failing_start.arun.write("etc/site.ini", "[arun]\nfallback-config = ../safe.ini\nport = abc\n")

    failing_start.falls_back("etc/site.ini", fails=[INVALID])


def test_all_problems_are_reported_at_once_each_with_its_place(failing_start: FailingStart) -> None:
    failing_start.arun.write("a.ini", "[arun]\nport = abc\nbakclog = 5\nthis is no line\n")
    fails = [UNKNOWN, MALFORMED, UNKNOWN, INVALID, INVALID]

    said = failing_start("a.ini", "--frobnicate", "--uid", "", fails=fails)

    for place in ("a.ini:2", "a.ini:3", "a.ini:4", "command line", "--uid"):
        assert said.count(f"(from {place})") == 1, said


@pytest.mark.parametrize(
    ("mistake", "fails"),
    [
        ("--frobnicate", UNKNOWN),
        ("--log-level=banana", INVALID),
        ("--chdir=/nowhere", "directory-unusable"),
        ("--uid=nosuch", "user-unknown"),
    ],
)
@pytest.mark.parametrize("option", ["--bind", "--shared-socket"])
def test_an_address_beside_a_mistake_is_bound_for_a_fallback_that_names_none(
    failing_start: FailingStart, address: str, option: str, mistake: str, fails: str
) -> None:
    """What could be read is not lost: the clients of that address are those that need the answer."""
    failing_start.arun.write("safe.ini", "[arun]\n")
    arguments = (option, address, mistake, "--fallback-config", "safe.ini")

    failing_start.falls_back(*arguments, fails=[fails])


def test_a_config_that_this_user_may_not_read_is_named(public_arun: Starter, stranger: dict[str, Any]) -> None:
    """Provoked as another user, for root reads everything."""
    public_arun.write("safe.ini", "[arun]\nbind = {address}\n")
    public_arun.write("closed.ini", "[arun]\n").chmod(0o000)

    instance = public_arun("closed.ini", "--fallback-config", "safe.ini", **stranger)
    answer = instance.eventually()

    assert (answer.status, instance.failures()) == (503, ["config-unreadable"])
    assert "the config closed.ini cannot be read: permission denied (from command line)" in instance.said
    assert public_arun("closed.ini", **stranger).wait() == 1


def test_a_fallback_app_answers_with_a_status_of_its_own(arun: Starter) -> None:
    arun.write(
        "safe.py",
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [b'the safe app']\n",
    )
    safe = arun.write("safe.ini", "[arun]\nbind = {address}\napp = safe.py\n")

    instance = arun("--frobnicate", "--fallback-config", "safe.ini")
    answer = instance.eventually()

    assert (answer.status, answer.text) == (200, "the safe app")
    assert instance.argv()[-1] == str(safe)
    assert instance.failures() == [UNKNOWN]


@pytest.mark.parametrize("question", ["--help", "--version", "--schema"])
def test_a_mistake_beside_a_question_does_not_start_the_fallback(arun: Starter, question: str) -> None:
    arun.write("safe.ini", "[arun]\nbind = {address}\n")

    instance = arun(question, "--fallback-config", "safe.ini", "--frobnicate", stdout=subprocess.DEVNULL)

    assert (instance.wait(), instance.fallbacks()) == (0, [])
