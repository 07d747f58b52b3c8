"""Coming from uWSGI: what has an equivalent works, what changes nothing is silent, what would change the site is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from arun.core.addresses import Tcp
from arun.settings.declaration import named
from arun.settings.elsewhere import meaning
from arun.settings.settings import Settings

if TYPE_CHECKING:
    from tests.settings.conftest import Folder

UNSUPPORTED = "option-unsupported"


def said(folder: Folder, lines: str) -> Settings:
    """Return the settings of a section of uWSGI."""
    folder.write("site.ini", f"[uwsgi]\n{lines}\n")
    return folder.settings("site.ini")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("site.ini", "[uwsgi]\nhttp = :8080\nlisten = 64\n"),
        ("site.yaml", "uwsgi:\n  http: :8080\n  listen: 64\n"),
        ("site.toml", '[uwsgi]\nhttp = ":8080"\nlisten = 64\n'),
        ("site.json", json.dumps({"uwsgi": {"http": ":8080", "listen": 64}})),
    ],
)
def test_the_router_of_uwsgi_is_an_address_in_every_format(folder: Folder, name: str, text: str) -> None:
    folder.write(name, text)
    settings = folder.settings(name)
    assert (settings.bind, settings.backlog) == ((Tcp("0.0.0.0", 8080),), 64)
    assert folder.layers(name).warnings == ()


#: A line of uWSGI, the option of arun that says it, and its value.
EQUIVALENTS: list[tuple[str, str, Any]] = [
    ("http11-socket = :1", "bind", (Tcp("0.0.0.0", 1),)),
    ("socket = :1\nprotocol = http", "bind", (Tcp("0.0.0.0", 1),)),
    ("buffer-size = 32768", "limit-request-head", 32768),
    ("buffer-size = 32768", "limit-request-line", 32768),
    ("buffer-size = 32768", "limit-request-field-size", 32768),
    ("buffer-size = 512", "limit-request-head", 1024),
    ("processes = 3", "workers", 3),
    ("harakiri = 30", "timeout-request", 30.0),
    ("max-requests-delta = 7", "max-requests-jitter", 7),
    ("evil-reload-on-rss = 1", "reload-on-rss", 1 << 20),
    ("reload-mercy = 8", "timeout-graceful-shutdown", 8.0),
    ("http-timeout = 70", "timeout-body", 70.0),
    ("http-timeout = 70", "timeout-write", 70.0),
    ("http-keepalive = 33", "timeout-keep-alive", 33.0),
    ("so-send-timeout = 9", "timeout-write", 9.0),
    ("limit-post = 1000", "limit-request-body", 1000),
    ("logto2 = x.log", "log-file", "x.log"),
    ("logger = file:x.log", "log-file", "x.log"),
    ("req-logger = file:x.log", "access-logfile", "x.log"),
    ("daemonize2 = x.log", "daemonize", "x.log"),
    ("safe-pidfile = x.pid", "pidfile", "x.pid"),
    ("touch-chain-reload = x", "touch-reload", ("x",)),
    ("fs-reload = x", "touch-reload", ("x",)),
    ("chmod = 660", "chmod-socket", 0o660),
    ("enable-proxy-protocol = true", "proxy-protocol", True),
    ("immediate-uid = www", "uid", "www"),
    ("force-cwd = /srv", "chdir", "/srv"),
    ("logformat = x", "access-log", True),
]


@pytest.mark.parametrize(("lines", "name", "value"), EQUIVALENTS)
def test_what_has_an_equivalent_works_without_a_word(folder: Folder, lines: str, name: str, value: object) -> None:
    assert said(folder, lines).value(name) == value
    assert folder.layers("site.ini").warnings == ()


def test_the_address_of_a_tls_router_has_its_certificate(folder: Folder) -> None:
    (secure,) = said(folder, "https = :8443,a.crt,a.key").https_socket
    assert (secure.address, secure.certfile, secure.keyfile) == (Tcp("0.0.0.0", 8443), "a.crt", "a.key")


def test_a_number_behind_an_equals_sign_is_a_shared_socket_that_is_served_anyway(folder: Folder) -> None:
    settings = said(folder, "shared-socket = :80\nhttp = =0\nhttp-socket = =0")
    assert (settings.shared_socket, settings.bind) == ((Tcp("0.0.0.0", 80),), ())
    assert folder.settings("--shared-socket", ":80", "--http", "=0").bind == ()
    assert folder.problem("--http-socket", "=0").cause.identifier == "option-invalid"


def test_lines_of_requests_have_the_values_that_uwsgi_names(folder: Folder) -> None:
    settings = said(folder, 'logformat = %(addr) - [%(ltime)] "%(method) %(uri)" %(status) %(var.HTTP_X_ID) 5%% %(vsz)')
    assert settings.access_logformat == '%(h)s - %(t)s "%(m)s %U%q" %(s)s %{X-ID}i 5%% -'


def test_a_placeholder_in_the_format_of_lines_is_replaced(folder: Folder) -> None:
    assert said(folder, "set-ph = site=shop\nlog-format = %(site) %(addr)").access_logformat == "shop %(h)s"


def test_a_format_with_atoms_is_that_of_requests_wherever_it_stands(folder: Folder) -> None:
    """The log-format of arun itself is the form of its lines, a word."""
    folder.write("site.ini", "[arun]\nlog-format = %(addr) %(status)\n")
    for settings in (folder.settings("site.ini"), folder.settings("--log-format", "%(addr) %(status)")):
        assert (settings.access_logformat, settings.access_log, settings.log_format) == ("%(h)s %(s)s", True, None)
    assert said(folder, "log-format = shop").access_logformat == "shop"
    folder.write("own.ini", "[arun]\nlog-format = json\n")
    assert folder.settings("own.ini").log_format == "json"
    problem = folder.problem("--log-format", "%h %U")
    assert problem.sentence == "log-format: '%h %U' is none of text, json, plain"
    assert "access-logformat" in problem.hint


@pytest.mark.parametrize(
    "lines",
    [
        "die-on-term = true\nlazy-apps = true\nsingle-interpreter = true\nmaster = true\nenable-threads = true",
        "thunder-lock = true\nstrict = true\nplugins = python3\nplugin = http,router_static\nmemory-report = true",
        "auto-procname = true\nprocname-prefix = shop-\npost-buffering = 1\noffload-threads = 4\nso-keepalive = true",
        "wsgi-disable-file-wrapper = true\nhttp-keepalive\nhttp-processes = 2\nprotocol = http\nignore-sigpipe",
        "static-index = index.html\nroute-run = false\nmules = 0",
    ],
)
def test_what_changes_nothing_is_silent(folder: Folder, lines: str) -> None:
    said(folder, lines)
    assert folder.layers("site.ini").warnings == ()


def test_what_only_uwsgi_does_beside_the_site_is_one_line(folder: Folder) -> None:
    said(folder, "cheaper = 2\nstats = :9191\nown-key = 3\ncheaper = 2\nhttp = :1")
    (line,) = folder.layers("site.ini").warnings
    assert line == (
        "arun does without cheaper (all workers run all the time), stats (arun has no statistics of its own), "
        "own-key (uWSGI does not know it either)"
    )


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("socket = :3031", "use bind"),
        ("uwsgi-socket = /run/x", "use bind"),
        ("fastcgi-socket = :9000", "use bind"),
        ("protocol = fastcgi", "use bind"),
        ("mount = /x=app.py", "root-path"),
        ("static-map = /static=/srv", "proxy"),
        ("static-map2 = /static=/srv", "proxy"),
        ("check-static = /srv", "proxy"),
        ("route = ^/x redirect:/y", "proxy"),
        ("response-route-status = 500 break:", "proxy"),
        ("error-page-404 = /x.html", "proxy"),
        ("http-to-https = :80", "redirect"),
        ("add-header = X-Frame-Options: DENY", "app"),
        ("attach-daemon = redis-server", "service"),
        ("smart-attach-daemon = x y", "service"),
        ("cron = 59 2 -1 -1 -1 ./x", "timer"),
        ("spooler = /srv/spool", "service"),
        ("mule = worker.py", "service"),
        ("cache2 = name=x", "Redis"),
        ("emperor = /etc/vassals", "one instance"),
        ("vhost = true", "one instance"),
        ("subscribe-to = 127.0.0.1:1", "proxy"),
        ("fastrouter = :1", "proxy"),
        ("gevent = 100", "threads"),
        ("plugins = python3,gevent", "threads"),
        ("plugin = php", "Python"),
        ("psgi = app.pl", "Python"),
        ("chroot = /srv", "container"),
        ("exec-pre-app = ./manage.py migrate", "ExecStartPre"),
        ("hook-as-root = x", "systemd"),
        ("import = tasks", "module"),
        ("abstract-socket = true", "unix:@NAME"),
        ("xml = x.xml", "include"),
        ("envdir = /srv/env", "systemd"),
    ],
)
def test_what_would_change_the_site_is_refused_with_what_to_do_instead(folder: Folder, line: str, hint: str) -> None:
    folder.write("site.ini", f"[uwsgi]\n{line}\n")
    problem = folder.problem("site.ini")
    assert (problem.cause.identifier, problem.origin) == (UNSUPPORTED, "site.ini:2")
    assert line.partition(" ")[0] in problem.sentence
    assert hint in problem.hint


def test_all_that_is_refused_is_told_at_once(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nmount = /=x\nport = abc\nstatic-map = /=x\nroute-run = x\n")
    found = {(one.cause.identifier, one.origin) for one in folder.rejected("site.ini").problems}
    assert found == {
        (UNSUPPORTED, "site.ini:2"),
        ("option-invalid", "site.ini:3"),
        (UNSUPPORTED, "site.ini:4"),
        (UNSUPPORTED, "site.ini:5"),
    }


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ((), "ignore = mount\nignore = static-map"),
        ((), "ignore = mount, static_map"),
        (("--ignore", "mount", "--ignore=static-map"), ""),
        (("--ignore", "mount"), "ignore = static-map"),
    ],
)
def test_what_somebody_knows_about_is_ignored(folder: Folder, words: tuple[str, ...], extra: str) -> None:
    folder.write("site.ini", f"[uwsgi]\nhttp = :1\nmount = /=x\nstatic-map = /=x\ncheaper = 1\n{extra}\n")
    assert folder.settings("site.ini", *words).bind == (Tcp("0.0.0.0", 1),)


def test_an_ignored_key_is_not_even_a_line(folder: Folder) -> None:
    said(folder, "cheaper = 2\nignore = cheaper")
    assert folder.layers("site.ini").warnings == ()


def test_what_is_refused_in_a_file_is_refused_on_the_command_line(folder: Folder) -> None:
    problem = folder.problem("--static-map", "/static=/srv", "--threads", "3")
    assert (problem.cause.identifier, problem.origin) == (UNSUPPORTED, "--static-map")
    assert "--ignore static-map" in problem.hint
    assert folder.settings("--static-map", "/x=y", "--ignore", "static-map", "app.py").app == "app.py"


def test_it_is_refused_in_a_section_of_arun_as_well(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nmount = /=x\n")
    assert folder.problem("site.ini").cause.identifier == UNSUPPORTED


def test_a_key_that_serves_as_a_placeholder_counts_all_the_same(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nmount = /srv\nbase = /srv\nchdir = %(mount)\numask = 022\nenv = A=%(base)\n")
    assert folder.problem("site.ini").cause.identifier == UNSUPPORTED


@pytest.mark.parametrize("key", ["home", "virtualenv", "venv", "pyhome"])
def test_the_environment_that_runs_arun_may_be_named(folder: Folder, key: str) -> None:
    said(folder, f"{key} = {sys.prefix}/")
    assert folder.layers("site.ini").warnings == ()


def test_another_environment_is_refused_with_the_commands_that_start_it(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nhome = venv\n")
    problem = folder.problem("site.ini")
    assert problem.cause.identifier == UNSUPPORTED
    assert f"{folder.path}/venv/bin/pip install arun-server, and start {folder.path}/venv/bin/arun" in problem.hint
    folder.write("venv/bin/arun", "")
    assert "pip" not in folder.problem("site.ini").hint


def test_a_slip_in_a_section_of_uwsgi_is_told(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nhtpp-socket = :1\nstatik-map = /=x\n")
    problems = folder.rejected("site.ini").problems
    assert [one.cause.identifier for one in problems] == ["option-unknown"] * 2
    assert "http-socket" in problems[0].hint
    assert "static-map" in problems[1].hint


def test_under_strict_every_unknown_key_is_told(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nstrict = true\nown-key = 1\n")
    assert folder.problem("site.ini").cause.identifier == "option-unknown"


def test_every_option_of_uwsgi_has_a_place() -> None:
    text = Path(__file__).with_name("names_of_uwsgi.txt").read_text(encoding="utf-8")
    foreign = [word.replace("_", "-") for word in text.split() if word.removesuffix("=") not in named(Settings)]
    assert [word for word in foreign if meaning(word.removesuffix("=")) is None] == []
    assert len(text.split()) > 800
    # whether the next word of a command line belongs to it, as uWSGI 2.0.30 was seen to decide
    found = {word: meaning(word.removesuffix("=")) for word in foreign}
    assert [word for word, one in found.items() if one is None or one.takes_value is not word.endswith("=")] == []


@pytest.mark.parametrize("key", ["home", "http", "socket", "worker-class", "logformat", "buffer-size", "plugin"])
@pytest.mark.parametrize("value", ["", " ="])
def test_a_key_without_its_value_is_told(folder: Folder, key: str, value: str) -> None:
    folder.write("site.ini", f"[uwsgi]\n{key}{value}\n")
    assert folder.problem("site.ini").cause.identifier == "option-invalid"


@pytest.mark.parametrize(
    "key", ["home", "http", "mount", "plugin", "worker-class", "cheaper", "own-key", "logformat", "ignore"]
)
def test_a_table_where_none_belongs_is_never_a_traceback(folder: Folder, key: str) -> None:
    folder.write("site.yaml", f"uwsgi:\n  {key}: {{a: b}}\n  mount: x\n")
    assert folder.rejected("site.yaml").problems


def test_an_environment_counts_from_the_folder_that_is_entered(folder: Folder) -> None:
    folder.write("site.ini", f"[uwsgi]\nchdir = {sys.prefix}\nhome = .\n")
    assert folder.settings("site.ini").chdir == sys.prefix


@pytest.mark.parametrize(
    "line", ["buffer-size = 64kb", "http-timeout = soon", "reload-mercy = x", "socket-timeout = -1"]
)
@pytest.mark.parametrize("section", ["uwsgi", "arun"])
def test_a_wrong_value_is_told_once_under_the_name_that_was_written(folder: Folder, section: str, line: str) -> None:
    folder.write("site.ini", f"[{section}]\n{line}\n")
    problem = folder.problem("site.ini")
    assert problem.sentence.startswith(f"{line.partition(' ')[0]}: ")
    assert problem.origin == "site.ini:2"


IGNORED = [
    ("static-map", ()),
    ("static-map,cron", ()),
    ("statik-map", ("ignore: 'statik-map' is no option of another runner; did you mean static-map? (from --ignore)",)),
    ("cron, zzzz", ("ignore: 'zzzz' is no option of another runner (from --ignore)",)),
    ("workers", ("ignore: 'workers' is an option of arun (from --ignore)",)),
]


@pytest.mark.parametrize(("names", "warnings"), IGNORED)
def test_a_name_that_nothing_has_cannot_be_ignored(folder: Folder, names: str, warnings: tuple[str, ...]) -> None:
    assert folder.layers("--ignore", names).warnings == warnings


def test_what_only_this_config_has_can_be_ignored(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nharakirii = 3\nignore = harakirii\n")
    assert folder.layers("site.ini").warnings == ()
    folder.settings("site.ini")


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_config_of_gunicorn_in_the_folder_is_one_warning_that_can_be_quieted(
    folder: Folder,
    is_ignored: bool,  # noqa: FBT001 - the value under test
) -> None:
    folder.write("gunicorn.conf.py", "workers = 4\n")
    words = ["--ignore", "gunicorn.conf.py"] if is_ignored else []
    assert len(folder.layers(*words).warnings) == (0 if is_ignored else 1)
