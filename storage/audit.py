"""Every request to a broker and every reply, one JSON line each, on disk before an order request leaves; secrets masked.

A line that cannot be written now (full disk) waits in memory and goes, in order, before the next; nothing is ever dropped. Only a
`durable` request raises: then it must not leave. A line torn by a crash keeps its place: the next line starts on a line of its own.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from core.errors import StoreError
from core.ports import Clock
from core.types import IST

_SECRET_NAMES = (
    "authorization",
    "cookie",
    "set-cookie",
    "(?:api|app)_?key",
    "x-privatekey",
    "api_?secret",
    "app_?secret",
    "client_?secret",
    "secret(?:_?key)?",
    "checksum",
    "totp",
    "twofa_value",
    "otp",
    "m?pin",
    "passw(?:or)?d",
    "(?:[a-z]+_?)?token",
    "(?:session_?key|session_?token|api_?session)",
)
_SECRET = re.compile(f"(?:{'|'.join(_SECRET_NAMES)})", re.IGNORECASE)
_NOT_SECRET = re.compile(r"(?:instrument|exchange|symbol)_?token", re.IGNORECASE)
_IN_TEXT = re.compile(
    rf"""(?P<name>["']?\b(?P<word>{"|".join(_SECRET_NAMES)})\b["']?)(?P<is>\s*[=:]\s*)(?P<value>"[^"]*"|'[^']*'|[^\s&,;}}"']+)""",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"\b(token|bearer|basic)\s+[\w.~+/=:-]{6,}", re.IGNORECASE)
_LONGEST = 256 * 1024  # characters of one text; of a longer one (an instrument dump) the beginning, the length and the digest are kept
_encoder = msgspec.json.Encoder(enc_hook=str)


def requests_of(folder: Path, day: date) -> int:
    """How many requests the segments of this day hold: what a restart must not give back of a broker's daily count."""
    count = 0
    for segment in folder.glob(f"*-{day.isoformat()}.jsonl"):
        with segment.open("rb") as lines:
            count += sum(b',"request":"' in line[:200] for line in lines)
    return count


def mask(value: Any) -> Any:
    """The same JSON-like value with every secret replaced by `***`: by the name it stands under, and inside texts, URLs and headers."""
    if isinstance(value, Mapping):
        return {key: "***" if _is_secret(str(key)) and content not in (None, "") else mask(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [mask(content) for content in value]
    if isinstance(value, bytes):
        return mask(value.decode("utf-8", "replace"))
    if isinstance(value, str):
        if value.isalnum():  # what gives a secret away has a colon, an equals sign or a blank in it
            return _shortened(value)
        return _CREDENTIALS.sub(r"\1 ***", _IN_TEXT.sub(_masked_text, _shortened(value)))
    return value


@lru_cache(1024)  # the fields of requests and replies are always the same few hundred
def _is_secret(name: str) -> bool:
    return _SECRET.fullmatch(name) is not None and _NOT_SECRET.fullmatch(name) is None


def _masked_text(found: re.Match[str]) -> str:
    if _NOT_SECRET.fullmatch(found["word"]):
        return found[0]
    quote = found["value"][0] if found["value"][0] in "\"'" else ""
    return f"{found['name']}{found['is']}{quote}***{quote}"


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[:_LONGEST]}… ({len(text)} characters, sha256 {digest})"


class AuditSegment:
    """The append-only audit log of one worker: FOLDER/NAME-YYYY-MM-DD.jsonl, a new file each IST day. One thread writes it."""

    def __init__(self, folder: Path, name: str, clock: Clock) -> None:
        self._folder = folder
        self._name = name.replace("/", "-")
        self._clock = clock
        self._day: date | None = None
        self._file = -1
        self._size = 0  # bytes of whole lines; what a failed write left beyond it is cut off
        self._number = 0
        self._waiting: list[bytes] = []

    def request(self, lane: str, method: str, route: str, params: Any = None, *, durable: bool = False) -> int:
        """Write one request, return its number (1, 2, 3, ... in each file).

        `durable` (every order request): on disk when this returns. Otherwise StoreError: nothing was noted, and it must not leave.
        """
        refused = self._open()
        self._number += 1
        line = self._line(self._number, {"lane": lane, "request": method, "route": mask(route), "params": mask(params)})
        self._waiting.append(line)
        refused = refused or self._write(durable)
        if refused and durable:
            if line in self._waiting:
                self._waiting.remove(line)
            raise StoreError(
                f"the audit log {self._path(self._day)} cannot be written ({refused}), so the request {method} {mask(route)} was not "
                f"sent; free some disk space or make the folder writable"
            )
        return self._number

    def reply(self, number: int, status: int | str, body: Any = None) -> None:
        """Write how request `number` ended: the HTTP status, or the name of the error that came instead. Never raises: it can wait."""
        self._waiting.append(self._line(number, {"reply": status, "body": mask(body)}))
        self._open() or self._write(durable=False)

    @property
    def waiting(self) -> int:
        """Lines that could not be written yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Write what waits and close the file; raises StoreError if something must stay unwritten."""
        refused = self._open() or self._write(durable=True) if self._waiting else ""
        self._shut()
        if refused:
            raise StoreError(f"{len(self._waiting)} lines of the audit log {self._path(self._day)} were not written: {refused}")

    def _line(self, number: int, content: dict[str, Any]) -> bytes:
        at = self._clock.now().astimezone(IST).isoformat(timespec="microseconds")
        return _encoder.encode({"n": number, "at": at, **content}) + b"\n"

    def _open(self) -> str:
        """Have the file of the day open, or say why not; lines that waited under the old name go into the new one."""
        day = self._clock.now().astimezone(IST).date()
        if day == self._day and self._file >= 0:
            return ""
        self._shut()
        self._day = day
        path = self._path(day)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._size = os.fstat(self._file).st_size
            if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
                self._size += os.write(self._file, b"\n")
            self._number = _highest_number(path)
        except OSError as error:
            self._shut()
            return str(error.strerror)
        return ""

    def _write(self, durable: bool) -> str:
        """Write what waits, whole lines only, or say why not."""
        try:
            while self._waiting:
                line = self._waiting[0]
                written = os.write(self._file, line)
                if written < len(line):
                    os.ftruncate(self._file, self._size)
                    return "no space left"
                self._size += written
                del self._waiting[0]
            if durable:
                os.fdatasync(self._file)
        except OSError as error:
            return str(error.strerror)
        return ""

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _path(self, day: date | None) -> Path:
        return self._folder / f"{self._name}-{day}.jsonl"


def _highest_number(path: Path) -> int:
    """The highest request number already in the file (a torn line has none)."""
    highest = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                highest = max(highest, msgspec.json.decode(line)["n"])
            except (msgspec.DecodeError, KeyError, TypeError):
                continue
    return highest
