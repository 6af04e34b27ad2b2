"""A real HTTP server on localhost that answers each request with the next raw bytes of a script, and remembers what it was asked."""

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def form(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}


Reply = bytes | Callable[[socket.socket], None]


def http(status: int, body: bytes | str, content_type: str | None = "application/json", **headers: str) -> bytes:
    """One raw HTTP reply."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(raw)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def ok(data: Any) -> bytes:
    return http(200, json.dumps({"status": "success", "data": data}))


def error(status: int, error_type: str, message: str) -> bytes:
    return http(status, json.dumps({"status": "error", "message": message, "data": None, "error_type": error_type}))


def reset(connection: socket.socket) -> None:
    """End the connection with a TCP reset, after the request was read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def hang(connection: socket.socket) -> None:
    """Never answer; ends when the client gives up."""
    connection.recv(1)


@dataclass
class ScriptedServer:
    """Use as a context manager. `script` is consumed one reply for each request; `requests` and `connections` tell what came."""

    script: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    ended: int = 0  # connections that the server has closed

    def __enter__(self) -> "ScriptedServer":
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            self._answer(connection)
        self.ended += 1

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while True:
                line = stream.readline().decode()
                if not line:
                    return
                method, target, _ = line.split(" ", 2)
                headers = {}
                while (header := stream.readline().decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                self.requests.append(Request(method, target, headers, body))
                reply = self.script.pop(0) if self.script else error(500, "GeneralException", "the script has ended")
                if callable(reply):
                    reply(connection)
                    return
                connection.sendall(reply)
