"""A small client of granted time, single-threaded and on bare sockets: it reads exactly what each grant names, and nothing else."""

import hashlib
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def simulator(*arguments: str) -> Iterator[dict[str, Any]]:
    """A simulator process; yields its first line. Ended by SIGTERM, which it must obey."""
    command = [sys.executable, "-m", "simulators.server", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            assert process.wait(5) == 0


def admin(about: dict[str, Any], method: str, path: str, body: object = None) -> Any:
    """One call of the admin routes."""
    connection = http.client.HTTPConnection(urlsplit(about["admin"]).netloc, timeout=10)
    connection.request(method, path, json.dumps(body) if body is not None else None)
    reply = connection.getresponse()
    data = json.loads(reply.read())
    connection.close()
    if reply.status != 200:
        raise ValueError(f"{reply.status}: {data}")
    return data


class Reply:
    """An HTTP reply, or a reset (`status` 0)."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


class GrantedClient:
    """Attaches on construction; `turn` says done and takes the next grant with all that it names."""

    def __init__(self, about: dict[str, Any], account: str = "practice") -> None:
        self.about = about
        self.account = account
        host, port = about["grants"].split(":")
        self._link = socket.create_connection((host, int(port)), timeout=20)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._link.makefile("rb")
        self._rest = urlsplit(about["rest"])
        self._sockets: dict[str, Any] = {}
        self._numbers: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        self._waiting: dict[str, list[int]] = {}
        self._frames: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self.replies: dict[str, Reply] = {}
        self.received: dict[str, list[bytes | str]] = {}
        self.closed: list[str] = []
        self.log: list[bytes] = []
        self.token = ""
        self.grant: dict[str, Any] = {}
        self.say({"attach": {"account": account}})
        self.attached = json.loads(self._lines.readline())["attached"]
        self._take(self._read())

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.grant["at"])

    # --- the channel ----------------------------------------------------------------------------------------------------------------

    def say(self, message: dict[str, Any]) -> None:
        self._link.sendall(json.dumps(message).encode() + b"\n")

    def done(self, wake: datetime | None = None) -> None:
        self.say({"done": self.grant["grant"], "wake": wake.isoformat() if wake else None, "requests": self._numbers, "sent": self._sent})

    def turn(self, wake: datetime | None = None) -> dict[str, Any]:
        self.done(wake)
        return self.next()

    def next(self) -> dict[str, Any]:
        message = self._read()
        if "grant" in message:
            self._take(message)
        return message

    def die(self) -> None:
        """Like kill -9: every socket is gone at once."""
        for one in (*(sock for sock, _ in self._sockets.values()), self._link):
            one.close()
        for _, stream in self._sockets.values():
            stream.close()
        self._lines.close()

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        self.log.append(line)
        message: dict[str, Any] = json.loads(line) if line else {"gone": True}
        return message

    def _take(self, message: dict[str, Any]) -> None:
        self.grant = message
        for lane, count in message["completed"].items():
            while self._answered.get(lane, 0) < count:
                self._answered[lane] = self._answered.get(lane, 0) + 1
                self._read_reply(lane, self._answered[lane])
        for name, count in message["frames"].items():
            while self._frames.get(name, 0) < count:
                self._frames[name] = self._frames.get(name, 0) + 1
                self.received.setdefault(name, []).append(self._read_frame(name))
        for name in message["closed"]:
            sock, stream = self._sockets.pop(name)
            with suppress(ConnectionError):
                assert stream.read(1) in (b"", b"\x88")  # the end, or the server's own close frame
            stream.close()
            sock.close()
            self.closed.append(name)

    # --- REST -----------------------------------------------------------------------------------------------------------------------

    def send(self, lane: str, method: str, path: str, form: dict[str, Any] | None = None, extra: tuple[str, ...] = ()) -> str:
        """Put one request on its way; its reply is in `replies` under the returned name once a grant has named it."""
        lane = f"{self.account}/{lane}"
        number = self._numbers[lane] = self._numbers.get(lane, 0) + 1
        name = f"{lane}/{number}"
        if lane not in self._sockets:
            sock = socket.create_connection((self._rest.hostname, self._rest.port), timeout=20)
            self._sockets[lane] = (sock, sock.makefile("rb"))
        body = urlencode(form or {}).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._rest.netloc}", f"X-Grant: {name}", f"Content-Length: {len(body)}", *extra]
        lines += [f"Authorization: token practicekey:{self.token}"] if self.token else []
        lines += ["Content-Type: application/x-www-form-urlencoded"] if body else []
        self._sockets[lane][0].sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return name

    def ask(self, lane: str, method: str, path: str, form: dict[str, Any] | None = None) -> Reply:
        """Send and turn until the reply is here."""
        name = self.send(lane, method, path, form)
        while name not in self.replies:
            self.turn()
        return self.replies[name]

    def login(self) -> None:
        page = self.ask("reads", "GET", "/connect/login?v=3&api_key=practicekey")
        request_token = parse_qs(urlsplit(page.headers["location"]).query)["request_token"][0]
        checksum = hashlib.sha256(f"practicekey{request_token}practicesecret".encode()).hexdigest()
        form = {"api_key": "practicekey", "request_token": request_token, "checksum": checksum}
        self.token = self.ask("reads", "POST", "/session/token", form).data["access_token"]

    def _read_reply(self, lane: str, number: int) -> None:
        name = f"{lane}/{number}"
        sock, stream = self._sockets[lane]
        try:
            status, headers, body = _read_http(stream)
        except ConnectionError:
            stream.close()
            sock.close()
            del self._sockets[lane]
            self.replies[name] = Reply(0, {}, b"")
            return
        self.replies[name] = Reply(status, headers, body)
        if status == 101:
            self._sockets[name] = self._sockets.pop(lane)

    # --- the stream -----------------------------------------------------------------------------------------------------------------

    def stream(self) -> str:
        """Open a stream connection; returns its id."""
        key = os.urandom(12).hex()[:22] + "=="
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13")
        name = self.send("feed", "GET", f"/?api_key=practicekey&access_token={self.token}", extra=upgrade)
        while name not in self.replies:
            self.turn()
        return name

    def say_on(self, name: str, message: object) -> None:
        payload = json.dumps(message).encode()
        head = bytes((0x81, 0x80 | len(payload))) if len(payload) < 126 else struct.pack(">BBH", 0x81, 0x80 | 126, len(payload))
        self._sockets[name][0].sendall(head + b"\x00\x00\x00\x00" + payload)
        self._sent[name] = self._sent.get(name, 0) + 1

    def close(self, name: str) -> None:
        """Close a stream connection from this side."""
        self._sockets[name][0].sendall(b"\x88\x80\x00\x00\x00\x00")
        self._sent[name] = self._sent.get(name, 0) + 1

    def _read_frame(self, name: str) -> bytes | str:
        stream = self._sockets[name][1]
        opcode, length = stream.read(2)
        if length == 126:
            (length,) = struct.unpack(">H", stream.read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", stream.read(8))
        payload: bytes = stream.read(length)
        return payload.decode() if opcode == 0x81 else payload


def _read_http(stream: Any) -> tuple[int, dict[str, str], bytes]:
    first = stream.readline()
    if not first:
        raise ConnectionError("the connection ended instead of a reply")
    headers: dict[str, str] = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(first.split()[1]), headers, stream.read(int(headers.get("content-length", 0)))
