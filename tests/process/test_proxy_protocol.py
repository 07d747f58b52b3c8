"""The PROXY protocol as its users meet it: with TLS behind it, on a unix socket, and in a fallback."""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.process.conftest import Authority, Instance, Starter

NAME = "shop.test"
HEADER = b"PROXY TCP4 9.8.7.6 1.2.3.4 5555 443\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        body = f"{scope['scheme']} {scope['client']}".encode()
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})
"""
SEEN = "('9.8.7.6', 5555)"


@pytest.fixture
def app(arun: Starter) -> str:
    return arun.write("app.py", APP).name


def everything(client: socket.socket) -> str:
    answer = b""
    while piece := client.recv(65_536):
        answer += piece
    return answer.decode()


def ask(instance: Instance, source: str = "127.0.0.1") -> str:
    """Say the header and ask; the client connects from ``source``."""
    host, _, port = instance.address.rpartition(":")
    with socket.create_connection((host, int(port)), 30, (source, 0)) as client:
        client.sendall(HEADER + REQUEST)
        try:
            return everything(client)
        except ConnectionResetError:
            return ""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_header_before_the_handshake_names_the_client(
    arun: Starter, authority: Authority, app: str, loop: str
) -> None:
    certificate, key = map(str, authority.issue(NAME))
    options = ("--proxy-protocol", "--certfile", certificate, "--keyfile", key, "--loop", loop)
    instance = arun(app, "--bind", "{address}", *options).ready()
    host, _, port = instance.address.rpartition(":")
    with socket.create_connection((host, int(port)), 30, ("127.0.0.1", 0)) as plain:
        plain.sendall(HEADER)
        with authority.client().wrap_socket(plain, server_hostname=NAME) as client:
            client.sendall(REQUEST)
            assert everything(client).endswith(f"https {SEEN}")
    assert "speaks HTTPS" in ask(instance)
    assert instance.stop() == 0


def test_only_peers_that_are_named_may_connect(arun: Starter, app: str) -> None:
    options = ("--proxy-protocol", "--proxy-allow-from", "127.0.0.1,127.1.2.0/24")
    instance = arun(app, "--bind", "{address}", *options).ready()
    assert ask(instance).endswith(f"http {SEEN}")
    assert ask(instance, "127.1.2.3").endswith(f"http {SEEN}")
    assert ask(instance, "127.1.3.3") == ""
    assert "127.1.3.3 may not send one, see proxy-allow-from" in instance.wait_for("may not send one")


def test_a_header_is_read_on_a_unix_socket_too(arun: Starter, app: str) -> None:
    instance = arun(app, "--uds", "app.sock", "--proxy-protocol").ready()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(arun.folder / "app.sock"))
        client.sendall(HEADER + REQUEST)
        assert everything(client).endswith(f"http {SEEN}")
    assert instance.stop() == 0


def test_without_the_option_a_header_is_a_bad_request(arun: Starter, app: str) -> None:
    instance = arun(app, "--bind", "{address}").ready()
    assert ask(instance).startswith("HTTP/1.1 400 ")


def test_an_instance_whose_clients_hold_all_descriptors_accepts_again_when_they_have_gone(
    arun: Starter, app: str
) -> None:
    """None of them waits at the gate, so that no going of one can open it."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    options = ("--proxy-protocol", "--limit-connections", "0")
    instance = arun(app, "--bind", "{address}", *options, preexec_fn=few).ready()
    clients = [instance.connect() for _ in range(50)]
    for client in clients:
        client.sendall(HEADER)
    instance.wait_for("cannot accept a connection")
    for client in clients:
        client.close()
    assert ask(instance).endswith(f"http {SEEN}")


@pytest.mark.parametrize(("config", "inherits"), [("[arun]\n", True), ("[arun]\nproxy-protocol = no\n", False)])
def test_a_fallback_goes_on_with_the_proxy_in_front_unless_it_declines(
    arun: Starter, config: str, *, inherits: bool
) -> None:
    arun.write("app.py", "import nowhere\n")
    arun.write("safe.ini", config)
    instance = arun("app.py", "--bind", "{address}", "--proxy-protocol", "--fallback-config", "safe.ini").ready()
    assert ask(instance).startswith("HTTP/1.1 503 " if inherits else "HTTP/1.1 400 ")
    assert instance.stop() == 0
