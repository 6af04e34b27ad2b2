"""A real websocket server on localhost, played by hand: the test says what each connection is answered, sent and denied."""

import base64
import hashlib
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Peer:
    """The server's end of one connection. `said` holds the client's texts in order; a close frame shows as `closed`, an end as None."""

    target: str
    headers: dict[str, str]
    wire: socket.socket
    said: "queue.Queue[str | None]" = field(default_factory=queue.Queue)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    def send(self, payload: bytes | str) -> None:
        opcode, raw = (0x82, payload) if isinstance(payload, bytes) else (0x81, payload.encode())
        size = len(raw)
        length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 65_536 else b"\x7f" + struct.pack(">Q", size)
        self.wire.sendall(bytes([opcode]) + length + raw)

    def drop(self) -> None:
        """End the connection without a close frame."""
        self.wire.shutdown(socket.SHUT_RDWR)

    def heard(self, seconds: float = 5.0) -> str | None:
        return self.said.get(timeout=seconds)


class SocketServer:
    """Use as a context manager. `answer(n)` gives the refusal of the n-th handshake (raw HTTP reply) or None to accept it."""

    def __init__(self, answer: Callable[[int], bytes | None] = lambda number: None, context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._context = context
        self.peers: queue.Queue[Peer] = queue.Queue()
        self.handshakes = 0

    def __enter__(self) -> "SocketServer":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wires: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()
        for wire in self._wires:
            wire.close()

    @property
    def url(self) -> str:
        return f"{'wss' if self._context else 'ws'}://localhost:{self._listener.getsockname()[1]}"

    def peer(self, seconds: float = 10.0) -> Peer:
        """The next accepted connection."""
        return self.peers.get(timeout=seconds)

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            self._wires.append(wire)
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        try:
            if self._context is not None:
                wire = self._context.wrap_socket(wire, server_side=True)
                self._wires.append(wire)
            self._talk(wire)
        except OSError:
            wire.close()

    def _talk(self, wire: socket.socket) -> None:
        stream: Any = wire.makefile("rb")
        target = stream.readline().decode().split(" ")[1]
        headers = {}
        while (line := stream.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.handshakes += 1
        refusal = self._answer(self.handshakes)
        if refusal is not None:
            wire.sendall(refusal)
            wire.close()
            return
        accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + _MAGIC).encode()).digest()).decode()
        lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}", "", "")
        wire.sendall("\r\n".join(lines).encode())
        peer = Peer(target, headers, wire)
        self.peers.put(peer)
        try:
            while (head := stream.read(2)) and len(head) == 2:
                length = head[1] & 0x7F
                if length == 126:
                    (length,) = struct.unpack(">H", stream.read(2))
                mask, body = stream.read(4), stream.read(length)
                text = bytes(byte ^ mask[index % 4] for index, byte in enumerate(body))
                peer.said.put("closed" if head[0] & 0x0F == 8 else text.decode())
        finally:
            peer.said.put(None)


def refused(status: int, body: str = "") -> bytes:
    return f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
