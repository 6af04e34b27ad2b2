"""Log sinks: human lines on stderr, one JSON object a line in a file; secrets are masked in both, and stdlib logging joins in."""

import json
import logging
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from core.errors import NiyamError
from core.types import IST
from utils.redaction import masked, redact

if TYPE_CHECKING:
    from loguru import Record

NOISY = ("urllib3", "requests", "websocket", "kiteconnect", "apscheduler", "aiohttp.access", "asyncio", "alembic", "httpx")
"""Libraries of which only warnings are of interest (below that they write URLs and headers)."""
MarketTime = Callable[[], datetime]


def setup(
    *,
    level: str = "INFO",
    file: Path | None = None,
    keep_days: int = 30,
    stream: TextIO | None = None,
    human: bool = True,
    market_time: MarketTime | None = None,
) -> None:
    """Replace all sinks. `file` gets the JSON lines (a new one each midnight, old ones removed after `keep_days`).

    `market_time` adds the simulated time to each line; `human=False` leaves the terminal to the live screen. Never writes variables'
    values into tracebacks: they may hold secrets.
    """
    logger.remove()
    if human:
        logger.add(stream or sys.stderr, level=level, format=_Human(market_time), backtrace=False, diagnose=False, catch=True)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        logger.add(
            file,
            level=level,
            format=_Json(market_time),
            rotation="00:00",
            retention=f"{keep_days} days",
            encoding="utf-8",
            backtrace=False,
            diagnose=False,
            catch=True,
        )
    logging.basicConfig(handlers=[_Intercept()], level=logging.NOTSET, force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Intercept(logging.Handler):
    """Hands records of the standard library's logging to the sinks above."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno

        def origin(target: "Record") -> None:
            target["name"], target["line"] = record.name, record.lineno

        logger.opt(exception=record.exc_info).patch(origin).log(level, "{}", record.getMessage())


class _Human:
    """`12:00:01 INFO    text`, with the market's time in front of the wall's where there is one, and the traceback below."""

    def __init__(self, market_time: MarketTime | None) -> None:
        self._market_time = market_time

    def __call__(self, record: "Record") -> str:
        text = redact(record["message"])
        if record["exception"] is not None:
            text += "\n" + _trace(record).rstrip()
        whose = record["extra"].get("account")  # of several side by side
        record["extra"]["_line"] = f"{whose}: {text}" if whose else text
        record["extra"]["_market"] = _stamp(self._market_time, "%d-%b %H:%M:%S ")
        record["extra"]["_at"] = f"{record['time'].astimezone(IST):%H:%M:%S}"
        return "<dim>{extra[_at]}</dim> <cyan>{extra[_market]}</cyan><level>{level: <7}</level> {extra[_line]}\n"


class _Json:
    """{"at", "market_at", "level", "logger", "line", "thread", "message", "error", and what was bound}."""

    def __init__(self, market_time: MarketTime | None) -> None:
        self._market_time = market_time

    def __call__(self, record: "Record") -> str:
        entry: dict[str, Any] = {"at": record["time"].astimezone(IST).isoformat(timespec="milliseconds"), "level": record["level"].name}
        if market_at := _stamp(self._market_time, "%Y-%m-%dT%H:%M:%S%z"):
            entry["market_at"] = market_at
        entry |= {"logger": record["name"], "line": record["line"], "thread": record["thread"].name}
        entry["message"] = redact(record["message"])
        if record["exception"] is not None:
            entry["error"] = _trace(record)
        entry |= masked({key: value for key, value in record["extra"].items() if not key.startswith("_")})
        record["extra"]["_json"] = json.dumps(entry, ensure_ascii=False, default=lambda value: redact(str(value)))
        return "{extra[_json]}\n"


def _stamp(market_time: MarketTime | None, form: str) -> str:
    if market_time is None:
        return ""
    try:
        return market_time().strftime(form)
    except NiyamError:  # a granted clock that has no time yet: the line must come out all the same
        return ""


def _trace(record: "Record") -> str:
    error = record["exception"]
    assert error is not None
    return redact("".join(traceback.format_exception(error.type, error.value, error.traceback)))
