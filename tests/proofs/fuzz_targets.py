"""What the fuzz feeds: valid messages of each broker, cut, garbled and mixed, and what must hold of all that comes out of them."""

import io
import json
import math
import random
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import brokers.angelone.dump as angelone_dump
import brokers.angelone.mapping as angelone
import brokers.groww.dump as groww_dump
import brokers.groww.mapping as groww
import brokers.icici.dump as icici_dump
import brokers.icici.mapping as icici
import brokers.upstox.dump as upstox_dump
import brokers.upstox.mapping as upstox
import brokers.zerodha.mapping as zerodha
from brokers.angelone import wire as angelone_wire
from brokers.faults import Faults
from brokers.groww.client import _payload as groww_payload
from brokers.groww.wire import Decoder as GrowwDecoder
from brokers.icici.client import success_of as icici_success
from brokers.icici.wire import FeedDialect, OrderDialect
from brokers.transport import Response
from brokers.upstox.wire import Decoder
from brokers.upstox.wire import parse_order as upstox_text
from brokers.zerodha import wire as zerodha_wire
from core.errors import BrokerError, DataError, RateLimited, Transient
from core.events import BrokerPosition, Event, Funds, OrderUpdate
from core.types import Tick
from data_ingestion.tick_filter import TickFilter
from tests.builders import NIFTY
from tests.unit import test_angelone_mapping, test_groww_mapping, test_icici_mapping, test_upstox_mapping, test_zerodha_mapping
from tests.wire import (
    angel_samples,
    groww_house,
    kite_samples,
    test_angelone_codec,
    test_icici_codec,
    test_kite_codec,
    test_upstox_codec,
    upstox_samples,
)

AT = kite_samples.AT
ODD: Sequence[Any] = (
    *(None, "", "x", -1, 0, 1e308, float("nan"), float("inf"), [], {}, True, "NaN", "1e999", "-0", "٣", "0x10", 2**63, "null"),
    *("2026-13-45", " ", "\x00", 10**400, [[]], {"a": {}}, "2026-11-20 10:00:00", "BUY", "COMPLETE"),
)

KITE_DUMP = (
    test_zerodha_mapping.HEADER
    + '738561,2885,RELIANCE,"RELIANCE, INDUSTRIES",0.0,,0.0,0.1,1,EQ,NSE,NSE\n'
    + "256265,1001,NIFTY 50,NIFTY 50,0.0,,0.0,0.0,0,EQ,INDICES,NSE\n"
    + "12345602,48225,NIFTY26DEC25000CE,NIFTY,0.0,2026-12-29,25000.0,0.05,65,CE,NFO-OPT,NFO\n"
    + "12345858,48226,NIFTY26NOVFUT,NIFTY,0.0,2026-11-24,0.0,0.1,65,FUT,NFO-FUT,NFO\n"
).encode()


def garbled(chance: random.Random, whole: bytes) -> bytes:
    """Some bytes changed, some cut, some doubled, some added."""
    base = bytearray(whole)
    for _ in range(chance.choice((0, 1, 1, 2, 8))):
        if not base:
            break
        place = chance.randrange(len(base))
        match chance.randrange(4):
            case 0:
                base[place] = chance.randrange(256)
            case 1:
                del base[place : place + chance.choice((1, 4, 40))]
            case 2:
                base[place:place] = chance.randbytes(chance.choice((1, 2, 16)))
            case 3:
                base[place:place] = base[place : place + 30]
    return bytes(base)


def odd_row(chance: random.Random, row: Any) -> Any:
    """Fields missing, of another type, or nonsense."""
    if not isinstance(row, dict):
        return row
    return {key: odd_row(chance, chance.choice(ODD)) if chance.random() < 0.12 else odd_row(chance, value) for key, value in row.items()
            if chance.random() > 0.04}  # fmt: skip


def odd_items(chance: random.Random, items: Sequence[Any]) -> list[Any]:
    """Some items nonsense, sometimes one too few or too many."""
    found = [chance.choice(ODD) if chance.random() < 0.05 else item for item in items]
    match chance.randrange(20):
        case 0:
            found.pop(chance.randrange(len(found)))
        case 1:
            found.insert(chance.randrange(len(found)), chance.choice(ODD))
    return found


def _cut_text(chance: random.Random, text: str) -> str:
    return garbled(chance, text.encode()).decode("utf-8", "replace") if chance.random() < 0.3 else text


def _text(chance: random.Random, message: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(odd_row(chance, message)).encode()
    except ValueError:
        text = b"{"
    return garbled(chance, text) if chance.random() < 0.5 else text


# --- what must hold of what comes out -------------------------------------------------------------------------------------------------


def wrong_ticks(ticks: Iterable[Tick]) -> str:
    """No codec gives a number that is none, and nothing passes the quarantine that a market cannot say."""
    for tick in ticks:
        for name in ("price", "bid", "ask", "previous_close"):
            value = getattr(tick, name)
            if not math.isfinite(value) or abs(value) > 1e17:
                return f"{name} {value} of {tick.instrument.key}"
        if TickFilter().admit(tick):
            continue
        if not tick.price > 0:
            return f"admitted at {tick.price}"
        for name in ("bid", "ask", "volume", "quantity", "oi", "bid_quantity", "ask_quantity"):
            if getattr(tick, name) < 0:
                return f"admitted with {name} {getattr(tick, name)}"
    return ""


def wrong_rows(rows: Iterable[Any]) -> str:
    """Rows of the books: prices are finite, none of an order or a trade is negative, quantities are whole numbers."""
    for row in rows:
        signed = isinstance(row, BrokerPosition | Funds)
        for name in ("average_price", "limit_price", "trigger_price", "price", "last_price", "close_price", "available", "used"):
            value = getattr(row, name, None)
            if value is not None and (not math.isfinite(value) or (value < 0 and not signed)):
                return f"{type(row).__name__} with {name} {value}"
        for name in ("quantity", "filled"):
            count = getattr(row, name, 0)
            if type(count) is not int or (count < 0 and not signed):
                return f"{type(row).__name__} with {name} {count!r}"
    return ""


def wrong_events(events: Iterable[Event]) -> str:
    found = list(events)
    return wrong_ticks(one for one in found if isinstance(one, Tick)) or wrong_rows(one for one in found if isinstance(one, OrderUpdate))


def _dump(read: Callable[[bytes], Any], content: bytes) -> str:
    try:
        for row in read(content):
            if row.lot < 0 or not math.isfinite(row.tick_size) or row.tick_size < 0 or not 0 <= (row.strike or 0.0) < math.inf:
                return f"{row.key}: lot {row.lot}, tick {row.tick_size}, strike {row.strike}"
            if row.freeze is not None and row.freeze <= 0:
                return f"{row.key}: freeze {row.freeze}"
    except DataError:
        return ""
    return ""


def _failed(error: BrokerError, is_order: bool, status: int) -> str:
    if isinstance(error, RateLimited):
        return ""
    if is_order and isinstance(error, Transient):
        return f"an order call that ended {status} counts as a read that may be tried again"
    if is_order and status >= 500 and type(error).__name__ == "Rejected":
        return f"HTTP {status} counts as a definite no"
    return ""


# --- the targets

Target = Callable[[random.Random], str]
"""Makes one input from chance, feeds it, and says what is wrong."""


def _zerodha() -> dict[str, Target]:
    everything = kite_samples.Everything()

    def frames(chance: random.Random) -> str:
        frame = garbled(chance, kite_samples.random_frame(chance, chance.randrange(1, 4)))
        ticks = zerodha_wire.decode(frame, AT, everything)
        if len(ticks) != sum(len(rows) for rows in zerodha_wire.decode_batch(frame).values()):
            return f"ticks and columns differ on {frame.hex()}"
        return wrong_ticks(ticks)

    def orders(chance: random.Random) -> str:
        text = _text(chance, {"type": "order", "data": test_kite_codec.ROW})
        return wrong_rows(zerodha_wire.parse_order(text, AT, lambda: kite_samples.KNOWN, Faults()))

    def dumps(chance: random.Random) -> str:
        return _dump(zerodha.parse_instruments, garbled(chance, KITE_DUMP))

    return {"zerodha frames": frames, "zerodha orders": orders, "zerodha dumps": dumps}


def _angelone() -> dict[str, Target]:
    everything, dump = angel_samples.Everything(), json.dumps(test_angelone_mapping.MASTER[:6]).encode()

    def frames(chance: random.Random) -> str:
        return wrong_ticks(angelone_wire.decode(garbled(chance, angel_samples.random_packet(chance)), AT, everything))

    def orders(chance: random.Random) -> str:
        text = _text(chance, {"user-id": "A1", "error-message": "", "orderData": test_angelone_codec.ROW})
        return wrong_rows(angelone_wire.parse_order(text, AT, lambda: angel_samples.KNOWN, Faults()))

    def dumps(chance: random.Random) -> str:
        if chance.random() < 0.5:
            rows = [odd_row(chance, row) for row in test_angelone_mapping.MASTER[:3]]
            return _dump(angelone_dump.parse_instruments, json.dumps(rows).encode())
        return _dump(angelone_dump.parse_instruments, garbled(chance, dump))

    return {"angelone frames": frames, "angelone orders": orders, "angelone dumps": dumps}


def _upstox() -> dict[str, Target]:
    listed = upstox_samples.instruments(3)
    decoder, dump = Decoder(listed), json.dumps([test_upstox_mapping.line(), test_upstox_mapping.line()]).encode()

    def frames(chance: random.Random) -> str:
        return wrong_ticks(decoder.decode(garbled(chance, upstox_samples.random_message(chance, list(listed))), AT))

    def orders(chance: random.Random) -> str:
        return wrong_rows(upstox_text(_text(chance, test_upstox_codec.ROW), AT, lambda: upstox_samples.KNOWN, Faults()))

    def dumps(chance: random.Random) -> str:
        if chance.random() < 0.5:
            return _dump(upstox_dump.parse_instruments, json.dumps([odd_row(chance, test_upstox_mapping.line())]).encode())
        return _dump(upstox_dump.parse_instruments, garbled(chance, dump))

    return {"upstox frames": frames, "upstox orders": orders, "upstox dumps": dumps}


def _icici() -> dict[str, Target]:
    codes = test_icici_mapping.Codes()
    quotes, orders = FeedDialect("ws://127.0.0.1", lambda: codes), OrderDialect("ws://127.0.0.1", lambda: codes)
    quotes.subscribe(list(test_icici_mapping.TOKENS.values()))

    def messages(chance: random.Random) -> str:
        """Quotes of a share (21 items) and of a contract (23: with the open interest and its change)."""
        last, opened, high, low, bid, ask, average, close = (round(chance.uniform(0.05, 99_999), 2) for _ in range(8))
        first, second, third, bought, sold, volume, oi = (chance.randrange(10**7) for _ in range(7))
        share, time = chance.random() < 0.5, 1_795_150_000 + chance.randrange(10**6)
        items = ["4.1!2885" if share else "4.1!58072", opened, last, high, low, -2.09, bid, first, ask, second, third, average]
        items += [*(() if share else (oi, 0.0)), volume, bought, sold, "1328.72C", "", low / 2, high * 2, time, close]
        packet = f"42{json.dumps(['stock', odd_items(chance, items)])}"
        return wrong_events(quotes.take(_cut_text(chance, packet), AT))

    share: list[Any] = json.loads(test_icici_codec.ORDER[2:])[1]
    contract = list(share)
    contract[11:21] = ["6", "ACC", "NFO", "NIFTY", "O", "C", "", "2500000", "23-Nov-2026", ""]
    contract[21:32] = ["B", "L", "T", "101.05", "P", "2026N1", "65", "25", "0", "0", "0"]

    def updates(chance: random.Random) -> str:
        packet = f"42{json.dumps(['order', odd_items(chance, chance.choice((share, contract)))])}"
        return wrong_events(orders.take(_cut_text(chance, packet), AT))

    row = test_icici_mapping.row(average_price="25600.1", status="Executed", demat_total_bulk_quantity="5", ltp="1.5")
    row |= {"exchange_trade_id": "77", "exchange_trade_time": "20-Nov-2026 10:41:24", "executed_quantity": "65", "execution_price": "2.5"}
    money = dict.fromkeys(("allocated_equity", "allocated_fno", "block_by_trade_equity", "block_by_trade_fno"), "1000.5")
    order = icici.order_update(row, AT, "book", codes)

    def replies(chance: random.Random) -> str:
        labels = [*icici.STATES, "no such label"]
        given = odd_row(chance, {**row, "status": chance.choice(labels), "pending_quantity": chance.choice(("0", "40", "65"))})
        priced = {"RELIND": odd_row(chance, {"current_market_price": "100.5", "change_percentage": "1.5", "average_price": 90})}
        return _rows_of(
            partial(icici.order_update, given, AT, "book", codes),
            partial(icici.trade, given, order),
            partial(icici.position, given, codes),
            partial(icici.holding, {**given, "stock_code": "RELIND"}, priced, codes),
            partial(icici.funds, odd_row(chance, money)),
        )

    nse = "2885,RELIND,EQ,RELIANCE INDUSTRIES,1500,1600,1700,RELIANCE\n26000,NIFTY,0,NIFTY 50,0,0,0,NIFTY 50\n"
    fonse = (
        "58072,FUTIDX,NIFTY,XX,24-Nov-2026,0,XX,0,65,10,NIFTY 50,NIFTY\n36342,OPTIDX,NIFTY,XX,24-Nov-2026,25000,CE,0,65,5,NIFTY 50,NIFTY\n"
    )
    archive = test_icici_mapping.master(nse, fonse)

    def masters(chance: random.Random) -> str:
        if chance.random() < 0.4:
            return _dump(icici_dump.parse_instruments, garbled(chance, archive))
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(archive)) as whole, zipfile.ZipFile(out, "w") as other:
            for name in whole.namelist():
                text = whole.read(name)
                place = text.index(b"\n") + 1
                kept = text if chance.random() < 0.05 else text[:place] + garbled(chance, text[place:])
                other.writestr(name, kept)
        return _dump(icici_dump.parse_instruments, out.getvalue())

    return {"icici messages": messages, "icici orders": updates, "icici replies": replies, "icici masters": masters}


def _groww() -> dict[str, Target]:
    known, row = groww_house.KNOWN, test_groww_mapping.ROW
    trade = {**row, "exchange_trade_id": "77", "trade_date_time": "2026-11-20T10:02:12"}
    position = {**row, "quantity": 65, "credit_quantity": 65, "net_price": 25_000.5}
    share = {"trading_symbol": "RELIANCE", "quantity": 5, "average_price": 90.5}

    def replies(chance: random.Random) -> str:
        labels = [*groww.STATES, "PARKED"]
        return _rows_of(
            partial(groww.order_update, odd_row(chance, {**row, "order_status": chance.choice(labels)}), AT, "book", known),
            partial(groww.trade, odd_row(chance, trade), known),
            partial(groww.position, odd_row(chance, position), known),
            partial(groww.holding, odd_row(chance, share), known),
            partial(groww.funds, odd_row(chance, {"clear_cash": 5.5, "net_margin_used": 1})),
        )

    def prices(chance: random.Random) -> str:
        decoder, asked = GrowwDecoder(), {"NSE_NIFTY26NOVFUT": NIFTY}
        depth = {"depth": {"buy": [{"price": 9.0, "quantity": 5}], "sell": []}}
        quote = {**test_groww_mapping.QUOTE, **(depth if chance.random() < 0.3 else {})}
        found = decoder.last_prices(odd_row(chance, {"NSE_NIFTY26NOVFUT": 25_000.0}), asked, AT)
        found += decoder.quote(odd_row(chance, quote), NIFTY, AT)
        found += decoder.last_prices({"NSE_NIFTY26NOVFUT": 25_010.0}, asked, AT)
        return wrong_ticks(found)

    def instruments(chance: random.Random) -> str:
        return _dump(groww_dump.parse_instruments, garbled(chance, test_groww_mapping.DUMP.encode()))

    return {"groww replies": replies, "groww prices": prices, "groww instruments": instruments}


def _rows_of(*made: Callable[[], Any]) -> str:
    """What is wrong with rows of a reply; one that is refused as unreadable is none."""
    found = []
    for make in made:
        try:
            found.append(make())
        except DataError:
            continue
    return wrong_rows(found)


_TEXTS = ("", "<html>502 Bad Gateway</html>", "Too many requests", "Invalid token", "RMS", "\x00", "٣" * 50, "Invalid session.",
          "Limit exceed", "Quantity cannot be empty", "IP address", "IP address is not registered", "checksum")  # fmt: skip
_KINDS = (
    "",
    "TokenException",
    "OrderException",
    "GeneralException",
    "AB1010",
    "AG8001",
    "UDAPI100050",
    "GA000",
    "GA001",
    "GA005",
    "Zzz",
    "-",
)


def http_errors(chance: random.Random) -> str:
    """Every status with every code and text at every broker: no order call ends in a read's error, and no 5xx in a definite no."""
    status, is_order = chance.choice((200, 207, 400, 401, 403, 404, 422, 429, 500, 502, 503, 504, 599)), chance.random() < 0.6
    text, kind = chance.choice(_TEXTS), chance.choice(_KINDS)
    given = {"status": False, "message": text, "errorcode": kind, "errors": [{"errorCode": kind, "message": text}]}
    given |= {"Status": chance.choice((5, 200, 401, 500)), "Error": text, "Success": None, "error": {"code": kind, "message": text}}
    body = odd_row(chance, given)
    found: list[BrokerError] = [
        zerodha.failure(status, kind, text, is_order=is_order),
        angelone.failure(status, kind, text, is_order=is_order),
        upstox.failure(status, kind, text, is_order=is_order),
        icici.failure(status, body.get("Status"), text, is_order=is_order),
        groww.failure(status, kind, text, is_order=is_order),
    ]
    angelone.error_of(body)
    upstox.error_of(body)
    groww.error_of(body)
    reply = Response(status, {}, _text(chance, given))
    for unwrap in (icici_success, groww_payload):
        try:
            unwrap(reply, is_order=is_order)
        except BrokerError as error:
            found.append(error)
    return "; ".join(said for error in found if (said := _failed(error, is_order, status)))


def all_targets() -> dict[str, Target]:
    return {**_zerodha(), **_angelone(), **_upstox(), **_icici(), **_groww(), "http errors": http_errors}
