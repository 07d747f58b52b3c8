"""A TLS port never turns plain: its certificate goes with it to the fallback, or the listener is closed."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.process.conftest import Authority, Instance, Starter

NAME = "shop.test"
BROKEN = "import nowhere\n"


def talk(address: str, context: ssl.SSLContext) -> tuple[set[str], str]:
    """The names that the server shows, and its answer."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 30) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as client,
    ):
        fields: dict[str, tuple[tuple[str, str], ...]] = client.getpeercert()  # type: ignore[assignment]
        client.sendall(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
        return {name for _, name in fields["subjectAltName"]}, answer.decode()


def next_to(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}"


@pytest.fixture
def shop(arun: Starter, authority: Authority) -> Callable[..., Instance]:
    """Start a broken app behind TLS, with a fallback."""
    certificate, key = authority.issue(NAME)

    def start(fallback: str, *options: str, app: str = BROKEN) -> Instance:
        arun.write("shop.py", app)
        files = ("--ssl-certfile", certificate.name, "--ssl-keyfile", key.name)
        return arun("shop.py", "--bind", "{address}", *files, "--fallback-config", fallback, *options)

    return start


@pytest.mark.parametrize("config", ["[arun]\n", "[arun]\nbind = {address}\n", ""], ids=["silent", "named", "welcome"])
def test_the_fallback_of_a_broken_app_answers_with_the_same_certificate(
    arun: Starter, authority: Authority, shop: Callable[..., Instance], config: str
) -> None:
    arun.write("safe.ini", config)
    instance = shop("safe.ini" if config else "welcome").ready()
    names, answer = talk(instance.address, authority.client())
    assert names == {NAME}
    assert answer.startswith("HTTP/1.1 503 ")
    assert "be right back" in answer
    assert instance.get().status == 400  # a plain request is not served
    assert f"arun running on https://{instance.address} " in instance.said
    assert instance.stop() == 0


def test_the_certificate_travels_by_path_and_its_password_not_by_command_line(
    arun: Starter, shop: Callable[..., Instance]
) -> None:
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    instance = shop("safe.ini", env_password := "--ssl-keyfile-password", "sesame").ready()
    assert "sesame" not in " ".join(instance.argv())
    assert env_password not in instance.said


def test_a_fallback_with_a_certificate_of_its_own_shows_that(
    arun: Starter, authority: Authority, shop: Callable[..., Instance]
) -> None:
    certificate, key = authority.issue(NAME, "safe.test", stem="safe")
    arun.write("safe.ini", f"[arun]\nbind = {{address}}\nssl-certfile = {certificate}\nssl-keyfile = {key}\n")
    instance = shop("safe.ini").ready()
    names, answer = talk(instance.address, authority.client())
    assert names == {NAME, "safe.test"}
    assert "be right back" in answer


@pytest.mark.parametrize("what", ["missing from the start", "removed meanwhile"])
def test_a_fallback_without_the_certificate_closes_the_listener(
    arun: Starter, shop: Callable[..., Instance], address: str, what: str
) -> None:
    arun.write("safe.ini", f"[arun]\nbind = {{address}}\nbind = {next_to(address)}\n")
    removing = "import os\nos.unlink('shop.key')\n"
    missing = ("--ssl-certfile", "nowhere.pem", "--ssl-keyfile", "nowhere.key")
    options = missing if what == "missing from the start" else ()
    instance = shop("safe.ini", *options, app=removing + BROKEN).ready()
    assert f"not listening on {address}, as TLS was served there" in instance.said
    with pytest.raises(ConnectionRefusedError):
        instance.get()
    instance.address = next_to(address)
    assert instance.get().status == 503
    assert instance.stop() == 0


def test_the_way_back_leads_to_tls_as_it_was(
    arun: Starter, authority: Authority, shop: Callable[..., Instance]
) -> None:
    certificate, key = authority.issue(NAME, "safe.test", stem="safe")
    arun.write("safe.ini", f"[arun]\nssl-certfile = {certificate}\nssl-keyfile = {key}\n")
    instance = shop("safe.ini").ready()
    assert talk(instance.address, authority.client())[0] == {NAME, "safe.test"}
    arun.write("shop.py", "def app(e, s):\n    s('200 OK', [('Content-Length', '6')])\n    return [b'mended']\n")
    instance.send(signal.SIGHUP)
    instance.wait_for("arun running on", times=2)
    names, answer = talk(instance.address, authority.client())
    assert names == {NAME}
    assert answer.endswith("mended")
    assert instance.stop() == 0


def test_a_fallback_that_gave_up_a_tls_port_leaves_it_to_no_process_that_would_serve_it_plainly(
    arun: Starter, shop: Callable[..., Instance], address: str
) -> None:
    """The second config closes the port and fails; the third one names it, and knows nothing of TLS."""
    other = next_to(address)
    arun.write("b.ini", f"[arun]\nbind = {{address}}\nbind = {other}\napp = nowhere.py\nfallback-config = c.ini\n")
    arun.write("c.ini", f"[arun]\nbind = {{address}}\nbind = {other}\n")
    instance = shop("b.ini", app="import os\nos.unlink('shop.key')\n" + BROKEN).ready()
    assert instance.fallbacks() == ["b.ini", "c.ini"]
    assert instance.said.count(f"not listening on {address}, as TLS was served there") == 2
    with pytest.raises(ConnectionRefusedError):
        instance.get()
    instance.address = other
    assert instance.get().status == 503


def test_a_tls_port_that_a_fallback_did_not_name_is_tls_again_for_the_next_one(
    arun: Starter, authority: Authority, shop: Callable[..., Instance], address: str
) -> None:
    arun.write("b.ini", f"[arun]\nbind = {next_to(address)}\napp = nowhere.py\nfallback-config = c.ini\n")
    arun.write("c.ini", "[arun]\nbind = {address}\n")
    instance = shop("b.ini").ready()
    assert instance.fallbacks() == ["b.ini", "c.ini"]
    assert talk(address, authority.client())[0] == {NAME}
    assert instance.get().status == 400  # plainly it is not served


def test_a_tls_port_whose_socket_the_app_closed_is_tls_again(
    arun: Starter, authority: Authority, shop: Callable[..., Instance]
) -> None:
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    instance = shop("safe.ini", app="import os\nos.closerange(3, 100)\n" + BROKEN).ready()
    assert "is lost" in instance.said
    assert talk(instance.address, authority.client())[0] == {NAME}
    assert instance.get().status == 400


@pytest.mark.parametrize("config", ["[arun]\n", "[arun]\nbind = {address}\n"], ids=["silent", "named"])
def test_without_a_port_that_may_be_served_a_fallback_fails(
    arun: Starter, shop: Callable[..., Instance], config: str
) -> None:
    arun.write("safe.ini", config)
    instance = shop("safe.ini", app="import os\nos.unlink('shop.key')\n" + BROKEN)
    assert instance.wait() == 1
    assert instance.failures() == ["app-dependency-missing", *["certificate-unusable"] * 2]  # the last link too
    assert "nothing is left to listen on" in instance.said
