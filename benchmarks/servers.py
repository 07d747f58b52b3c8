"""The servers that are measured, and the command by which each serves an app: for a start as it comes, for load as in production."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("COMMANDS", "NGINX", "SERVERS", "Server", "nginx_config")

#: The command by which each server serves {app} on {port}, by what it serves. The same words with a broken app make the
#: first half of its shell line. Settings are each server's own defaults; granian's and gunicorn's default is one worker.
COMMANDS = {
    ("arun", "asgi"): "{bin}/arun {app}.py --bind 127.0.0.1:{port}",
    ("uvicorn", "asgi"): "{bin}/uvicorn {app}:app --port {port}",
    ("granian", "asgi"): "{bin}/granian --interface asgi --port {port} {app}:app",
    ("gunicorn", "asgi"): "{bin}/gunicorn --worker-class asgi --bind 127.0.0.1:{port} {app}:app",
    ("arun", "wsgi"): "{bin}/arun {app}.py --bind 127.0.0.1:{port}",
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

    ``name`` is the program and, where it runs in several ways, the way; ``kind`` what it serves. ``access_log`` and
    ``many`` are options for a case that wants them: to write an access log, and to keep 10,000 idle connections.
    ``keeps`` says whether it keeps idle connections without giving a process or thread to each.
    """

    name: str
    kind: str
    command: str
    many: str = ""
    access_log: str = ""
    keeps: bool = True
    websockets: bool = False

    @property
    def label(self) -> str:
        """Return what the server is called in tables."""
        return f"{self.name} {self.kind}" if self.kind != "files" else self.name

    @property
    def program(self) -> str:
        """Return the first word of its name."""
        return self.name.partition(" ")[0]


_ARUN = {"many": f"--timeout-keep-alive {_HOURS}", "access_log": "--access-log"}
#: A minute is the longest that it waits.
_GRANIAN = "--backlog 16384 --backpressure 16384 --http1-header-read-timeout 60000"
_GUNICORN = f"--keep-alive {_HOURS} --worker-connections 16384"
_ASGI, _WSGI, _AIOHTTP = ("arun", "asgi"), ("arun", "wsgi"), ("arun", "aiohttp")
_THREADS = f"{COMMANDS['gunicorn', 'wsgi']} --worker-class gthread --threads 8"
#: It closes each connection after its answer, and says so only with an option; a head may not be longer than its buffer.
_UWSGI = "--disable-logging --buffer-size 32768 --add-header 'Connection: close'"

#: All that are put under load, each as one process with one worker, without an access log.
SERVERS = (
    Server("arun", "asgi", COMMANDS[_ASGI], **_ARUN, websockets=True),
    Server(
        "uvicorn",
        "asgi",
        f"{COMMANDS['uvicorn', 'asgi']} --no-access-log",
        many=f"--timeout-keep-alive {_HOURS}",
        websockets=True,
    ),
    Server("granian", "asgi", COMMANDS["granian", "asgi"], many=_GRANIAN, websockets=True),
    Server("gunicorn", "asgi", COMMANDS["gunicorn", "asgi"], many=_GUNICORN, websockets=True),
    Server(
        "hypercorn",
        "asgi",
        "{bin}/hypercorn --worker-class uvloop --bind 127.0.0.1:{port} {app}:app",
        many=f"--keep-alive {_HOURS} --backlog 16384",
        websockets=True,
    ),
    Server("arun", "wsgi", COMMANDS[_WSGI], **_ARUN),
    Server("arun inline", "wsgi", f"{COMMANDS[_WSGI]} --threads 0", **_ARUN),
    Server("granian", "wsgi", COMMANDS["granian", "wsgi"], many=_GRANIAN),
    Server("gunicorn sync", "wsgi", COMMANDS["gunicorn", "wsgi"], keeps=False),
    Server("gunicorn gthread", "wsgi", _THREADS, many=_GUNICORN),
    Server("uwsgi", "wsgi", f"{COMMANDS['uwsgi', 'wsgi']} {_UWSGI}", keeps=False),
    Server("arun", "aiohttp", COMMANDS[_AIOHTTP], **_ARUN, websockets=True),
    Server("aiohttp", "aiohttp", COMMANDS["aiohttp", "aiohttp"], many=f"--keep-alive {_HOURS}", websockets=True),
    Server(
        "aiohttp uvloop",
        "aiohttp",
        f"{COMMANDS['aiohttp', 'aiohttp']} --uvloop",
        many=f"--keep-alive {_HOURS}",
        websockets=True,
    ),
    Server("nginx", "files", f"{{nginx}} -e stderr -p {{folder}} -c {NGINX}"),
)


def nginx_config(port: int, folder: str, answers: dict[str, bytes]) -> str:
    """Return a config with which nginx answers each path, from memory, or from a file of the folder when it is long."""
    places = []
    for path, body in answers.items():
        long = len(body) > 2000
        reported = "default_type text/plain;" if long else f"default_type text/plain; return 200 '{body.decode()}';"
        places.append(f"location = {path} {{ {reported} }}")
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
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {" ".join(places)}
    }}
}}
"""
