"""The connections under the SDKs: one write, kept and checked before use, verified TLS, and one error for everything in transit."""

import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from urllib3.exceptions import ProtocolError

from brokers.http_wire import NoConnection, Origin
from brokers.rest import unanswered
from brokers.transport import PooledSession
from core.clock import SystemClock
from core.errors import Transient, Unknown
from tests.e2e.stage import until
from tests.wire.scripted_server import ScriptedServer, http, reset
from tests.wire.test_stream_tls import certificate  # noqa: F401 - a fixture
from utils.departure import NeverSent


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def origin_of(server: ScriptedServer) -> Origin:
    return Origin("http", "127.0.0.1", int(server.url.rpartition(":")[2]))


def test_a_connection_is_used_again_and_one_the_server_closed_is_not(server: ScriptedServer) -> None:
    def last_words(connection: socket.socket) -> None:
        connection.sendall(http(200, "three"))

    server.script = [http(200, "one"), http(200, "two"), last_words, http(200, "four")]
    origin = origin_of(server)
    said = [origin.exchange("POST", "/a", {"x": "y"}, b"b=1", 5.0)[2] for _ in range(3)]
    until(lambda: server.ended == 1, "the server to have closed it")
    said.append(origin.exchange("POST", "/a", {"x": "y"}, b"b=1", 5.0)[2])
    assert said == [b"one", b"two", b"three", b"four"]
    assert server.connections == 2
    assert [(one.method, one.target, one.headers["x"], one.body) for one in server.requests] == [("POST", "/a", "y", b"b=1")] * 4


def test_a_reply_that_ends_its_connection_is_read_whole(server: ScriptedServer) -> None:
    server.script = [http(200, "bye", Connection="close"), http(200, "again")]
    origin = origin_of(server)
    assert [origin.exchange("GET", "/", {}, None, 5.0)[2] for _ in range(2)] == [b"bye", b"again"]
    assert server.connections == 2


def test_gzip_is_unpacked_and_a_broken_one_is_an_error(server: ScriptedServer) -> None:
    def packed(body: bytes) -> bytes:
        return f"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    server.script = [packed(gzip.compress(b"text")), packed(b"no archive")]
    assert origin_of(server).exchange("GET", "/", {}, None, 5.0)[2] == b"text"
    with pytest.raises(ProtocolError, match="BadGzipFile"):
        origin_of(server).exchange("GET", "/", {}, None, 5.0)


@pytest.mark.parametrize(
    "reply",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nshort", reset],
    ids=["empty", "garbage", "short", "reset"],
)
def test_a_reply_that_is_none_is_one_kind_of_error_and_costs_its_connection(server: ScriptedServer, reply: bytes) -> None:
    def broken(connection: socket.socket) -> None:
        if callable(reply):
            reply(connection)
        else:
            connection.sendall(reply)

    server.script = [broken, http(200, "fine")]
    origin = origin_of(server)
    with pytest.raises(ProtocolError):
        origin.exchange("GET", "/", {}, None, 5.0)
    assert origin.exchange("GET", "/", {}, None, 5.0)[2] == b"fine"
    assert len(server.requests) == 2  # nothing is sent twice


def nobody() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_nobody_listens_is_an_error_of_its_own() -> None:
    with pytest.raises(NoConnection, match="no connection"):
        Origin("http", "127.0.0.1", nobody()).exchange("GET", "/", {}, None, 5.0)


def test_an_order_for_which_there_is_no_connection_was_never_sent_and_one_that_broke_off_may_have_arrived(server: ScriptedServer) -> None:
    def failed(origin: Origin) -> ProtocolError:
        with pytest.raises(ProtocolError) as told:
            origin.exchange("POST", "/orders", {}, b"quantity=65", 5.0)
        return told.value

    unreachable = failed(Origin("http", "127.0.0.1", nobody()))
    server.script = [reset]
    broken = failed(origin_of(server))
    assert isinstance(unanswered("A broker", unreachable, is_order=True), NeverSent)
    assert isinstance(unanswered("A broker", broken, is_order=True), Unknown)
    assert [type(unanswered("A broker", error, is_order=False)) for error in (unreachable, broken)] == [Transient, Transient]


@pytest.mark.parametrize(("target", "headers"), [("/a\r\nx:y", {}), ("/", {"x": "y\r\nevil: 1"}), ("/", {"x\n": "y"})])
def test_a_line_break_never_leaves(server: ScriptedServer, target: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="line break"):
        origin_of(server).exchange("GET", target, headers, None, 5.0)
    assert server.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(certificate: Path) -> None:  # noqa: F811
    from tests.wire.test_stream_tls import serving

    with serving(certificate) as server, pytest.raises(ProtocolError, match="CERTIFICATE_VERIFY_FAILED"):
        Origin("https", "localhost", int(server.url.rpartition(":")[2])).exchange("GET", "/", {}, None, 5.0)


def test_what_is_raised_before_the_first_byte_passes_and_nothing_leaves(server: ScriptedServer) -> None:
    def never() -> None:
        raise ssl.SSLError("ours")

    with pytest.raises(ssl.SSLError, match="ours"):
        origin_of(server).exchange("GET", "/", {}, None, 5.0, before=never)
    assert server.requests == []


def test_a_reply_that_drips_is_given_up_when_its_seconds_are_over(server: ScriptedServer) -> None:
    """Each byte comes in time, the whole never would: the thread that sends orders must not wait for it."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n")
        with suppress(OSError):
            while not over.wait(0.02):
                connection.sendall(b"x")

    server.script = [drip]
    given_up = threading.Event()

    def ask() -> None:
        with pytest.raises(ProtocolError, match="TimeoutError"):
            PooledSession(SystemClock()).request("POST", f"{server.url}/", data={"a": "b"}, timeout=0.3)
        given_up.set()

    threading.Thread(target=ask, daemon=True).start()
    came = given_up.wait(10)
    over.set()
    assert came
