"""TLS as its users meet it: who is served, who is refused, how certificates are renewed."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.conftest import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.conftest import Authority, Instance, Starter

NAME = "shop.test"
APPS = {
    "asgi": """
async def app(scope, receive, send):
    if scope["type"] == "http":
        body = f"{scope['scheme']} {scope['client'][0]}".encode()
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})
""",
    "wsgi": """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['wsgi.url_scheme']} {environ['REMOTE_ADDR']}".encode()]
""",
    "aiohttp": """
from aiohttp import web
async def hello(request):
    return web.Response(text=f"{request.scheme} {request.remote}")
app = web.Application()
app.router.add_get("/", hello)
""",
}
LOOPS = ("uvloop", "asyncio")


@pytest.fixture
def files(arun: Starter, authority: Authority) -> tuple[str, ...]:
    """The options of an instance that speaks TLS as ``shop.test``; its app is ``app.py``."""
    arun.write("app.py", APPS["asgi"])
    certificate, key = authority.issue(NAME)
    return ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))


@contextlib.contextmanager
def tls(address: str, context: ssl.SSLContext, name: str | None = NAME) -> Iterator[ssl.SSLSocket]:
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 30) as plain,
        context.wrap_socket(plain, server_hostname=name) as it,
    ):
        yield it


def ask(client: socket.socket) -> tuple[int, str]:
    """Ask over a connection that stands, and leave it standing."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read().decode()


def get(address: str, context: ssl.SSLContext, name: str = NAME) -> tuple[int, str]:
    with tls(address, context, name) as client:
        return ask(client)


def client_hello(context: ssl.SSLContext) -> bytes:
    """What a client that asks for the name says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=NAME).do_handshake()
    return outgoing.read()


def assert_equal(one: object, other: object) -> None:
    assert one == other


def names_of(client: ssl.SSLSocket) -> set[str]:
    fields: Any = client.getpeercert()
    return {name for _, name in fields["subjectAltName"]}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", APPS)
def test_an_app_of_each_kind_is_served_and_knows_that_it_is_https(
    arun: Starter, authority: Authority, files: Any, kind: str, loop: str
) -> None:
    arun.write("app.py", APPS[kind])
    instance = arun("app.py", "--bind", "{address}", "--loop", loop, *files).ready()
    host = instance.address.rpartition(":")[0]
    context = authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tls(instance.address, context) as client:
        assert ask(client) == (200, f"https {host}".replace(host, client.getsockname()[0]))
        assert ask(client)[0] == 200  # the connection is kept
        assert client.version() == "TLSv1.3"
        assert client.selected_alpn_protocol() == "http/1.1"
    assert f"arun running on https://{instance.address} " in instance.said
    assert instance.stop() == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_is_served(arun: Starter, authority: Authority, files: Any) -> None:
    instance = arun("app.py", "--bind", "{address}", *files).ready()
    host, _, port = instance.address.rpartition(":")
    url, resolved = f"https://{NAME}:{port}/", f"{NAME}:{port}:{host}"
    command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(authority.root), "--resolve", resolved, url]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.startswith("https ")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_plain_request_learns_that_the_port_speaks_https(arun: Starter, files: Any, loop: str) -> None:
    instance = arun("app.py", "--bind", "{address}", "--loop", loop, *files).ready()
    answer = instance.get("/", method="POST", headers={"Content-Length": "0"})
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert "speaks HTTPS" in answer.text
    with instance.connect() as client:
        client.sendall(b"\x80\0\0garbage")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""


def test_tls_1_2_is_spoken_unless_1_3_is_asked_for(
    arun: Starter, authority: Authority, files: Any, address: str
) -> None:
    old = authority.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    instance = arun("app.py", "--bind", "{address}", *files).ready()
    assert get(address, old)[0] == 200
    assert instance.stop() == 0

    arun("app.py", "--bind", "{address}", "--ssl-version", "TLSv1_3", *files).ready()
    with pytest.raises(ssl.SSLError):
        get(address, old)
    assert get(address, authority.client())[0] == 200


def test_ciphers_are_those_that_are_named(arun: Starter, authority: Authority, files: Any, address: str) -> None:
    arun("app.py", "--bind", "{address}", "--ciphers", "ECDHE+CHACHA20", *files).ready()
    with tls(address, authority.client(maximum_version=ssl.TLSVersion.TLSv1_2)) as client:
        assert "CHACHA20" in str(client.cipher())


#: RSA key exchange, with CBC and with AES-GCM; CBC with ephemeral keys.
OLD_CIPHERS = ("AES128-SHA256", "AES128-GCM-SHA256", "AES256-SHA", "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES256-SHA384")


def test_no_cipher_without_forward_secrecy_or_with_cbc_is_spoken_unless_it_is_named(
    arun: Starter, authority: Authority, address: str
) -> None:
    arun.write("app.py", APPS["asgi"])
    issued = authority.ca.issue_cert(NAME, key_type=trustme.KeyType.RSA)
    issued.private_key_and_cert_chain_pem.write_to_path(arun.folder / "rsa.pem")
    options = ("app.py", "--bind", "{address}", "--ssl-certfile", "rsa.pem")

    def client(*ciphers: str) -> ssl.SSLContext:
        context = authority.client(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(":".join(ciphers) + ":@SECLEVEL=0")
        return context

    instance = arun(*options).ready()
    for cipher in OLD_CIPHERS:
        with pytest.raises(ssl.SSLError), tls(address, client(cipher)):
            pass
    for modern in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"):
        with tls(address, client(*OLD_CIPHERS, modern)) as it:
            assert it.cipher() == (modern, "TLSv1.2", 256 if "128" not in modern else 128)
    assert instance.stop() == 0

    arun(*options, "--ssl-ciphers", "AES128-GCM-SHA256:ECDHE+AES").ready()
    for cipher in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"):
        with tls(address, client(cipher)) as it:
            assert ask(it)[0] == 200


def test_of_several_certificates_the_one_is_shown_whose_name_is_asked_for(arun: Starter, authority: Authority) -> None:
    arun.write("app.py", APPS["asgi"])
    options = []
    for number, names in enumerate(([NAME], ["a.test", "b.test"], ["*.wild.test"])):
        certificate, key = authority.issue(*names, stem=f"c{number}")
        options += ["--certfile", str(certificate), "--keyfile", str(key)]
    instance = arun("app.py", "--bind", "{address}", *options).ready()
    for asked, shown in ((NAME, NAME), ("b.test", "b.test"), ("B.TEST", "b.test"), ("any.wild.test", "*.wild.test")):
        with tls(instance.address, authority.client(), asked) as client:
            assert shown in names_of(client)
    anonymous = authority.client(check_hostname=False)
    for unknown in ("other.test", "too.deep.wild.test", None):
        with tls(instance.address, anonymous, unknown) as client:
            assert names_of(client) == {NAME}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_name_that_is_none_ends_its_handshake_and_writes_nothing_in_the_log(
    arun: Starter, authority: Authority, files: Any, loop: str
) -> None:
    certificate, key = authority.issue("b.test", stem="b")
    second = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
    instance = arun("app.py", "--bind", "{address}", "--loop", loop, *files, *second).ready()
    hello = client_hello(authority.client()).replace(NAME.encode(), b"sh\xffp.test")
    with instance.connect() as client:
        client.sendall(hello)
        assert client.recv(1) != b"\x16"
    assert get(instance.address, authority.client())[0] == 200
    assert instance.stop() == 0
    assert "Traceback" not in instance.said


@pytest.mark.parametrize("loop", LOOPS)
def test_handshakes_that_break_off_anywhere_leave_nothing_behind(
    arun: Starter, authority: Authority, files: Any, loop: str
) -> None:
    instance = arun("app.py", "--bind", "{address}", "--loop", loop, *files).ready()
    held = instance.holdings()["socket"]
    hello = client_hello(authority.client())
    for cut in (*range(0, len(hello), 31), len(hello)):
        for ends in (b"", hello, b"\x15\x03\x01\x00\x02\x02\x50"):
            with instance.connect() as client:
                client.sendall(hello[:cut] + ends)
                if cut % 2:  # reset, with what the server sent unread
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: assert_equal(instance.holdings()["socket"], held), AssertionError)
    assert get(instance.address, authority.client())[0] == 200
    assert instance.stop() == 0
    assert "Traceback" not in instance.said


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("demand", ["required", "2", "optional"])
def test_a_client_is_asked_for_its_certificate(
    arun: Starter, authority: Authority, files: Any, loop: str, demand: str
) -> None:
    options = ("--cert-reqs", demand, "--ca-certs", str(authority.root), "--loop", loop)
    instance = arun("app.py", "--bind", "{address}", *options, *files).ready()
    known = authority.client()
    known.load_cert_chain(*authority.issue("client.test", stem="client"))
    assert get(instance.address, known)[0] == 200
    if demand == "optional":
        assert get(instance.address, authority.client())[0] == 200
    else:
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            get(instance.address, authority.client())
    assert instance.stop() == 0


def test_listeners_of_all_kinds_are_served_at_once(arun: Starter, authority: Authority, address: str) -> None:
    certificate, key = authority.issue(NAME)
    arun.write("app.py", APPS["wsgi"])
    host, _, port = address.rpartition(":")
    secure = f"{host}:{int(port) + 1}"
    instance = arun(
        "app.py", "--bind", "{address}", "--bind", "unix:shop.sock", "--https-socket", f"{secure},{certificate},{key}"
    ).ready()
    assert instance.get().text.startswith("http ")
    assert get(secure, authority.client())[1].startswith("https ")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(arun.folder / "shop.sock"))
        assert ask(client) == (200, "http ")
    assert instance.said.count("arun running on http://") == 1
    assert instance.stop() == 0


def test_an_https_socket_demands_certificates_of_clients_as_uwsgi_writes_it(
    arun: Starter, authority: Authority
) -> None:
    certificate, key = authority.issue(NAME)
    arun.write("app.py", APPS["asgi"])
    arun.write("site.ini", f"[uwsgi]\nhttps-socket = {{address}},{certificate},{key},HIGH,!{authority.root}\n")
    instance = arun("site.ini", "--app", "app.py").ready()
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        get(instance.address, authority.client())
    known = authority.client()
    known.load_cert_chain(*authority.issue("client.test", stem="client"))
    assert get(instance.address, known)[0] == 200


def test_a_client_that_writes_nothing_is_cut_in_time(arun: Starter, files: Any) -> None:
    instance = arun("app.py", "--bind", "{address}", "--timeout-header", "300ms", *files).ready()
    with instance.connect() as silent, instance.connect() as slow:
        slow.sendall(b"\x16\x03\x01")
        for client in (silent, slow):
            assert client.recv(100) == b""


def test_an_encrypted_key_is_opened_and_its_password_never_shown(
    arun: Starter, authority: Authority, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key = authority.issue(NAME)
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    form, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(plain.private_bytes(form, pkcs8, serialization.BestAvailableEncryption(b"sesame")))
    arun.write("app.py", APPS["asgi"])
    options = ("app.py", "--bind", "{address}", "--ssl-certfile", str(certificate), "--ssl-keyfile", str(locked))
    password = {"ARUN_SSL_KEYFILE_PASSWORD": "sesame"}

    shown = arun(*options, "--show-config", env=password, stdout=subprocess.PIPE).process.communicate()[0]
    assert b"ssl-keyfile-password = ***" in shown
    assert b"sesame" not in shown
    instance = arun(*options, env=password).ready()
    assert get(instance.address, authority.client())[0] == 200
    for wrong in ({}, {"ARUN_SSL_KEYFILE_PASSWORD": "open"}):
        failed = arun(*options, env=wrong)
        assert failed.wait() == 1
        assert failed.failures() == ["certificate-locked"]


# ---- failed starts


def broken(authority: Authority, kind: str) -> list[str]:
    """Options with one thing wrong."""
    certificate, key = map(str, authority.issue(NAME))
    _, other = map(str, authority.issue("other.test", stem="other"))
    garbage = authority.folder / "garbage.pem"
    garbage.write_text("no certificate at all\n")
    cut = authority.folder / "cut.pem"
    cut.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    pair = ["--ssl-certfile", certificate, "--ssl-keyfile", key]
    return {
        "certificate that is not there": ["--ssl-certfile", "nowhere.pem", "--ssl-keyfile", key],
        "key that is not there": ["--ssl-certfile", certificate, "--ssl-keyfile", "nowhere.pem"],
        "https-socket without a certificate": ["--https-socket", "127.0.0.1:1"],
        "folder for a certificate": ["--ssl-certfile", str(authority.folder), "--ssl-keyfile", key],
        "certificate that is none": ["--ssl-certfile", str(garbage), "--ssl-keyfile", key],
        "certificate that is cut": ["--ssl-certfile", str(cut), "--ssl-keyfile", key],
        "key that is none": ["--ssl-certfile", certificate, "--ssl-keyfile", str(garbage)],
        "file without a key": ["--ssl-certfile", certificate],
        "key of another certificate": ["--ssl-certfile", certificate, "--ssl-keyfile", other],
        "authorities that are none": [*pair, "--ssl-cert-reqs", "1", "--ssl-ca-certs", str(garbage)],
        "ciphers that are none": [*pair, "--ssl-ciphers", "banana"],
        "keys that do not match in number": [*pair, "--ssl-keyfile", other],
        "certificates of clients without authorities": [*pair, "--ssl-cert-reqs", "required"],
        "certificates of clients without TLS": ["--ssl-cert-reqs", "required", "--ssl-ca-certs", str(authority.root)],
    }[kind]


FAULTS = {
    "certificate that is not there": "certificate-missing",
    "key that is not there": "certificate-missing",
    "https-socket without a certificate": "certificate-missing",
    "folder for a certificate": "certificate-unreadable",
    "certificate that is none": "certificate-invalid",
    "certificate that is cut": "certificate-invalid",
    "key that is none": "certificate-invalid",
    "file without a key": "certificate-invalid",
    "key of another certificate": "certificate-key-mismatch",
    "authorities that are none": "certificate-invalid",
    "ciphers that are none": "option-invalid",
    "keys that do not match in number": "option-invalid",
    "certificates of clients without authorities": "option-invalid",
    "certificates of clients without TLS": "option-invalid",
}


@pytest.mark.parametrize(("kind", "identifier"), FAULTS.items(), ids=FAULTS)
def test_a_fault_of_tls_is_a_failed_start_that_falls_back(
    failing_start: Any, authority: Authority, address: str, kind: str, identifier: str
) -> None:
    failing_start.arun.write("app.py", APPS["asgi"])
    host, _, port = address.rpartition(":")
    failing_start("app.py", "--bind", f"{host}:{int(port) + 1}", *broken(authority, kind), fails=[identifier])


@pytest.mark.parametrize(
    "value", [":1,cert.pem", ":1,cert.pem,key.pem,HIGH,ca.pem,more", ":1,,,HIGH", "nonsense,cert.pem,key.pem"]
)
def test_an_https_socket_is_an_address_and_a_pair(arun: Starter, value: str) -> None:
    instance = arun("--https-socket", value)
    assert instance.wait() == 1
    assert instance.failures() == ["option-invalid"]


# ---- renewal


def renew(authority: Authority, instance: Instance, *, times: int = 1, hangup: bool) -> None:
    authority.issue(NAME, "renewed.test")
    if hangup:
        instance.send(signal.SIGHUP)
    instance.wait_for("certificates reread", times=times)


@pytest.mark.parametrize("hangup", [True, False], ids=["at SIGHUP", "when the files change"])
def test_a_renewed_certificate_is_shown_to_new_clients_and_no_connection_is_dropped(
    arun: Starter, authority: Authority, files: Any, *, hangup: bool
) -> None:
    instance = arun("app.py", "--bind", "{address}", *files).ready()
    with tls(instance.address, authority.client()) as old:
        assert ask(old)[0] == 200
        renew(authority, instance, hangup=hangup)
        with tls(instance.address, authority.client()) as new:
            assert names_of(new) == {NAME, "renewed.test"}
            assert ask(new)[0] == 200
        assert ask(old)[0] == 200
        assert names_of(old) == {NAME}
    assert instance.stop() == 0


def test_a_certificate_that_was_renewed_badly_is_reported_and_the_old_one_stays(
    arun: Starter, authority: Authority, files: Any
) -> None:
    instance = arun("app.py", "--bind", "{address}", *files).ready()
    (arun.folder / "shop.pem").write_text("garbage")
    instance.send(signal.SIGHUP)
    instance.wait_for("certificate-invalid: ")
    assert get(instance.address, authority.client())[0] == 200
    renew(authority, instance, hangup=True)
    with tls(instance.address, authority.client()) as client:
        assert "renewed.test" in names_of(client)


# ---- websockets

ECHO = """
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_websocket_over_tls_echoes_and_the_client_that_leaves_is_no_fault(
    arun: Starter, authority: Authority, files: Any, loop: str
) -> None:
    from websockets.sync.client import connect

    arun.write("app.py", ECHO)
    instance = arun("app.py", "--bind", "{address}", "--loop", loop, *files).ready()
    with connect(f"wss://{instance.address}/", ssl=authority.client(), server_hostname=NAME) as client:
        client.send("hello")
        assert client.recv(30) == "hello"
        client.socket.shutdown(socket.SHUT_WR)  # without a close frame
    assert instance.stop() == 0
    assert "Traceback" not in instance.said
    assert "WARNING" not in instance.said


# ---- the stop


@pytest.mark.parametrize("loop", LOOPS)
def test_clients_that_wait_when_a_stop_is_asked_for_are_served(
    arun: Starter, authority: Authority, files: Any, loop: str
) -> None:
    instance = arun("app.py", "--bind", "{address}", "--loop", loop, *files).ready()
    instance.send(signal.SIGSTOP)
    host, _, port = instance.address.rpartition(":")
    clients = [socket.create_connection((host, int(port)), 30) for _ in range(3)]
    first = client_hello(authority.client())
    for client in clients:
        client.sendall(first)
    instance.send(signal.SIGTERM)
    instance.send(signal.SIGCONT)
    for client in clients:
        with client:
            assert client.recv(1) == b"\x16"  # the handshake goes on
    assert instance.wait() == 0


def test_a_silent_client_does_not_hold_up_a_stop(arun: Starter, files: Any) -> None:
    instance = arun("app.py", "--bind", "{address}", *files).ready()
    with instance.connect():
        assert instance.stop() == 0


def test_an_instance_out_of_descriptors_goes_on_when_there_are_some(
    arun: Starter, authority: Authority, files: Any
) -> None:
    import resource

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    instance = arun("app.py", "--bind", "{address}", "--limit-connections", "0", *files, preexec_fn=few).ready()
    clients = [instance.connect() for _ in range(50)]
    instance.wait_for("cannot accept a connection")
    for client in clients:
        client.close()
    assert get(instance.address, authority.client())[0] == 200
    assert instance.said.count("cannot accept a connection") == 1


# ---- what it costs those who do not use it


def test_a_start_without_tls_imports_nothing_of_it(arun: Starter) -> None:
    modules = ("aiohttp", "arun.server.gate", "arun.listen.certificates", "arun.apps.asgi.tls")
    seen = f"import sys\ndef app(e, s):\n    s('200 OK', [])\n    return [repr([m for m in {modules} if m in sys.modules]).encode()]\n"
    arun.write("app.py", seen)
    assert arun("app.py", "--bind", "{address}").ready().get().text == "[]"
