"""Groww's live-data replies as pure code: last prices and quotes in, ticks out.

An answer to a poll says what the last price is, not when it was made. A last-price answer (50 instruments in one request) has neither
volume nor book nor time; a quote (one instrument) has all three. A tick from a last price therefore
- keeps the day's volume and open interest of the last quote: both are lower bounds, never zero again;
- has no bid and ask: those of an older quote may be gone;
- is as old, by `exchange_at`, as the last trade that is known of: of the last quote, or of the poll that first brought another price.
  An instrument whose price stands still is thereby told as standing still, however often it is asked for.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import brokers.groww.mapping as mapping
from brokers.book_rows import finite
from brokers.book_rows import price as rupees
from brokers.faults import Faults
from core.errors import Transient
from core.ports import Token
from core.types import IST, Instrument, Tick

BATCH = 50
"""Symbols that one request for last prices takes."""
_EPOCH = datetime(1970, 1, 1, tzinfo=IST).replace(hour=5, minute=30)
_REASONABLE = range(946_684_800_000, 4_102_444_800_000)  # 2000 to 2100 in epoch milliseconds


def chunks(named: Iterable[tuple[Token, Instrument]]) -> Iterator[tuple[str, dict[str, Instrument]]]:
    """(segment, symbol as last prices name it -> instrument) in batches of one segment; what has no token is left out."""
    by_segment: dict[str, dict[str, Instrument]] = {}
    for token, instrument in named:
        if token:
            exchange, segment, symbol = mapping.names_of(token)
            by_segment.setdefault(segment, {})[f"{exchange}_{symbol}"] = instrument
    for segment, symbols in by_segment.items():
        names = list(symbols)
        for first in range(0, len(names), BATCH):
            yield segment, {name: symbols[name] for name in names[first : first + BATCH]}


def last_prices(payload: Any) -> dict[str, float]:
    """Symbol -> last price; raises Transient for anything else."""
    if not isinstance(payload, Mapping):
        raise Transient(f"Groww's last prices came as {type(payload).__name__} where an object was due; ask again")
    try:
        return {str(symbol): rupees(float(price)) for symbol, price in payload.items() if price is not None}
    except (ValueError, TypeError, OverflowError) as error:
        raise Transient(f"Groww's last prices hold one that does not read ({error}); ask again") from error


class Decoder:
    """Answers to polls, in order, into Ticks."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults if faults is not None else Faults()
        self._known: dict[str, Tick] = {}

    def forget(self) -> None:
        """What was known before a break tells nothing about when the next price was made."""
        self._known.clear()

    def last_prices(self, payload: Any, asked: Mapping[str, Instrument], at: datetime) -> list[Tick]:
        """The ticks of one answer; what was not asked for and what has no price is counted."""
        try:
            prices = last_prices(payload)
        except Transient:
            self.faults.counts["answer without prices"] += 1
            return []
        ticks = []
        for symbol, price in prices.items():
            instrument = asked.get(symbol)
            if instrument is None:
                self.faults.unknown(symbol)
                continue
            known = self._known.get(instrument.key)
            if known is None:
                tick = Tick(instrument, at, price)
            else:
                traded = known.exchange_at if price == known.price else at
                tick = Tick(
                    instrument,
                    at,
                    price,
                    volume=known.volume,
                    exchange_at=traded,
                    oi=known.oi,
                    previous_close=known.previous_close,
                )
            self._known[instrument.key] = tick
            ticks.append(tick)
        missing = len(asked.keys() - prices.keys())
        if missing:
            self.faults.counts["no price for a symbol that was asked for"] += missing
        return ticks

    def quote(self, payload: Any, instrument: Instrument, at: datetime) -> list[Tick]:
        """The one tick of a quote, or none."""
        try:
            price = rupees(float(payload["last_price"]))
            bid, bid_quantity = _side(payload, "bid_price", "bid_quantity", "buy")
            ask, ask_quantity = _side(payload, "offer_price", "offer_quantity", "sell")
            known = self._known.get(instrument.key)
            tick = Tick(
                instrument,
                at,
                price,
                volume=max(int(payload.get("volume") or 0), known.volume if known is not None else 0),
                quantity=int(payload.get("last_trade_quantity") or 0),
                exchange_at=_moment(payload.get("last_trade_time")),
                bid=bid,
                ask=ask,
                bid_quantity=bid_quantity,
                ask_quantity=ask_quantity,
                oi=int(payload.get("open_interest") or 0),
                previous_close=round(rupees(price - finite(payload["day_change"])), 4) if payload.get("day_change") is not None else 0.0,
            )
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
            self.faults.counts["quote that does not read"] += 1
            return []
        self._known[instrument.key] = tick
        return [tick]


def _side(payload: Mapping[str, Any], price: str, quantity: str, depth: str) -> tuple[float, int]:
    """One side of the book: its own fields, else the first level of the depth; zeros where it is empty."""
    if payload.get(price):
        return rupees(payload[price]), int(payload.get(quantity) or 0)
    levels = (payload.get("depth") or {}).get(depth) or []
    return (rupees(levels[0]["price"]), int(levels[0]["quantity"])) if levels else (0.0, 0)


def _moment(milliseconds: Any) -> datetime | None:
    if not isinstance(milliseconds, int) or milliseconds not in _REASONABLE:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)
