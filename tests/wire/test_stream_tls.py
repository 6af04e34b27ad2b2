"""TLS of the stream is verified: a certificate that no trusted authority signed is refused, whatever else is right."""

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from brokers.stream import Closed, SocketTransport
from brokers.zerodha.wire import KiteDialect
from core.clock import SystemClock
from tests.wire.kite_samples import KNOWN
from tests.wire.socket_server import SocketServer


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for `localhost` with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "localhost.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def serving(certificate: Path) -> SocketServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return SocketServer(context=context)


def transport(url: str, context: ssl.SSLContext | None = None) -> SocketTransport:
    return SocketTransport(SystemClock(), "practice/feed", KiteDialect(url, lambda: "key42", lambda: KNOWN), context)


def test_an_unknown_authority_is_refused(certificate: Path) -> None:
    with serving(certificate) as server, pytest.raises(Closed, match="CERTIFICATE_VERIFY_FAILED"):
        transport(server.url).open("t1")


def test_a_trusted_authority_but_another_host_is_refused(certificate: Path) -> None:
    with serving(certificate) as server, pytest.raises(Closed, match=r"IP address mismatch|doesn't match"):
        transport(server.url.replace("localhost", "127.0.0.1"), ssl.create_default_context(cafile=certificate)).open("t1")


def test_a_trusted_authority_is_accepted(certificate: Path) -> None:
    with serving(certificate) as server:
        link = transport(server.url, ssl.create_default_context(cafile=certificate)).open("t1")
        peer = server.peer()
        peer.send(b"\x00")
        assert link.receive() == b"\x00"
        link.close()
        assert peer.heard() == "closed"
        with pytest.raises(Closed):
            link.receive()
