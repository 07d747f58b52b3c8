"""The servers that are measured, and the command by which each serves an app: for a start as it comes, for load as in production."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("COMMANDS", "NGINX", "SERVERS", "Server", "nginx_config", "nginx_proxy")

#: The command by which each server serves {app} on {port}, by what it serves. The same words with a broken app make the
#: first half of its shell line. Settings are each server's own defaults; granian's and gunicorn's default is one worker.
COMMANDS = {
    ("arun", "asgi"): "{bin}/arun {app}.py --bind 127.0.0.1:{port}",
    ("h2corn", "asgi"): "{bin}/h2corn --bind 127.0.0.1:{port} {app}:app",
    ("fastpysgi", "asgi"): "env PYTHONPATH=. {bin}/fastpysgi --host 127.0.0.1 --port {port} {app}:app",
    ("uvicorn", "asgi"): "{bin}/uvicorn {app}:app --port {port}",
    ("granian", "asgi"): "{bin}/granian --interface asgi --port {port} {app}:app",
    ("gunicorn", "asgi"): "{bin}/gunicorn --worker-class asgi --bind 127.0.0.1:{port} {app}:app",
    ("arun", "wsgi"): "{bin}/arun {app}.py --bind 127.0.0.1:{port}",
    ("fastpysgi", "wsgi"): "env PYTHONPATH=. {bin}/fastpysgi --host 127.0.0.1 --port {port} {app}:app",
    ("granian", "wsgi"): "{bin}/granian --interface wsgi --port {port} {app}:app",
    ("gunicorn", "wsgi"): "{bin}/gunicorn --bind 127.0.0.1:{port} {app}:app",
    ("uwsgi", "wsgi"): "{bin}/uwsgi --need-app --http-socket 127.0.0.1:{port} --wsgi-file {app}.py --callable app",
    ("arun", "aiohttp"): "{bin}/arun {app}.py --bind 127.0.0.1:{port}",
    ("aiohttp", "aiohttp"): "{bin}/python {app}.py 127.0.0.1 {port}",
}

#: Where the config of nginx lies; its own program is found by the driver.
NGINX = "{folder}/nginx-{port}.conf"

#: How long a connection may be idle where many are: longer than any run.
_HOURS = 7200


@dataclass(frozen=True, slots=True)
class Server:
    """One server in one set-up.

    ``name`` is the program and, where it runs in several ways, the way; ``kind`` what it serves; ``about`` what one should
    know who compares it. Options for a case that wants them: ``many`` to keep 10,000 idle connections, ``access_log`` to write
    one, ``trusting`` to believe a proxy on this machine, ``two`` for two workers. ``rests``: it is stopped (SIGSTOP) while it
    is not asked, as it would take time from those that are.
    """

    name: str
    kind: str
    command: str
    about: str = ""
    many: str = ""
    access_log: str = ""
    trusting: str = ""
    two: str = ""
    websockets: bool = False
    rests: bool = False

    @property
    def label(self) -> str:
        """Return what the server is called in tables."""
        return f"{self.name} {self.kind}" if self.kind != "files" else self.name

    @property
    def program(self) -> str:
        """Return the first word of its name."""
        return self.name.partition(" ")[0]


#: The same source, interpreted: it lies beside the compiled one, and is found first.
_PURE = "env PYTHONPATH={pure} "
_ASGI, _WSGI, _AIOHTTP = ("arun", "asgi"), ("arun", "wsgi"), ("arun", "aiohttp")
_LOG, _TWO = "--access-log", "--workers 2"
_THREADS = f"{COMMANDS['gunicorn', 'wsgi']} --worker-class gthread --threads 8"
_FASTPYSGI = "HTTP in C; its program has no time-outs, no limits, no workers, no access log and no end in good order"
_UWSGI = (
    "HTTP and WSGI in C, one request at a time; it closes each connection, and a client that sends slowly has it alone"
)
#: It closes each connection after its answer, and says so only with an option; a head may not be longer than its buffer.
_CLOSES = "--disable-logging --buffer-size 32768 --add-header 'Connection: close'"

#: All that are put under load, without an access log.
SERVERS = (
    Server("arun", "asgi", COMMANDS[_ASGI], "", f"--timeout-keep-alive {_HOURS}", _LOG, two=_TWO, websockets=True),
    Server(
        "arun pure", "asgi", _PURE + COMMANDS[_ASGI], "the same source, not compiled", access_log=_LOG, websockets=True
    ),
    Server(
        "h2corn",
        "asgi",
        f"{COMMANDS['h2corn', 'asgi']} --no-access-log",
        "HTTP in Rust; one process with threads beside Python's",
        trusting="--proxy-headers",
        two=_TWO,
        websockets=True,
    ),
    Server("fastpysgi", "asgi", COMMANDS["fastpysgi", "asgi"], _FASTPYSGI, rests=True),
    Server(
        "granian",
        "asgi",
        COMMANDS["granian", "asgi"],
        "HTTP in Rust; it believes no proxy",
        # A minute is the longest that it waits.
        "--backlog 16384 --backpressure 16384 --http1-header-read-timeout 60000",
        two=_TWO,
        websockets=True,
    ),
    Server(
        "uvicorn",
        "asgi",
        f"{COMMANDS['uvicorn', 'asgi']} --no-access-log",
        "Python on uvloop and httptools",
        f"--timeout-keep-alive {_HOURS}",
        two=_TWO,
        websockets=True,
    ),
    Server("gunicorn", "asgi", COMMANDS["gunicorn", "asgi"], "Python", websockets=True),
    Server(
        "hypercorn",
        "asgi",
        "{bin}/hypercorn --worker-class uvloop --bind 127.0.0.1:{port} {app}:app",
        "Python, h11; it believes no proxy",
        websockets=True,
    ),
    Server("arun", "wsgi", COMMANDS[_WSGI], "eight threads, its default", access_log=_LOG, two=_TWO),
    Server("arun pure", "wsgi", _PURE + COMMANDS[_WSGI], "the same source, not compiled", access_log=_LOG),
    Server("arun inline", "wsgi", f"{COMMANDS[_WSGI]} --threads 0", "in the event loop, one call at a time"),
    Server("fastpysgi", "wsgi", COMMANDS["fastpysgi", "wsgi"], _FASTPYSGI + "; one request at a time", rests=True),
    Server("granian", "wsgi", COMMANDS["granian", "wsgi"], "HTTP in Rust; it believes no proxy", two=_TWO),
    Server("gunicorn gthread", "wsgi", _THREADS, "Python", two=_TWO),
    Server("gunicorn sync", "wsgi", COMMANDS["gunicorn", "wsgi"], "Python, one request at a time"),
    Server("uwsgi", "wsgi", f"{COMMANDS['uwsgi', 'wsgi']} {_CLOSES}", _UWSGI, two="--master --processes 2"),
    Server("arun", "aiohttp", COMMANDS[_AIOHTTP], access_log=_LOG, websockets=True),
    Server("arun pure", "aiohttp", _PURE + COMMANDS[_AIOHTTP], "the same source, not compiled", websockets=True),
    Server(
        "aiohttp uvloop", "aiohttp", f"{COMMANDS['aiohttp', 'aiohttp']} --uvloop", "its own runner", websockets=True
    ),
    Server("aiohttp", "aiohttp", COMMANDS["aiohttp", "aiohttp"], "its own runner, on asyncio", websockets=True),
    Server("nginx", "files", f"{{nginx}} -e stderr -p {{folder}} -c {NGINX}", "no app: the limit"),
)


def nginx_config(port: int, folder: str, answers: dict[str, bytes]) -> str:
    """Return a config with which nginx answers each path, from memory, or from a file of the folder when it is long."""
    places = []
    for path, body in answers.items():
        long = len(body) > 2000
        reported = "default_type text/plain;" if long else f"default_type text/plain; return 200 '{body.decode()}';"
        places.append(f"location = {path} {{ {reported} }}")
    return _nginx(port, folder, " ".join(places))


def nginx_proxy(port: int, folder: str, upstream: int) -> str:
    """Return a config with which nginx hands everything on to a port, on connections that are kept, as its manual advises."""
    hand_on = "proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; "
    hand_on += "proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme; "
    hand_on += "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    return _nginx(
        port, folder, f"location / {{ {hand_on} }}", f"upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; }}"
    )


def _nginx(port: int, folder: str, places: str, beside: str = "") -> str:
    return f"""
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx-{port}.pid;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout {_HOURS};
    keepalive_requests 1000000;
    root {folder};
    {beside}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {places}
    }}
}}
"""
