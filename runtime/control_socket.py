"""The daemon's control socket, server side: read-outs from the published Snapshot and the ledger, commands to the engine."""

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from loguru import logger

from core.errors import NiyamError
from core.types import Snapshot
from utils.control import COMMANDS, EVERY_S, FOLLOW, READOUTS, SHOWN, Answer, Request, Shot, reachable

Submit = Callable[[str, Mapping[str, Any]], Answer]
Read = Callable[[str, Mapping[str, Any]], Any]
LONGEST_REQUEST = 1024 * 1024  # bytes
PATIENCE = 10.0  # seconds a connected client may stay silent
AT_ONCE = 16  # connections served side by side; further ones wait in the kernel's queue
WAITING = 128
FOLLOWERS = 6  # of those; more are refused


class ControlSocket:
    """Serves `path` (mode 0600) from threads of its own.

    `snapshot` gives the engine's latest published state. `submit` carries a command to the engine and returns when its outcome is
    known. `read(name, arguments)` answers what the Snapshot does not hold (fills, journal, report, any other day) from the ledger,
    through a reader of its own; it may raise NiyamError. None of these threads takes part in granted time.
    """

    def __init__(self, path: Path, snapshot: Callable[[], Snapshot | None], submit: Submit, read: Read | None = None) -> None:
        self._path = path
        self._snapshot = snapshot
        self._submit = submit
        self._read = read
        self._server: socket.socket | None = None
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._followers = threading.BoundedSemaphore(FOLLOWERS)
        self._name = uuid.uuid4().hex
        self._counted: tuple[int, Snapshot | None] = (0, None)  # so many Snapshots were seen, the last one
        self._counting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. A socket file left by a dead daemon is replaced: the single-instance lock says that it is dead."""
        self._path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            with reachable(self._path) as address:
                server.bind(address)
        finally:
            os.umask(mask)
        server.listen(WAITING)
        self._server = server
        self._thread = threading.Thread(target=self._serve, args=(server,), name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and remove the socket file; an answer being written is finished by its own thread."""
        if self._server is not None:
            self._path.unlink(missing_ok=True)
            self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._server = None
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # stop() closed it
                return
            self._slots.acquire()
            threading.Thread(target=self._converse, args=(connection,), name="control-client", daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(PATIENCE)
                for line in _lines(connection):
                    request = _request(line)
                    if isinstance(request, Request) and request.name == FOLLOW:
                        self._tell(connection)
                        return
                    answer = self._answer(request) if isinstance(request, Request) else request
                    connection.sendall(msgspec.json.encode(answer) + b"\n")
        except OSError as error:
            logger.debug("a control client went away: {}", error)
        finally:
            self._slots.release()

    def _tell(self, connection: socket.socket) -> None:
        """Tell a follower what is new until it goes away, or we do. What it was told is kept as bytes: what has not changed is not sent."""
        if not self._followers.acquire(blocking=False):
            text = f"{FOLLOWERS} programs follow this daemon already; end one, or ask for single read-outs"
            connection.sendall(msgspec.json.encode(Answer(ok=False, text=text)) + b"\n")
            return
        told: dict[str, bytes] = {}
        number = -1
        try:
            while self._server is not None:
                count, snapshot = self._count()
                parts: dict[str, msgspec.Raw] = {}
                if snapshot is not None and count != number:
                    number = count
                    for name in SHOWN:
                        encoded = msgspec.json.encode(getattr(snapshot, name))
                        if told.get(name) != encoded:
                            told[name] = encoded
                            parts[name] = msgspec.Raw(encoded)
                connection.settimeout(PATIENCE)
                connection.sendall(msgspec.json.encode(Shot(self._name, count, parts)) + b"\n")
                if not _quiet(connection, EVERY_S):
                    return
        finally:
            self._followers.release()

    def _count(self) -> tuple[int, Snapshot | None]:
        with self._counting:
            snapshot = self._snapshot()
            if snapshot is not self._counted[1]:
                self._counted = self._counted[0] + 1, snapshot
            return self._counted

    def _answer(self, request: Request) -> Answer:
        try:
            answer = self._handle(request)
        except NiyamError as error:
            answer = Answer(ok=False, text=str(error))
        except Exception as error:
            logger.exception("the control request {!r} failed", request.name)
            answer = Answer(ok=False, text=f"{request.name!r} failed inside the daemon ({type(error).__name__}); its log has the details")
        return msgspec.structs.replace(answer, id=request.id)

    def _handle(self, request: Request) -> Answer:
        if request.name in COMMANDS:
            return self._submit(request.name, request.arguments)
        if request.name not in READOUTS:
            known = ", ".join((*READOUTS, *COMMANDS))
            return Answer(ok=False, text=f"unknown request {request.name!r}; there are {known}")
        snapshot = self._snapshot()
        if not request.arguments and snapshot is not None and request.name in SHOWN:
            return Answer(ok=True, data=getattr(snapshot, request.name))
        if not request.arguments and snapshot is not None and request.name == "strategies":
            return Answer(ok=True, data=snapshot.status["strategies"])
        if self._read is None:
            return Answer(ok=False, text=f"the daemon has no {request.name} to show yet; ask again in a moment")
        return Answer(ok=True, data=self._read(request.name, request.arguments))


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """The request lines of one connection; a client that sends an endless one is hung up on."""
    rest = b""
    while len(rest) <= LONGEST_REQUEST:
        part = connection.recv(65536)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        yield from lines


def _request(line: bytes) -> Request | Answer:
    """What is asked, or the answer to what is no request."""
    try:
        return msgspec.json.decode(line, type=Request)
    except msgspec.MsgspecError as error:
        return Answer(ok=False, text=f"not a request: {error}; send one JSON object a line with id, name and arguments")


def _quiet(connection: socket.socket, seconds: float) -> bool:
    """Wait so long; False where the client closed its end, or said something that nobody asked for."""
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    return False
