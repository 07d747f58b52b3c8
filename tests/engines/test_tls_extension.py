"""What an ASGI app gets of TLS, for handshakes that took place."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography import x509
from cryptography.x509.oid import NameOID

from arun.apps.asgi.tls import tls_extension
from arun.core.listen_spec import Certificate, Tls
from arun.listen import certificates

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = trustme.CA()


@pytest.fixture
def settings(tmp_path: Path) -> Tls:
    for name, content in {
        "ca.pem": AUTHORITY.cert_pem.bytes(),
        "shop.pem": (issued := AUTHORITY.issue_cert("shop.test")).private_key_and_cert_chain_pem.bytes(),
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "leaf.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    path = str(tmp_path / "shop.pem")
    return Tls((Certificate(path, path),), client_certificates="optional", client_ca=str(tmp_path / "ca.pem"))


def shake_hands(settings: Tls, client_context: ssl.SSLContext) -> ssl.SSLObject:
    """Let a client and the server meet in memory, and return the server's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificates.load(settings).wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname="shop.test")
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert server.version()
    return server


def client(**more: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    for name, value in more.items():
        setattr(context, name, value)
    return context


def test_certificate_version_and_cipher_are_told(settings: Tls, tmp_path: Path) -> None:
    told = tls_extension(shake_hands(settings, client()))
    assert x509.load_pem_x509_certificate(told["server_cert"].encode()) == x509.load_pem_x509_certificate(
        (tmp_path / "leaf.pem").read_bytes()
    )
    assert told["tls_version"] == 0x0304
    assert told["cipher_suite"] in {0x1301, 0x1302, 0x1303}
    assert (told["client_cert_chain"], told["client_cert_name"], told["client_cert_error"]) == ([], None, None)


def test_an_older_version_has_its_own_numbers(settings: Tls) -> None:
    context = client(maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
    told = tls_extension(shake_hands(settings, context))
    assert told["tls_version"] == 0x0303
    assert told["cipher_suite"] in {0xC02B, 0xC02F}


def test_the_certificate_and_the_name_of_a_client_are_told(settings: Tls) -> None:
    context = client()
    issued = AUTHORITY.issue_cert("client@shop.test", common_name='Ann, "A" + B', organization_name="#1 Shop ")
    issued.configure_cert(context)
    told = tls_extension(shake_hands(settings, context))
    certificate = x509.load_pem_x509_certificate(told["client_cert_chain"][0].encode())
    assert certificate == x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert told["client_cert_name"].startswith(r"CN=Ann\, \"A\" \+ B,")
    assert r"O=\#1 Shop\ " in told["client_cert_name"]
