"""The read-outs from the ledger, as documents: the same functions answer the control socket and the CLI while the daemon is down."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from core.errors import NiyamError
from core.ports import Ledger
from core.types import IST, Fill, Order, Position
from execution_engine.round_trips import walk
from runtime import report

Documents = list[dict[str, Any]]


def document(store: Ledger, name: str, arguments: Mapping[str, Any]) -> Any:
    """The read-out `name` with `day`, or `from` and `to` (ISO dates); raises NiyamError for what the ledger cannot tell.

    Without a day: the latest day there is for orders, fills, signals and report, and everything for the journal.
    """
    readers: Mapping[str, Callable[[Ledger, Mapping[str, Any]], Any]] = {
        "status": _status,
        "strategies": lambda store, arguments: _status(store, arguments)["strategies"],
        "orders": _orders,
        "fills": _fills,
        "positions": _positions,
        "signals": _signals,
        "journal": _journal,
        "report": _report,
        "usage": _usage,
        "chart": _chart,
    }
    return readers[name](store, arguments)


def latest_day(store: Ledger) -> date | None:
    """The day the ledger ends with: that of the last snapshot, else of the last fill or order. None for an empty ledger."""
    snapshot = store.snapshot()
    if snapshot is not None:
        market = snapshot.status.get("market")
        now = market.get("now") if isinstance(market, Mapping) else None
        at = now or snapshot.status.get("as_of")
        if at:
            return datetime.fromisoformat(str(at)).astimezone(IST).date()
    moments = [order.updated_at for order in store.orders()] + [fill.at for fill in store.fills()]
    return max(moments).astimezone(IST).date() if moments else None


def _status(store: Ledger, arguments: Mapping[str, Any]) -> dict[str, Any]:
    snapshot = store.snapshot()
    if snapshot is None:
        raise NiyamError("the ledger holds no snapshot yet: the daemon stopped before its first event; start it with `main.py run`")
    status = dict(snapshot.status)
    counts: dict[str, int] = {}
    for order in _on_days(store, {}):  # the ledger's orders may be newer than the last stored snapshot
        counts[str(order.state)] = counts.get(str(order.state), 0) + 1
    return {**status, "running": False, "orders": counts}


def _orders(store: Ledger, arguments: Mapping[str, Any]) -> Documents:
    from execution_engine.snapshots import order_row

    return [{"account": order.account, **order_row(order)} for order in _on_days(store, arguments)]


def _fills(store: Ledger, arguments: Mapping[str, Any]) -> Documents:
    first, last = _period(store, arguments)
    fills = store.fills(first if first == last else None)
    return [_fill(fill) for fill in fills if first <= fill.at.astimezone(IST).date() <= last]


def _positions(store: Ledger, arguments: Mapping[str, Any]) -> Documents:
    """Today's as the last snapshot marked them; a past day's from the fills up to its end (no marks then, hence no unrealised)."""
    day = _asked_day(arguments, "day") or _asked_day(arguments, "to")
    if day is not None and day != latest_day(store):
        return _positions_after(store, day)
    snapshot = store.snapshot()
    marked = {(row["strategy"], row["instrument"], row["product"]): row for row in snapshot.positions} if snapshot else {}
    rows = []
    for position in store.positions():
        row = marked.get((position.strategy, position.instrument.key, position.product))
        last_price = row.get("last_price") if row else None
        rows.append(_position(position, float(str(last_price)) if last_price is not None else None))
    return rows


def _positions_after(store: Ledger, day: date) -> Documents:
    orders = {order.id: order for order in store.orders()}
    fills = [fill for fill in store.fills() if fill.at.astimezone(IST).date() <= day]
    walked = walk(fills)
    rows = []
    for (strategy, key), leg in walked.open.items():
        if leg.open_quantity:
            last = next(fill for fill in reversed(fills) if (fill.strategy, fill.instrument.key) == (strategy, key))
            order = orders.get(last.order_id)
            rows.append(
                {
                    "account": last.account,
                    "instrument": key,
                    "product": order.product if order else "",
                    "strategy": strategy,
                    "quantity": leg.sign * leg.open_quantity,
                    "average_price": leg.entry_value / leg.entered,
                    "last_price": None,
                    "realised": leg.gross / 100,
                    "unrealised": None,
                }
            )
    return rows


def _signals(store: Ledger, arguments: Mapping[str, Any]) -> Documents:
    first, last = _period(store, arguments)
    account = _account(store, arguments)
    entries = store.read_journal(kind="signal", day=first if first == last else None)
    return [
        {"account": account, **entry}
        for entry in entries
        if first <= datetime.fromisoformat(str(entry["at"])).astimezone(IST).date() <= last
    ]


def _journal(store: Ledger, arguments: Mapping[str, Any]) -> Documents:
    """Of a day, a period or all; of these the newest `limit` between `since` and `before`, of one `kind`, with `text` in them."""
    text, limit = str(arguments.get("text") or "").lower(), arguments.get("limit")
    day = _asked_day(arguments, "day")
    period = _period(store, arguments) if arguments.get("from") or arguments.get("to") else None
    read = store.read_journal(
        kind=arguments.get("kind") or None,
        since=int(arguments.get("since") or 0),
        before=arguments.get("before"),
        day=day,
        last=None if text or period else limit,
    )
    if period is not None:
        first, last = period
        read = [entry for entry in read if first <= datetime.fromisoformat(str(entry["at"])).astimezone(IST).date() <= last]
    if text:
        read = [entry for entry in read if text in str(entry).lower()]
    return read if limit is None else read[len(read) - min(int(limit), len(read)) :]


def _report(store: Ledger, arguments: Mapping[str, Any]) -> dict[str, Any]:
    first, last = _period(store, arguments)
    account = _account(store, arguments)
    if arguments.get("from") or arguments.get("to"):
        return report.build_period(store, account=account, start=first, end=last)
    return report.build(store, account=account, day=last)


def _usage(store: Ledger, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the daemon wrote down when that day closed, or when it was stopped in it."""
    if arguments.get("from") or arguments.get("to"):
        raise NiyamError("usage is told by the day: limits begin anew each morning; give --day, or nothing for the latest")
    known = store.items("usage")
    day = _asked_day(arguments, "day")
    wanted = day.isoformat() if day is not None else max(known, default="")
    if wanted not in known:
        there = f"there is one of {', '.join(sorted(known))}" if known else "there is none yet"
        raise NiyamError(
            f"no usage of {wanted or 'any day'} is written down (it is when a day closes or the daemon is stopped): {there}; each single "
            "request is in the run's audit folder"
        )
    return {"account": _account(store, arguments), **known[wanted]}


def _chart(store: Ledger, arguments: Mapping[str, Any]) -> dict[str, Any]:
    raise NiyamError("bars are kept by the running daemon alone; start it with `main.py run`, or look at the day's fills")


def _fill(fill: Fill) -> dict[str, Any]:
    return {
        "id": fill.id,
        "account": fill.account,
        "order_id": fill.order_id,
        "strategy": fill.strategy,
        "instrument": fill.instrument.key,
        "side": str(fill.side),
        "quantity": fill.quantity,
        "price": fill.price,
        "charges": fill.charges / 100,
        "at": fill.at.astimezone(IST).isoformat(),
    }


def _position(position: Position, last_price: float | None) -> dict[str, Any]:
    """`last_price` None (no mark known) leaves `unrealised` None as well, never zero."""
    units = position.quantity * position.instrument.multiplier
    unrealised = None if last_price is None else round((last_price - position.average_price) * units, 2)
    return {
        "account": position.account,
        "instrument": position.instrument.key,
        "product": position.product,
        "strategy": position.strategy,
        "quantity": position.quantity,
        "average_price": round(position.average_price, 4),
        "last_price": last_price,
        "realised": position.realised / 100,
        "unrealised": unrealised if position.quantity else 0.0,
    }


def _account(store: Ledger, arguments: Mapping[str, Any]) -> str:
    if arguments.get("account"):
        return str(arguments["account"])
    snapshot = store.snapshot()
    if snapshot is not None and snapshot.status.get("account"):
        return str(snapshot.status["account"])
    return next((fill.account for fill in store.fills()), "")


def _on_days(store: Ledger, arguments: Mapping[str, Any]) -> list[Order]:
    first, last = _period(store, arguments)
    orders = store.orders(first if first == last else None)
    return [order for order in orders if first <= order.created_at.astimezone(IST).date() <= last]


def _period(store: Ledger, arguments: Mapping[str, Any]) -> tuple[date, date]:
    day = _asked_day(arguments, "day")
    if day is not None:
        return day, day
    first, last = _asked_day(arguments, "from"), _asked_day(arguments, "to")
    latest = latest_day(store)
    if latest is None and (first is None or last is None):
        raise NiyamError("the ledger is empty: nothing has happened in this run yet")
    first = first or (date.min if last else latest) or date.min
    last = last or latest or date.max
    if first > last:
        raise NiyamError(f"--from {first} lies after --to {last}; swap them")
    return first, last


def _asked_day(arguments: Mapping[str, Any], name: str) -> date | None:
    text = arguments.get(name)
    if not text:
        return None
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise NiyamError(f"--{name} {text!r} is no date; write it as YYYY-MM-DD") from None
