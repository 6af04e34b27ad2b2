"""TLS of the stream is verified: a certificate that no trusted authority signed is refused, whatever else is right."""

import ssl
from pathlib import Path

import pytest

from brokers.stream import Closed, SocketTransport
from brokers.zerodha.wire import FeedDialect
from core.clock import SystemClock
from tests.wire.kite_samples import KNOWN
from tests.wire.socket_server import SocketServer
from tests.wire.tls_proxy import self_signed


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path, "localhost")


def serving(certificate: Path) -> SocketServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return SocketServer(context=context)


def transport(url: str, context: ssl.SSLContext | None = None) -> SocketTransport:
    return SocketTransport(SystemClock(), "practice/feed", FeedDialect(url, lambda: "key42", lambda: KNOWN), context)


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
