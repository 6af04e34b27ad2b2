"""The daemon's control socket as its clients see it: one line of JSON asked, one line answered.

Names: status strategies orders positions signals fills journal report usage chart (read-outs), and pause resume reduce-only square-off kill
acknowledge absent login order watch reload retune enable disable signal (commands, answered when their outcome is known), brokerage and
postback (the web process's own: the account's login and portfolio, and what its broker posts; runtime/brokerage.py, postbacks.py).

`follow` turns a connection into a stream: a Shot at once and then every EVERY_S seconds, of what has changed, while it is open.
"""

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from core.errors import NiyamError

READOUTS = ("status", "strategies", "orders", "positions", "signals", "fills", "journal", "report", "usage", "chart")
COMMANDS = (
    *("pause", "resume", "reduce-only", "square-off", "kill", "acknowledge", "absent", "login", "order", "watch"),
    *("reload", "retune", "enable", "disable", "signal", "brokerage", "postback"),
)
FOLLOW = "follow"
SHOWN = ("status", "orders", "positions", "signals")  # the read-outs that a Snapshot holds
EVERY_S = 0.5  # between two Shots
SILENT_S = 3.0  # a daemon that has told its followers nothing for so long does not answer
LONGEST_LINE = 64 * 1024 * 1024  # bytes; a report of a whole year fits many times


class Request(msgspec.Struct, frozen=True):
    """What a client asks. `id` is the client's own, given back with the answer."""

    id: str
    name: str
    arguments: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True):
    """What came of it: `text` is one line for a person, `data` the document of a read-out or the details of an outcome."""

    ok: bool
    text: str = ""
    data: Any = None
    id: str = ""


class Shot(msgspec.Struct, frozen=True):
    """One published Snapshot, as its daemon tells it to followers: `parts` are those that differ from the Shot before, as JSON.

    `socket` names the daemon's socket as long as it lives, `number` counts its Snapshots.
    """

    socket: str
    number: int
    parts: dict[str, msgspec.Raw] = {}


class DaemonDown(NiyamError):
    """Nobody answers on the socket: no daemon runs on this state folder (or it died)."""


class Silent(NiyamError):
    """The daemon is there and says nothing."""


class Unanswered(DaemonDown):
    """The daemon took the request and went away without an answer: what it did of it is not known."""


def ask(path: Path, name: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = 60.0) -> Answer:
    """Ask the daemon behind the socket `path`; raises DaemonDown when there is none, NiyamError when it does not answer in time."""
    request = Request(id=str(os.getpid()), name=name, arguments=dict(arguments or {}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # a Unix socket whose queue is full refuses at once to wait with Python's own time-out; with the kernel's it waits its turn
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), int(timeout % 1 * 1e6)))
        try:
            with reachable(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            raise DaemonDown(f"no daemon answers on {path}; start one with `main.py run`") from None
        except BlockingIOError:
            raise NiyamError(f"the daemon was busy with other questions for {timeout:.0f} s; ask {name!r} again") from None
        connection.settimeout(timeout)
        try:
            connection.sendall(msgspec.json.encode(request) + b"\n")
            line = _line(connection)
        except TimeoutError:
            raise NiyamError(f"the daemon did not answer {name!r} within {timeout:.0f} s; see its log, and ask again") from None
        except (ConnectionResetError, BrokenPipeError):
            line = b""
    if not line:
        raise Unanswered(f"the daemon on {path} closed the connection without an answer to {name!r}; look at `main.py status`")
    return msgspec.json.decode(line, type=Answer)


def follow(path: Path) -> Iterator[Shot]:
    """Each Shot as it comes, the first with every part; a Shot without parts says that nothing is new. Raises as `ask` does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SILENT_S)
        try:
            with reachable(path) as address:
                connection.connect(address)
            connection.sendall(msgspec.json.encode(Request(id=str(os.getpid()), name=FOLLOW)) + b"\n")
            rest = bytearray()
            while part := connection.recv(1 << 18):
                rest += part
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    yield _shot(bytes(line))
                if len(rest) > LONGEST_LINE:
                    raise NiyamError(f"a Shot of the daemon is longer than {LONGEST_LINE} bytes")
        except (FileNotFoundError, ConnectionError):
            raise DaemonDown(f"no daemon answers on {path}; start one with `main.py run`") from None
        except (TimeoutError, BlockingIOError):
            raise Silent(f"the daemon has said nothing for {SILENT_S:.0f} s; see its log") from None
    raise DaemonDown(f"the daemon on {path} has gone")


def _shot(line: bytes) -> Shot:
    try:
        return msgspec.json.decode(line, type=Shot)
    except msgspec.MsgspecError:
        raise NiyamError(msgspec.json.decode(line, type=Answer).text) from None


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """An address of a Unix socket that fits the kernel's 107 bytes, however deep the folder lies."""
    if len(os.fsencode(path)) < 104:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _line(connection: socket.socket) -> bytes:
    parts = bytearray()
    while not parts.endswith(b"\n"):
        part = connection.recv(65536)
        if not part:
            return b""
        parts += part
        if len(parts) > LONGEST_LINE:
            raise NiyamError(f"the daemon's answer is longer than {LONGEST_LINE} bytes; ask for a shorter period")
    return bytes(parts)
