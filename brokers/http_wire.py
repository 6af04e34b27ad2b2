"""Kept-alive HTTP/1.1 connections: a request leaves in one write, its reply is read whole, nothing is retried or redirected.

An order pays for every layer between it and the wire: urllib3 builds and checks a request in 0.3 ms, this in a tenth of it. TLS is
verified against certifi's authorities, the standard library reads the replies.
"""

import gzip
import http.client
import io
import select
import socket
import ssl
import threading
import weakref
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import certifi
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import ProtocolError

_KEPT = 4  # idle connections of one origin
_IPV4 = ("0.0.0.0", 0)  # noqa: S104 - the source of an outgoing connection: it makes IPv6 attempts fail over to IPv4
_UNDELIVERED_MS = 5_000  # then the kernel gives up: it would go on for minutes, and deliver an order that nobody waits for any more
_HAS_BODY = frozenset({"POST", "PUT", "PATCH"})


def _nothing() -> None:
    return None


class NoConnection(ProtocolError):
    """No connection could be made: certain that not a byte of the request has left."""


class Origin:
    """The connections to one scheme, host and port. Safe to share between threads."""

    def __init__(self, scheme: str, host: str, port: int | None) -> None:
        self._secure = scheme == "https"
        self._host = host
        self._port = port or (443 if self._secure else 80)
        self._name = host if port is None else f"{host}:{port}"
        self._context: ssl.SSLContext | None = None
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._idle)

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
        *,
        before: Callable[[], None] = _nothing,
        left: Callable[[], float] | None = None,
    ) -> tuple[int, HTTPHeaderDict, bytes]:
        """Send one request and read its reply: (status, headers, content).

        `before` is called when all is ready and only the write is left; what it raises passes, and nothing leaves. `seconds` limit the
        connecting and each wait for the other side; `left` says how many are left of all for the reply, which may come byte by byte (None:
        no end, for long downloads). Raises NoConnection, and urllib3's ProtocolError for everything in transit.
        """
        request = _request(method, target, self._name, headers, body)
        try:
            wire = self._connection(seconds)
        except OSError as error:
            raise NoConnection(f"no connection to {self._name}: {type(error).__name__}: {error}") from error
        try:
            before()
            reply = self._converse(wire, method, request, left)
        except BaseException:
            wire.close()
            raise
        status, found, content, over = reply
        if over:
            wire.close()
        else:
            self._keep(wire)
        return status, found, content

    def close(self) -> None:
        """Close the idle connections; the next exchange makes a new one."""
        _close(self._idle)

    def _converse(
        self, wire: socket.socket, method: str, request: bytes, left: Callable[[], float] | None
    ) -> tuple[int, HTTPHeaderDict, bytes, bool]:
        try:
            wire.sendall(request)
            source: Any = wire if left is None else _Hurried(wire, left)
            with http.client.HTTPResponse(source, method=method) as reply:
                reply.begin()
                content = reply.read()
                found = HTTPHeaderDict(reply.getheaders())
                if content and found.get("content-encoding", "").lower() in ("gzip", "x-gzip"):
                    content = gzip.decompress(content)
                return reply.status, found, content, reply.will_close
        except (OSError, http.client.HTTPException, EOFError, zlib.error) as error:
            raise ProtocolError(f"{type(error).__name__}: {error}") from error

    def _connection(self, seconds: float) -> socket.socket:
        while True:
            with self._lock:
                wire = self._idle.pop() if self._idle else None
            if wire is None:
                return self._connect(seconds)
            if not _readable(wire):  # readable while nobody asked: the other side has closed it
                wire.settimeout(seconds)
                return wire
            wire.close()

    def _connect(self, seconds: float) -> socket.socket:
        wire = socket.create_connection((self._host, self._port), seconds, source_address=_IPV4)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNDELIVERED_MS)
        if not self._secure:
            return wire
        if self._context is None:
            self._context = ssl.create_default_context(cafile=certifi.where())
            self._context.set_alpn_protocols(["http/1.1"])
        try:
            return self._context.wrap_socket(wire, server_hostname=self._host)
        except BaseException:
            wire.close()
            raise

    def _keep(self, wire: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < _KEPT:
                self._idle.append(wire)
                return
        wire.close()


class _Hurried(io.RawIOBase):
    """What comes from a socket, as long as there are seconds left; stands in for it where http.client reads."""

    def __init__(self, wire: socket.socket, left: Callable[[], float]) -> None:
        self._wire = wire
        self._left = left

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._left()
        if seconds <= 0:
            raise TimeoutError("the reply did not end in time")
        self._wire.settimeout(seconds)
        return self._wire.recv_into(buffer)


def _request(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The bytes of one request. Raises ValueError for a header that would end its line."""
    if not target.isascii() or " " in target:
        target = quote(target, safe="/?=&%:@!$'()*+,;~-._")
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None or method in _HAS_BODY:
        lines.append(f"content-length: {len(body or b'')}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError(f"a line break inside the request's target or headers ({method} to {host}); nothing was sent")
    return head.encode("latin-1") + b"\r\n\r\n" + (body or b"")


def _close(idle: list[socket.socket]) -> None:
    while idle:
        idle.pop().close()


def _readable(wire: socket.socket) -> bool:
    look = select.poll()
    look.register(wire, select.POLLIN)
    return bool(look.poll(0))
