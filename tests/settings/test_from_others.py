"""Coming from gunicorn, uvicorn, hypercorn and granian: each of their options works, is left out in one line, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gunicorn.config  # type: ignore[import-untyped] # it has no types
import pytest
import uvicorn

from arun.core.addresses import Tcp
from arun.settings import SettingsRejected

if TYPE_CHECKING:
    from tests.settings.conftest import Folder

    from arun.core.failures import StartupFailure
    from arun.settings import Settings

UNSUPPORTED = "option-unsupported"

#: Values of options that do not take just any text or number.
VALUES = {
    "--bind": ":1",
    "--cert-reqs": "0",
    "--certfile": "a.crt",
    "--chdir": "/srv",
    "--config": "gunicorn.conf.py",
    "--env": "A=1",
    "--forwarded-allow-ips": "127.0.0.1",
    "--group": "www",
    "--h11-max-incomplete-event-size": "65536",
    "--host": "::1",
    "--http": "h11",
    "--interface": "asgi3",
    "--keyfile": "a.key",
    "--log-level": "INFO",
    "--loop": "uvloop",
    "--asgi-loop": "uvloop",
    "--proxy-allow-from": "127.0.0.1",
    "--proxy-protocol": "v1",
    "--pythonpath": "/a,/b",
    "--root-path": "/x",
    "--ssl-cert-reqs": "0",
    "--ciphers": "HIGH",
    "--ssl-ciphers": "HIGH",
    "--ssl-version": "17",
    "--umask": "022",
    "--user": "www",
    "--worker-class": "sync",
    "--ws": "wsproto",
    "--ws-per-message-deflate": "true",
}


def gunicorns() -> dict[str, bool]:
    """Every flag of gunicorn's command line, and whether it takes a value."""
    settings = gunicorn.config.make_settings().values()
    return {
        flag: one.action in {None, "append"}
        for one in settings
        for flag in one.cli or ()
        if flag not in {"-h", "--help", "--version"}
    }


def uvicorns() -> dict[str, bool]:
    """Every flag of uvicorn's command line, and whether it takes a value."""
    command: Any = uvicorn.main  # made by click
    found: dict[str, bool] = {}
    for one in command.params:
        if one.param_type_name == "option":
            found |= dict.fromkeys((*one.opts, *one.secondary_opts), not one.is_flag)
    return {flag: takes for flag, takes in found.items() if flag not in {"--help", "--version"}}


def value_of(flag: str) -> str:
    shorts = {
        "-b": ":1",
        "-c": "gunicorn.conf.py",
        "-e": "A=1",
        "-g": "www",
        "-k": "sync",
        "-m": "022",
        "-p": "x.pid",
        "-u": "www",
    }
    return (VALUES | shorts).get(flag, "x.file" if "file" in flag or "pid" in flag else "3")


def taken(folder: Folder, *argv: str) -> tuple[Settings, tuple[StartupFailure, ...]]:
    """Return the settings as far as they can be taken, and the problems."""
    try:
        return folder.settings(*argv), ()
    except SettingsRejected as rejected:
        return rejected.partial, rejected.problems


@pytest.mark.parametrize(("flag", "takes_value"), [*gunicorns().items(), *uvicorns().items()])
def test_every_flag_is_known_with_its_value_and_the_app_behind_it(folder: Folder, flag: str, takes_value: bool) -> None:  # noqa: FBT001 - the value under test
    words = [flag, value_of(flag)] if takes_value else [flag]
    words += ["--certfile", "a.crt"] if flag.endswith("keyfile") else []  # a key alone is a mistake
    settings, problems = taken(folder, *words, "shop:app")
    assert {one.cause.identifier for one in problems} <= {UNSUPPORTED}, [one.sentence for one in problems]
    assert settings.app == "shop:app"
    assert all(one.hint != one.cause.hint for one in problems)


@pytest.mark.parametrize("name", [name for name in gunicorn.config.make_settings() if name != "print_config"])
def test_every_name_of_gunicorns_settings_is_known_in_files(folder: Folder, name: str) -> None:
    setting = gunicorn.config.make_settings()[name]
    flag = next((one for one in setting.cli or () if one.startswith("--")), "")
    takes_value = setting.action in {None, "append"}
    value = (value_of(flag) if takes_value else "true").replace("gunicorn.conf.py", "more.ini")
    folder.write("more.ini", "[arun]\n")
    folder.write("site.ini", f"[arun]\n{name} = {value}\n")
    beside = ["--certfile", "a.crt"] if name == "keyfile" else []
    _, problems = taken(folder, "site.ini", *beside)
    assert {one.cause.identifier for one in problems} <= {UNSUPPORTED}, [one.sentence for one in problems]


#: Words of a command line, or a line of a file, the option of arun that says it, and its value.
EQUIVALENTS: list[tuple[list[str], str, Any]] = [
    (["--http", ":8080"], "bind", (Tcp("0.0.0.0", 8080),)),
    (["-t", "30"], "worker-timeout", 30.0),
    (["--timeout", "30"], "worker-timeout", 30.0),
    (["-m", "007"], "umask", 0o007),
    (["-m", "shop:app"], "app", "shop:app"),
    (["-l", "64"], "backlog", 64),
    (["-d", "x.log"], "daemonize", "x.log"),
    (["--pythonpath", "/a,/b:/c"], "pythonpath", ("/a", "/b", "/c")),
    (["--interface", "asgi3"], "interface", "asgi"),
    (["--log-level", "WARN"], "log-level", "warning"),
    (["--proxy-protocol", "auto"], "proxy-protocol", True),
    (["--proxy-protocol", "off"], "proxy-protocol", False),
    (["--proxy-protocol"], "proxy-protocol", True),
    (["--ssl-version", "17"], "ssl-version", "1.2"),
    (["--ssl-version", "TLS_SERVER"], "ssl-version", "1.2"),
    (["--ssl-version", "TLSv1_3"], "ssl-version", "1.3"),
    (["-k", "uvloop"], "loop", "uvloop"),
    (["--keyfile-password", "x"], "ssl-keyfile-password", "x"),
    (["--websocket-ping-interval", "7"], "ws-ping-interval", 7.0),
    (["--websocket-max-message-size", "77"], "ws-max-size", 77),
    (["--read-timeout", "7"], "timeout-body", 7.0),
    (["--working-dir", "/srv"], "chdir", "/srv"),
    (["--blocking-threads", "4"], "threads", 4),
    (["--url-path-prefix", "/x"], "root-path", "/x"),
    (["--uds-permissions", "660"], "chmod-socket", 0o660),
    (["--workers-max-rss", "1"], "reload-on-rss", 1 << 20),
    (["--backpressure", "9"], "limit-concurrency", 9),
    (["--pid-file", "x.pid"], "pidfile", "x.pid"),
]


@pytest.mark.parametrize(("words", "name", "value"), EQUIVALENTS)
def test_what_says_the_same_works(folder: Folder, words: list[str], name: str, value: object) -> None:
    assert folder.settings(*words).value(name) == value
    assert folder.layers(*words).warnings == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "g.ini",
            "[arun]\nworkers = 3\nkeepalive = 7\naccesslog = a.log\nerrorlog = e.log\nloglevel = debug\nwsgi_app = x:y\n",
        ),
        (
            "g.toml",
            'workers = 3\nkeepalive = 7\naccesslog = "a.log"\nerrorlog = "e.log"\nloglevel = "debug"\nwsgi_app = "x:y"\n',
        ),
    ],
)
def test_the_names_of_gunicorns_config_work_in_files(folder: Folder, name: str, text: str) -> None:
    folder.write(name, text)
    settings = folder.settings(name)
    assert (settings.workers, settings.timeout_keep_alive, settings.app) == (3, 7.0, "x:y")
    assert (settings.access_logfile, settings.log_file, settings.log_level) == ("a.log", "e.log", "debug")


@pytest.mark.parametrize(
    "words",
    [
        "--ws",
        "--no-ws",
        "--ws wsproto",
        "--http1-keep-alive",
        "--metrics",
        "--metrics-port 9090",
        "--respawn-failed-workers",
    ],
)
def test_a_flag_of_granian_or_uvicorn_leaves_the_app_alone(folder: Folder, words: str) -> None:
    assert folder.settings(*words.split(), "shop:app").app == "shop:app"


def test_what_changes_nothing_is_one_line(folder: Folder) -> None:
    words = (
        "-k sync --name shop --capture-output --worker-tmp-dir /dev/shm --use-colors --lifespan on --ws auto --http h11"
    )
    layers = folder.layers(*words.split(), "--reload", "--no-sendfile", "--statsd-host", "x:1", "shop:app")
    (line,) = layers.warnings
    assert line.startswith("arun does without -k (arun finds the kind of app by itself), --name, --capture-output (")
    for word in (
        "--worker-tmp-dir",
        "--use-colors",
        "--lifespan",
        "--ws",
        "--http",
        "--reload",
        "--no-sendfile",
        "--statsd-host",
    ):
        assert word in line
    assert folder.settings(*words.split(), "shop:app").app == "shop:app"


@pytest.mark.parametrize(
    "kind",
    [
        "sync",
        "gthread",
        "asgi",
        "uvicorn.workers.UvicornWorker",
        "uvicorn_worker.UvicornWorker",
        "aiohttp.GunicornWebWorker",
        "aiohttp.GunicornUVLoopWebWorker",
    ],
)
def test_a_kind_of_worker_whose_apps_arun_runs_is_left_out(folder: Folder, kind: str) -> None:
    assert folder.settings("-k", kind).workers == 1
    assert len(folder.layers(f"-k{kind}").warnings) == 1


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("gevent", "threads"), ("eventlet", "threads"), ("tornado", "listen()"), ("trio", "asyncio"), ("x.Y", "leave it")],
)
def test_a_kind_of_worker_that_arun_is_not_is_refused(folder: Folder, kind: str, hint: str) -> None:
    problem = folder.problem("--worker-class", kind)
    assert problem.cause.identifier == UNSUPPORTED
    assert kind.lower() in problem.sentence
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["-t", "30"], 30.0),
        (["--timeout=30", "-k", "sync"], 30.0),
        (["-t", "30", "--threads", "1"], 30.0),
        (["-t", "0"], 0.0),
        (["-t", "30", "--threads", "4"], 0.0),
        (["-t", "30", "-k", "gthread"], 0.0),
        (["-k", "uvicorn.workers.UvicornWorker", "-t", "30"], 0.0),
        (["-t", "30", "--timeout-request", "7"], 7.0),
        (["--worker-timeout", "30"], 0.0),
        (["--timeout-worker-healthcheck", "30"], 0.0),
        ([], 0.0),
    ],
)
def test_gunicorns_timeout_bounds_a_request_where_its_workers_take_one_at_a_time(
    folder: Folder, words: list[str], seconds: float
) -> None:
    settings = folder.settings(*words)
    assert settings.timeout_wsgi_request == seconds
    assert settings.timeout_request == (7.0 if "7" in words else 0.0)  # of the other kinds of apps


def test_a_kind_of_worker_in_a_file_tells_what_the_timeout_of_the_command_line_means(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nworker_class = gthread\n")
    assert folder.settings("site.ini", "-t", "30").timeout_wsgi_request == 0.0
    assert folder.settings("site.ini", "-t", "30").worker_timeout == 30.0


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "gunicorn.conf.py"],
        ["--config=gunicorn.conf.py"],
        ["gunicorn.conf.py"],
        ["-c", "python:shop.conf"],
        ["-c", "conf.py"],
    ],
)
def test_a_config_in_python_is_told_what_it_is(folder: Folder, words: list[str]) -> None:
    folder.write("gunicorn.conf.py", "workers = 3\n")
    problem = folder.problem(*words)
    assert problem.cause.identifier == UNSUPPORTED
    assert "gunicorn" in problem.sentence
    assert "ini or toml" in problem.hint


def test_a_config_that_gunicorn_would_find_by_itself_is_told(folder: Folder) -> None:
    folder.write("gunicorn.conf.py", "bind = ':80'\n")
    folder.write("site.ini", "[arun]\n")
    (line,) = folder.layers("shop:app").warnings
    assert "gunicorn.conf.py" in line
    assert folder.layers("site.ini").warnings == ()


def test_variables_of_other_runners_are_told(folder: Folder) -> None:
    environ = {
        "GUNICORN_CMD_ARGS": "-b :80",
        "UVICORN_PORT": "81",
        "UVICORN_HOST": "",
        "UWSGI_PORT": "tcp://10.0.0.1:80",
    }
    assert folder.layers("shop:app", environ=environ).warnings == (
        "arun does not read GUNICORN_CMD_ARGS, UVICORN_PORT: it has ARUN_<OPTION> and ARUN_CMD_ARGS",
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("-D", "--daemonize FILE"),
        ("--daemon", "--daemonize FILE"),
        ("--check-config", "--show-config"),
        ("--paste development.ini", "module"),
        ("--header X-A:b", "proxy"),
        ("--http 2", "HTTP/2"),
        ("--http2", "HTTP/2"),
        ("--http-protocols h2", "HTTP/2"),
        ("--quic-bind :443", "HTTP/2"),
        ("--insecure-bind :80", "--https-socket"),
        ("--protocol uwsgi", "--bind"),
        ("--header-map dangerous", "underscore"),
        ("--permit-obsolete-folding", "RFC 9112"),
        ("--static-path-mount /srv", "proxy"),
        ("--ssl-crl x.crl", "proxy"),
        ("--server-name shop.example", "Host"),
        ("-s :3031", "--bind"),
        ("-H /srv/venv", "/srv/venv/bin/arun"),
    ],
)
def test_what_would_change_the_site_is_refused(folder: Folder, words: str, hint: str) -> None:
    problem = folder.problem(*words.split())
    assert problem.cause.identifier == UNSUPPORTED
    assert hint in problem.hint


@pytest.mark.parametrize(
    "words", ["--http2-cleartext off", "--http-protocols h1,h2", "--header-map drop", "--protocol http"]
)
def test_a_value_that_arun_has_anyway_is_no_problem(folder: Folder, words: str) -> None:
    assert folder.settings(*words.split(), "shop:app").app == "shop:app"
