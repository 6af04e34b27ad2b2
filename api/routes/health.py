"""/healthz for whoever restarts processes, /metrics for Prometheus."""

import hmac
from collections.abc import Mapping
from typing import Any, cast

import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from api.auth import Given, Has
from api.ports import Parts
from core.errors import ConfigError, NiyamError

router = APIRouter(tags=["health"])
LOOPBACK = ("127.0.0.1", "::1")
TOKEN = "NIYAM_METRICS_TOKEN"  # noqa: S105 - the name of a secret


@router.get("/healthz")
async def healthz(parts: Has) -> dict[str, Any]:
    """200 while this process answers; `daemon` says whether one runs."""
    return {"ok": True, "daemon": bool((await _status(parts)).get("running"))}


async def _scraper(request: Request, parts: Has, given: Given) -> None:
    """This machine, a user, or whoever has the secret NIYAM_METRICS_TOKEN."""
    client = request.client.host if request.client is not None else ""
    if client in LOOPBACK and "x-forwarded-for" not in request.headers:
        return
    token = given.credentials if given is not None else ""
    if token and await anyio.to_thread.run_sync(lambda: parts.users.of_token(token, parts.now())) is not None:
        return
    try:
        wanted = parts.secrets.get_secret(TOKEN)
    except ConfigError:
        wanted = ""
    if not wanted or not hmac.compare_digest(wanted.encode(), token.encode()):
        raise HTTPException(401, f"metrics need a bearer token: a user's, or the secret {TOKEN}", {"WWW-Authenticate": "Bearer"})


@router.get("/metrics", response_class=PlainTextResponse, dependencies=[Depends(_scraper)])
async def metrics(parts: Has) -> PlainTextResponse:
    """The daemon's state as gauges."""
    status, registry = await _status(parts), CollectorRegistry()

    def gauge(name: str, text: str, value: float, **labels: str) -> None:
        made = Gauge(f"niyam_{name}", text, list(labels), registry=registry)
        (made.labels(**labels) if labels else made).set(value)

    gauge("daemon_running", "1 while a daemon runs on this state folder", float(bool(status.get("running"))))
    if "trading_state" in status:
        gauge("trading_state", "1 for the present trading state", 1.0, state=status["trading_state"], account=status["account"])
        gauge("flat", "1 while nothing of ours is held or working", float(status["flat"]))
        gauge("feed_connected", "1 while the market feed is connected", float(status["feed"]["connected"]))
        age = status["feed"]["age_s"]
        gauge("feed_age_seconds", "Age of the canary's last tick", float("nan") if age is None else age)
        gauge("session_valid", "1 while the broker session is valid", float(status["session"] == "VALID"))
        gauge("late_events", "Events that were taken late", status.get("late_events", 0))
        orders = Gauge("niyam_orders", "Orders of the day by state", ["state"], registry=registry)
        for state, count in status["orders"].items():
            orders.labels(state=state).set(count)
        pnl = Gauge("niyam_pnl_rupees", "The day's result", ["part"], registry=registry)
        for part, value in status["pnl"].items():
            pnl.labels(part=part).set(value)
    return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")


async def _status(parts: Parts) -> Mapping[str, Any]:
    latest = parts.desk.at_hand()
    if latest is not None:
        return cast(Mapping[str, Any], latest.decoded["status"])
    try:
        return dict(await anyio.to_thread.run_sync(lambda: parts.desk.read("status")))
    except NiyamError:
        return {}
