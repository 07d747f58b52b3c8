"""Apps of real frameworks, which know nothing of arun, served by it and by the server that their users come from."""

from __future__ import annotations

import contextlib
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from tests.conftest import PATIENCE, Instance, Starter, own_address

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).with_name("apps")
REPORT = APPS / "static" / "report.txt"


class Framework(NamedTuple):
    """A framework's app and what of HTTP the framework itself does; ``name`` is that of the module without ``_app``."""

    name: str
    kind: str
    attribute: str = "app"
    #: It has websockets.
    sockets: bool = False
    #: It has code that runs at start-up and shut-down.
    starts: bool = False
    #: Its static files come in parts (RFC 9110 section 14).
    ranges: bool = True
    #: It reads a body without a Content-Length. Django and Falcon take such a body for empty when they run on WSGI.
    chunked: bool = True

    @property
    def app(self) -> str:
        """The app as users name it."""
        return f"{self.name}_app:{self.attribute}"


FRAMEWORKS = (
    Framework("aiohttp", "aiohttp", sockets=True, starts=True),
    Framework("starlette", "asgi", sockets=True, starts=True),
    Framework("fastapi", "asgi", sockets=True, starts=True),
    Framework("litestar", "asgi", sockets=True, starts=True, ranges=False),
    Framework("quart", "asgi", sockets=True, starts=True),
    Framework("falcon_asgi", "asgi", sockets=True, starts=True),
    Framework("django_asgi", "asgi", "application", ranges=False),
    Framework("django_wsgi", "wsgi", "application", ranges=False, chunked=False),
    Framework("falcon_wsgi", "wsgi", chunked=False),
    Framework("flask", "wsgi"),
)


def each(*having: str, of: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Run a test with each framework, or each ``of`` some, that has all of the named things."""
    chosen = [
        framework
        for framework in FRAMEWORKS
        if all(getattr(framework, name) for name in having) and (not of or framework.name in of)
    ]
    return pytest.mark.parametrize("framework", chosen, ids=[framework.name for framework in chosen])


class Servers:
    """Servers of the frameworks' apps, each started when it is first asked for and stopped with the session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: dict[tuple[str, ...], Instance] = {}

    def arun(self, app: str, *options: str) -> Instance:
        """Return the arun that serves the app."""
        key = (app, *options)
        if key not in self._started:
            self._started[key] = self._started_with("arun running on", (app, "--bind", "{address}", *options))
        return self._started[key]

    @contextlib.contextmanager
    def oracle(self, framework: Framework) -> Iterator[Instance]:
        """Run the server that users of the framework know: uvicorn, or gunicorn with the workers for the kind.

        Not longer than it is asked: ten of them that wait are half a core.
        """
        if framework.kind == "asgi":
            command: tuple[str, ...] = ("uvicorn", framework.app, "--host", "{host}", "--port", "{port}")
            with contextlib.closing(self._started_with("Uvicorn running on", (), command)) as instance:
                yield instance
            return
        workers = {
            "aiohttp": ("--worker-class", "aiohttp.GunicornWebWorker"),
            "wsgi": ("--worker-class", "gthread", "--threads", "4", "--no-sendfile"),
        }
        command = ("gunicorn", framework.app, "--bind", "{host}:{port}", *workers[framework.kind])
        with contextlib.closing(self._started_with("Listening at", (), command)) as instance:
            yield instance

    def _started_with(self, ready: str, arguments: tuple[str, ...], command: tuple[str, ...] = ()) -> Instance:
        starter = Starter(APPS, own_address())
        host, _, port = starter.address.rpartition(":")
        program = [part.format(host=host, port=port) for part in command]
        if program:
            program = [sys.executable, "-m", *program]
        env = {"TMPDIR": str(self.folder), "HOME": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        instance = starter(*arguments, command=program, env=env, measured=False)
        instance.wait_for(ready)
        return instance

    def close(self) -> None:
        for instance in self._started.values():
            instance.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with contextlib.closing(Servers(tmp_path_factory.mktemp("servers"))) as started:
        yield started


@pytest.fixture
def shop(servers: Servers, framework: Framework) -> Instance:
    """The framework's app, served by arun."""
    return servers.arun(framework.app)


@pytest.fixture
def client(shop: Instance) -> Iterator[httpx.Client]:
    """A client of the shop, with no connection yet."""
    with client_of(shop) as client:
        yield client


def client_of(instance: Instance) -> httpx.Client:
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default would read all certificates of the system
    return httpx.Client(base_url=f"http://{instance.address}", verify=no_tls, timeout=PATIENCE, trust_env=False)
