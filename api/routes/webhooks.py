"""Alerts of TradingView and ChartInk as Signals: authenticated, no older than minutes, each taken once; risk and orders are the engine's.

Only a strategy of `class: outside_alerts` hears them. Two ways in:
1. `X-Niyam-Signature: t=UNIX,v1=HEX`, HMAC-SHA256 of "t.body" with the secret NIYAM_SIGNAL_SECRET, t within five minutes.
2. The secret itself (neither service can sign): in the body's `secret`, or `?secret=` for ChartInk; the alert then carries its time.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query, Request
from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.auth import Has
from api.ports import Parts
from core.errors import ConfigError, NiyamError
from core.types import IST
from utils.control import DaemonDown
from utils.redaction import redact

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])
SECRET = "NIYAM_SIGNAL_SECRET"  # noqa: S105 - the name of a secret
OLDEST = timedelta(minutes=5)
_TARGETS = {"buy": 1.0, "sell": -1.0, "exit": 0.0, "flat": 0.0, "close": 0.0}


class Alert(BaseModel):
    """One alert: `target` is a signed multiple of the strategy's size, `action` (buy, sell, exit) the same in words."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)
    strategy: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    target: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] | None = None
    action: Literal["buy", "sell", "exit", "flat", "close"] | None = None
    stop: Annotated[float, Field(gt=0, le=1e8)] | None = None
    take_profit: Annotated[float, Field(gt=0, le=1e8)] | None = None
    why: Annotated[str, Field(max_length=200)] = ""


class Taken(BaseModel):
    """What became of each signal; `duplicate`: this very alert was taken before, and nothing was done."""

    duplicate: bool = False
    results: list[dict[str, Any]] = []


@router.post("/{source}")
async def alert(
    source: Literal["tradingview", "chartink"],
    request: Request,
    parts: Has,
    secret: Annotated[str | None, Query(max_length=200)] = None,
    strategy: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = None,
    target: Annotated[float, Query(ge=-100, le=100)] = 1.0,
) -> Taken:
    """One alert. Rate-limited to 30 a minute; off unless settings.yaml says api.webhooks: true."""
    if not parts.settings.webhooks:
        raise HTTPException(403, "webhooks are switched off (settings.yaml: api.webhooks)")
    body = await request.body()
    given = _object(body)
    stamp = _authenticated(parts, request.headers.get("x-niyam-signature"), body, given, secret)
    if stamp is None:
        _fresh(source, given, parts.now())
    alerts = _tradingview(given) if source == "tradingview" else _chartink(given, strategy, target)
    seen = hashlib.sha256(f"{source}|{stamp}|{strategy}|{target}|".encode() + body).hexdigest()
    return await anyio.to_thread.run_sync(lambda: _take(parts, source, seen, alerts))


def _take(parts: Parts, source: str, seen: str, alerts: list[Alert]) -> Taken:
    if not parts.remembered.first_time(seen, parts.now()):
        return Taken(duplicate=True)
    results = []
    for one in alerts:
        target = one.target if one.target is not None else _TARGETS[str(one.action)]
        arguments = {"strategy": one.strategy, "name": one.name, "target": target, "stop": one.stop,
                     "take_profit": one.take_profit, "why": f"{source}: {one.why}".strip(": ")}  # fmt: skip
        try:
            answer = parts.desk.ask("signal", arguments)
        except DaemonDown as error:
            raise HTTPException(503, redact(str(error))) from None
        except NiyamError as error:
            raise HTTPException(504, redact(str(error))) from None
        logger.bind(event="webhook_signal", source=source).info("{} {} {}: {}", one.strategy, one.name, target, answer.text)
        results.append({"strategy": one.strategy, "name": one.name, "target": target, "ok": answer.ok, "text": redact(answer.text)})
    return Taken(results=results)


def _authenticated(parts: Parts, signature: str | None, body: bytes, given: Mapping[str, Any], secret: str | None) -> str | None:
    """The signature's time, None where the secret itself was given; 401 for neither."""
    try:
        wanted = parts.secrets.get_secret(SECRET)
    except ConfigError as error:
        raise HTTPException(503, f"webhooks need the secret {SECRET}: main.py vault set {SECRET}") from error
    if signature is not None:
        fields = dict(part.partition("=")[::2] for part in signature.split(","))
        stamp = fields.get("t", "")
        right = hmac.new(wanted.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        if hmac.compare_digest(right.encode(), fields.get("v1", "").encode()) and stamp.isdigit() and len(stamp) <= 12:
            if abs(parts.now().timestamp() - int(stamp)) > OLDEST.total_seconds():
                raise HTTPException(401, "this signature is older than five minutes")
            return stamp
        raise HTTPException(401, "the signature does not fit")
    if not hmac.compare_digest(wanted.encode(), str(given.get("secret") or secret or "").encode()):
        raise HTTPException(401, "an alert carries X-Niyam-Signature, or the secret")
    return None


def _fresh(source: str, given: Mapping[str, Any], now: datetime) -> None:
    """400 for an alert that does not say when it was made, or was made too long ago."""
    text = str(given.get("time" if source == "tradingview" else "triggered_at") or "").strip()
    try:
        if source == "tradingview":
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo is not None else at.replace(tzinfo=IST)
        else:
            clock = datetime.strptime(text.upper(), "%I:%M %p").time()  # noqa: DTZ007 - a time of day, IST by ChartInk's word
            at = datetime.combine(now.astimezone(IST).date(), clock, IST)
        age = abs(now - at)
    except (ValueError, OverflowError):
        wanted = '"time": "{{timenow}}"' if source == "tradingview" else "triggered_at"
        raise HTTPException(400, f"an alert without a signature says when it was made: {wanted}") from None
    if age > OLDEST:
        raise HTTPException(400, f"this alert was made at {at:%H:%M:%S %Z}, more than five minutes from now")


def _tradingview(given: Mapping[str, Any]) -> list[Alert]:
    one = _alert(given)
    if (one.target is None) == (one.action is None):
        raise HTTPException(422, "give either target or action")
    return [one]


def _chartink(given: Mapping[str, Any], strategy: str | None, target: float) -> list[Alert]:
    """{"stocks": "SBIN,INFY", "trigger_prices": "...", "triggered_at": "2:34 pm", "scan_name": ...}; the strategy is in the address."""
    stocks = [name.strip() for name in str(given.get("stocks") or "").split(",") if name.strip()]
    if not stocks or len(stocks) > 20 or strategy is None:
        raise HTTPException(422, "a ChartInk alert names 1 to 20 stocks, and its address ends in ?strategy=NAME")
    why = str(given.get("scan_name") or "scan")[:200]
    return [_alert({"strategy": strategy, "name": name, "target": target, "why": why}) for name in stocks]


def _alert(given: Mapping[str, Any]) -> Alert:
    try:
        return Alert.model_validate(dict(given))
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors(include_input=False))
        raise HTTPException(422, said) from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400, "an alert is one JSON object")
    return found
