"""The raw ends of the socket shell: WebSocket frames written straight to a transport, and the grants channel's JSON lines."""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from simulators.grants import Grants
from simulators.wire import dump


class StreamWire:
    """Writes WebSocket frames straight to the transport: unmasked, uncompressed, in one call for all that is due."""

    def __init__(self, raw: web.BaseRequest) -> None:
        self._transport = raw.transport
        self._waiting: list[bytes] | None = []  # until the 101 has left

    def open(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting:
            self._write(b"".join(waiting))

    def send(self, frames: list[bytes | str]) -> None:
        data = b"".join(map(encode, frames))
        if self._waiting is not None:
            self._waiting.append(data)
        else:
            self._write(data)

    def close(self, *, reset: bool) -> None:
        hang_up(self._transport, reset=reset)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class GrantLink(asyncio.Protocol):
    """One grants channel: a TCP connection of JSON lines."""

    def __init__(self, grants: Grants, spacing_s: int, *, granted: bool) -> None:
        self._grants = grants
        self._spacing_s = spacing_s
        self._granted = granted
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._attached = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
                self._take(message)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                self.send(
                    {"error": f"{type(error).__name__}: {error}; a line is one JSON object, e.g. " + '{"attach":{"account":"practice"}}'}
                )
                self._hang_up()
                return

    def connection_lost(self, error: Exception | None) -> None:
        if self._attached:
            self._grants.detach(self)

    def send(self, message: Mapping[str, Any]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(dump(message) + b"\n")

    def _take(self, message: Mapping[str, Any]) -> None:
        if self._attached:
            self._grants.message(self, message)
            return
        account = str(message["attach"]["account"])
        if not self._granted:
            self.send({"error": "this simulator's clock runs by itself; start it with --granted to attach to it"})
            self._hang_up()
            return
        self._attached = True
        self._grants.attach(self, account, self._spacing_s)

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()


def encode(frame: bytes | str) -> bytes:
    """One server frame (RFC 6455): final, unmasked, text or binary."""
    opcode, payload = (0x81, frame.encode()) if isinstance(frame, str) else (0x82, frame)
    length = len(payload)
    if length < 126:
        return bytes((opcode, length)) + payload
    if length < 1 << 16:
        return struct.pack(">BBH", opcode, 126, length) + payload
    return struct.pack(">BBQ", opcode, 127, length) + payload


def hang_up(transport: asyncio.BaseTransport | None, *, reset: bool) -> None:
    """End a connection without a word: by FIN, or by RST as a dying machine or a firewall does."""
    if transport is None or transport.is_closing():
        return
    if reset:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
    else:
        transport.close()
