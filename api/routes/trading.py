"""The account that trades: read-outs, orders by hand and in bulk, commands, and its strategies. Everything goes through gate and daemon."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response
from loguru import logger

from api.auth import Has, Trader, Viewer
from api.brokerage import Desk, called, desk_of
from api.ports import Parts
from api.ranges import ranges_of
from api.schemas import AccountOutcome, BulkReply, BulkTrades, Command, OrderResult, Outcome, Outcomes, Retune
from core.errors import NiyamError, StoreError
from storage.users import User
from utils.control import DaemonDown, Silent
from utils.redaction import redact

router = APIRouter(prefix="/api/v1", tags=["trading"])
Day = Annotated[str | None, Query(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Account = Annotated[str | None, Query(pattern=r"^[a-z][a-z0-9-]{0,31}$", description="of several side by side; default: the one in use")]
Strategy = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Rows = list[dict[str, Any]]


@router.get("/status", response_model=dict[str, Any])
async def status(user: Viewer, parts: Has, account: Account = None) -> Response:
    """Account, market phase, feed, session, P&L, alerts; `running: false` while the daemon is down."""
    return await _shown(parts, "status", account=account)


@router.get("/orders", response_model=Rows)
async def orders(user: Viewer, parts: Has, day: Day = None, account: Account = None) -> Response:
    return await _shown(parts, "orders", day=day, account=account)


@router.get("/fills", response_model=Rows)
async def fills(user: Viewer, parts: Has, day: Day = None, account: Account = None) -> Response:
    return await _told(parts, "fills", day=day, account=account)


@router.get("/positions", response_model=Rows)
async def positions(user: Viewer, parts: Has, day: Day = None, account: Account = None) -> Response:
    return await _shown(parts, "positions", day=day, account=account)


@router.get("/signals", response_model=Rows)
async def signals(user: Viewer, parts: Has, day: Day = None, account: Account = None) -> Response:
    return await _shown(parts, "signals", day=day, account=account)


@router.get("/report", response_model=dict[str, Any])
async def report(user: Viewer, parts: Has, day: Day = None, account: Account = None) -> Response:
    return await _told(parts, "report", day=day, account=account)


@router.get("/journal", response_model=Rows)
async def journal(
    user: Viewer,
    parts: Has,
    day: Day = None,
    kind: Annotated[str | None, Query(max_length=64)] = None,
    text: Annotated[str | None, Query(max_length=100)] = None,
    since: Annotated[int, Query(ge=0, le=2**62)] = 0,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    account: Account = None,
) -> Response:
    """Everything that was decided, newest last: of one kind, with a text in it, after and before a sequence number."""
    asked = {"day": day, "kind": kind, "text": text, "since": since, "before": before, "limit": limit, "account": account}
    return await _told(parts, "journal", **asked)


@router.get("/journal/kinds")
def journal_kinds(user: Viewer, parts: Has, day: Day = None, account: Account = None) -> dict[str, int]:
    """Which kinds of entries there are, and how many of each."""
    return dict(Counter(str(row["kind"]) for row in _read(parts, "journal", day=day, account=account)).most_common())


@router.get("/check")
def check(user: Viewer, parts: Has, account: Account = None) -> dict[str, Any]:
    """What `main.py check` finds for an account: ok, a note, or wrong, each with its remedy. Takes some seconds."""
    return dict(parts.check(account or _read(parts, "status").get("account")))


@router.get("/charts")
def charts(user: Viewer, parts: Has, account: Account = None) -> Rows:
    """Which series of bars there are: instrument, interval in minutes, how many bars, whose indicators."""
    return list(_read(parts, "chart", account=account))


@router.get("/chart")
def chart(
    user: Viewer,
    parts: Has,
    instrument: Annotated[str, Query(max_length=64)],
    interval: Annotated[int | None, Query(ge=1, le=1440)] = None,
    account: Account = None,
) -> dict[str, Any]:
    """The bars that the strategies heard [start, open, high, low, close, volume, whether ticks were missed], what their indicators said of
    each, and the fills since the first of them. While no daemon runs the bars are built again from the day's recording, which `source`
    then says; 404 where there is none."""
    asked = {"instrument": instrument, "interval": interval, "account": account}
    try:
        found = dict(parts.desk.read("chart", {name: value for name, value in asked.items() if value is not None}))
    except StoreError as error:
        raise HTTPException(503, redact(str(error))) from None
    except NiyamError as error:
        raise HTTPException(404, redact(str(error))) from None
    if not found["bars"]:
        return {**found, "trades": []}
    first, last = found["bars"][0][0][:10], found["bars"][-1][0][:10]
    trades = [row for row in _read(parts, "fills", **{"from": first, "to": last}, account=account) if row["instrument"] == instrument]
    return {**found, "trades": trades}


@router.get("/holdings")
def holdings(user: Viewer, parts: Has, desk: Annotated[Desk, Depends(desk_of)]) -> Rows:
    """What lies in the demat account of the app in use; 501 where that broker's are not read."""
    found = _portfolio(parts, desk, user)["holdings"]
    if found is None:
        raise HTTPException(501, "holdings of this broker are not read")
    return list(found)


@router.get("/funds")
def funds(user: Viewer, parts: Has, desk: Annotated[Desk, Depends(desk_of)]) -> dict[str, Any]:
    """What may be used and what is used, rupees, at the broker of the app in use."""
    found = _portfolio(parts, desk, user)
    return {name: found[name] for name in ("available", "used", "source", "as_of")}


@router.post("/trades/bulk")
def bulk(given: BulkTrades, user: Trader, parts: Has) -> BulkReply:
    """Orders one after the other through gate and order manager; each is reported by itself, a refused one stops none after it."""
    if not parts.settings.bulk:
        raise HTTPException(403, "bulk orders are switched off (settings.yaml: api.bulk)")
    results = []
    for order in given.orders:
        asked = {**order.model_dump(exclude_none=True), "broker": given.broker_type, "live": given.live}
        asked |= {"account": given.account} if given.account is not None else {}
        logger.bind(event="bulk_order", user=user.username).info("{} asks for {} {}", user.username, order.direction, order.symbol)
        try:
            told = parts.desk.place(asked)
        except NiyamError as error:
            told = {"success": False, "status": "REJECTED", "order_id": None, "execution_price": None, "error": redact(str(error))}
        results.append(OrderResult(symbol=order.symbol, **told))
    return BulkReply(broker_type=given.broker_type, accepted=sum(one.success for one in results), results=results)


@router.post("/commands")
def command(given: Command, user: Trader, parts: Has, account: Account = None) -> Outcome:
    """What `main.py pause|resume|reduce-only|square-off|kill|acknowledge|absent|watch|reload` does; the answer is the outcome."""
    arguments: dict[str, Any] = {}
    if given.confirm:
        arguments["confirm"] = True
    if given.whole_account is not None:
        if not user.may("owner"):
            raise HTTPException(403, "closing what the engine does not own is the owner's to say")
        arguments["whole_account"] = given.whole_account
    if given.name == "absent":
        if not given.tag:
            raise HTTPException(422, "absent needs the order's tag")
        arguments["tag"] = given.tag
    if given.name == "watch":
        if not given.instrument:
            raise HTTPException(422, "watch needs an instrument")
        arguments = {"name": given.instrument, "stop": given.stop}
    return _command(parts, user, given.name, arguments, account)


@router.post("/commands/kill-all")
def kill_all(user: Trader, parts: Has) -> Outcomes:
    """`kill` to every account of the daemon, all at once: one that hangs or refuses stops no other. The answer is each one's outcome."""
    names = [row["account"] for row in _read(parts, "status").get("accounts") or ()] or [None]

    def kill(name: str | None) -> tuple[AccountOutcome, bool]:
        try:
            told = _command(parts, user, "kill", {}, name)
        except HTTPException as error:
            return AccountOutcome(account=name or "", ok=False, text=str(error.detail)), False
        return AccountOutcome(account=name or "", ok=told.ok, text=told.text), True

    with ThreadPoolExecutor(len(names)) as pool:
        found = list(pool.map(kill, names))
    outcomes = [outcome for outcome, _ in found]
    text = "; ".join(f"{one.account}: {one.text}" if one.account else one.text for one in outcomes)
    if not any(answered for _, answered in found):
        raise HTTPException(503, text)
    return Outcomes(ok=all(one.ok for one in outcomes), text=text, accounts=outcomes)


@router.get("/strategies")
def strategies(user: Viewer, parts: Has, account: Account = None) -> Rows:
    """Each strategy: whether it runs and why not, its settings, what it holds, and the `ranges` of its parameters."""
    return [{**row, "ranges": ranges_of(str(row.get("class", "")))} for row in _read(parts, "strategies", account=account)]


@router.post("/strategies/{name}/enable")
def enable(name: Strategy, user: Trader, parts: Has, account: Account = None) -> Outcome:
    return _command(parts, user, "enable", {"name": name}, account)


@router.post("/strategies/{name}/disable")
def disable(name: Strategy, user: Trader, parts: Has, account: Account = None) -> Outcome:
    return _command(parts, user, "disable", {"name": name}, account)


@router.post("/strategies/{name}/retune")
def retune(name: Strategy, given: Retune, user: Trader, parts: Has, account: Account = None) -> Outcome:
    """Change fields of the strategy's file and of the running daemon; judged first, `ok: false` says what was wrong."""
    return _command(parts, user, "retune", {"name": name, "values": given.values}, account)


async def _shown(parts: Parts, name: str, account: str | None = None, **asked: str | None) -> Response:
    """A read-out that a running daemon has told already, as it told it; else, and of another day, what `_told` finds.

    The headers say of when it is (the daemon's time) and how long ago (seconds) the daemon was last heard of.
    """
    latest = parts.desk.at_hand(account) if not any(asked.values()) else None
    if latest is None:
        return await _told(parts, name, account=account, **asked)
    headers = {"x-niyam-as-of": str(latest.decoded["status"].get("as_of", ""))}
    headers["x-niyam-age"] = f"{max(0.0, parts.clock.monotonic() - latest.heard_at):.3f}"
    return Response(latest.encoded[name], media_type="application/json", headers=headers)


async def _told(parts: Parts, name: str, **asked: Any) -> Response:
    """A read-out that has to be asked for or read, on a thread that may wait."""
    found = await anyio.to_thread.run_sync(lambda: msgspec.json.encode(_read(parts, name, **asked)))
    return Response(found, media_type="application/json")


def _read(parts: Parts, name: str, **asked: Any) -> Any:
    try:
        return parts.desk.read(name, {key: value for key, value in asked.items() if value is not None})
    except (StoreError, Silent) as error:
        raise HTTPException(503, redact(str(error))) from None
    except NiyamError as error:
        raise HTTPException(404, redact(str(error))) from None


def _command(parts: Parts, user: User, name: str, arguments: Mapping[str, Any], account: str | None) -> Outcome:
    logger.bind(event="command", user=user.username).info("{} says {}", user.username, name)
    try:
        answer = parts.desk.ask(name, {**arguments, **({"account": account} if account is not None else {})})
    except DaemonDown as error:
        raise HTTPException(503, redact(str(error))) from None
    except NiyamError as error:
        raise HTTPException(504, redact(str(error))) from None
    return Outcome(ok=answer.ok, text=redact(answer.text), data=answer.data)


def _portfolio(parts: Parts, desk: Desk, user: User) -> dict[str, Any]:
    app = desk.chosen(user)
    if app is None:
        raise HTTPException(404, "no broker is set up: POST /api/v1/auth/first-time-api-setup")
    return dict(called(app.broker, lambda: parts.brokers.portfolio(app)))
