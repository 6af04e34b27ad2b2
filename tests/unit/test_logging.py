"""Log sinks: readable lines, parseable JSON, secrets in neither, and the standard library's records in both."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from core.clock import GrantedClock
from core.types import IST
from utils.logging_setup import setup
from utils.redaction import MASK, masked, redact, register_secret


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logger.remove()
    logging.basicConfig(handlers=handlers, level=level, force=True)


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_both_sinks_tell_the_same_and_json_keeps_what_was_bound(tmp_path: Path) -> None:
    stream, file = io.StringIO(), tmp_path / "log" / "niyam.json"
    setup(stream=stream, file=file, market_time=lambda: datetime(2026, 11, 20, 9, 30, tzinfo=IST))
    logger.bind(order="20261120-1", quantity=65).info("order sent at ₹{} {{not a field}} <tag>", 24000.5)
    assert "20-Nov 09:30:00 INFO    order sent at ₹24000.5 {not a field} <tag>\n" in stream.getvalue()
    (entry,) = entries(file)
    assert entry["message"] == "order sent at ₹24000.5 {not a field} <tag>"
    assert (entry["level"], entry["order"], entry["quantity"]) == ("INFO", "20261120-1", 65)
    assert entry["market_at"] == "2026-11-20T09:30:00+0530"
    assert entry["at"].endswith("+05:30")
    assert entry["logger"] == __name__


def test_a_lower_level_is_not_written(tmp_path: Path) -> None:
    stream = io.StringIO()
    setup(stream=stream, level="WARNING")
    logger.info("quiet")
    logger.warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_the_live_screen_keeps_the_terminal_to_itself(tmp_path: Path) -> None:
    stream = io.StringIO()
    setup(stream=stream, human=False, file=tmp_path / "x.json")
    logger.info("to the file only")
    assert stream.getvalue() == ""
    assert entries(tmp_path / "x.json")[0]["message"] == "to the file only"


def test_the_standard_librarys_records_join_and_noisy_libraries_are_quiet(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    setup(human=False, file=file, level="DEBUG")
    logging.getLogger("some.package").warning("disk at %d %%", 93)
    logging.getLogger("urllib3.connectionpool").debug("GET https://host/orders?access_token=abc")
    logging.getLogger("some.package").log(25, "a level of its own")
    first, second = entries(file)
    assert (first["message"], first["logger"], first["level"]) == ("disk at 93 %", "some.package", "WARNING")
    assert second["message"] == "a level of its own"


def test_secrets_reach_neither_sink(tmp_path: Path) -> None:
    stream, file = io.StringIO(), tmp_path / "x.json"
    setup(stream=stream, file=file)
    register_secret("hunter2-hunter2")
    logger.info("login with hunter2-hunter2")
    logger.info("Authorization: token kite_key:s3cr3t-value")
    logger.bind(api_secret="s3cr3t-value", nested={"access_token": "s3cr3t-value", "user": "AB1234"}).info("bound")

    given = "-".join(["s3cr3t", "value"])  # in pieces: a traceback quotes source lines

    def sign(private: str) -> None:
        raise ValueError(f"checksum={private} was refused")

    try:
        sign(given)
    except ValueError:
        logger.exception("signing failed")
    for text in (stream.getvalue(), file.read_text()):
        assert "hunter2" not in text
        assert "s3cr3t" not in text
        assert MASK in text
        assert "signing failed" in text
    assert entries(file)[2]["nested"] == {"access_token": MASK, "user": "AB1234"}
    assert "ValueError: checksum=***" in entries(file)[3]["error"]


def test_a_traceback_shows_no_variables(tmp_path: Path) -> None:
    stream = io.StringIO()
    setup(stream=stream)
    kept_in_a_variable = "opaque-value-77"
    try:
        int(f"x{len(kept_in_a_variable)}")
    except ValueError:
        logger.exception("no number")
    assert "Traceback" in stream.getvalue()
    assert "opaque-value-77" not in stream.getvalue()


def test_a_clock_without_a_time_does_not_stop_the_line() -> None:
    stream = io.StringIO()
    setup(stream=stream, market_time=GrantedClock().now)
    logger.info("before the first grant")
    assert "INFO    before the first grant" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET /quote?api_key=kk&access_token=Zx81&i=NSE", "Zx81"),
        ('{"api_secret": "Zx81", "user": "AB"}', "Zx81"),
        ("{'refresh_token': 'Zx81'}", "Zx81"),
        ("ZERODHA_API_SECRET=Zx81", "Zx81"),
        ("Authorization: token key:Zx81", "Zx81"),
        ("authorization='Bearer Zx81.a.b'", "Zx81"),
        ("postgresql://me:Zx81@host/niyam", "Zx81"),
        ("request_token%3DZx81&status=success", "Zx81"),
        ("password: Zx81", "Zx81"),
        ("totp_secret=Zx81", "Zx81"),
    ],
)
def test_values_of_secret_looking_keys_are_masked(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "instrument_token=12345678",
        "the token expired at 06:00: log in at https://kite.zerodha.com/connect/login?api_key=kk",
        "the secret ZERODHA_API_SECRET is not set; looked in the environment, /home/me/.env",
        "order 20261120-1 SELL 65 NFO:NIFTY26NOVFUT at 24000.50",
    ],
)
def test_ordinary_lines_are_left_alone(text: str) -> None:
    assert redact(text) == text


def test_short_values_are_not_registered_and_masking_keeps_the_shape() -> None:
    register_secret("buy")
    assert redact("buy 65") == "buy 65"
    assert masked({"a": [1, {"password": "x1", "ok": True}], "checksum": "", "text": "otp=123456"}) == {
        "a": [1, {"password": MASK, "ok": True}],
        "checksum": "",
        "text": "otp=***",
    }
