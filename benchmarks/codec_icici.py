"""Breeze's Socket.IO packets into the engine's own Ticks, and books of five levels, against breeze-connect.

Both sides start with the text of an event as the connection brings it: the SDK's is taken by its own python-socketio client, whose handler
parses it, names the instrument and hands a dict to `on_ticks`. Before anything is timed, every value of ours is compared with the SDK's.
"""

import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from benchmarks.rounds import Line, interleaved, line, rate
from brokers.icici.wire import FeedDialect
from core.ports import Token
from core.types import IST, Instrument, Kind, Tick

_AT = datetime(2026, 11, 20, 10, 0, 1, tzinfo=IST)
_SECONDS = int(_AT.timestamp()) - 1
_EXPIRY = date(2026, 11, 24)
_PACKETS = 500
_NOTE = "a third of our time goes into the reading of JSON, as little as any reader of texts needs"


class _Master:
    """What the day's security master says of the instruments that are measured."""

    day = date(2026, 11, 20)

    def __init__(self) -> None:
        self.shares = {f"NSE|S{n}|{n}": Instrument(f"NSE:S{n}", "NSE", f"S{n}", Kind.EQUITY, f"S{n}") for n in range(1000, 1000 + _PACKETS)}
        self.futures = {
            f"NFO|S{n}|2026-11-24|0|FUT|{50_000 + n}": Instrument(f"NFO:S{n}", "NFO", f"S{n}", Kind.FUTURE, f"S{n}", expiry=_EXPIRY)
            for n in range(1000, 1000 + _PACKETS)
        }
        self._tokens = {one.key: token for token, one in (self.shares | self.futures).items()}

    def token(self, instrument: Instrument) -> Token:
        return self._tokens[instrument.key]

    def by_key(self, key: str) -> Instrument | None:
        return self.by_token(self._tokens.get(key, ""))

    def by_token(self, token: Token) -> Instrument | None:
        return (self.shares | self.futures).get(str(token))

    def for_the_sdk(self) -> list[dict[str, list[str]]]:
        """Number -> names, of BSE, NSE, NDX, MCX, NFO and BFO, as the SDK keeps them."""
        shares = {token.rsplit("|", 1)[1]: [one.symbol, one.symbol] for token, one in self.shares.items()}
        futures = {token.rsplit("|", 1)[1]: [f"FUT-{one.symbol}-24-Nov-2026", one.symbol] for token, one in self.futures.items()}
        return [{}, shares, {}, {}, futures, {}]


def _quote(rng: random.Random, number: str, *, contract: bool) -> str:
    price = round(rng.uniform(5, 50_000), 2)
    items: list[Any] = [f"4.1!{number}", price, round(price + rng.uniform(-2, 2), 2), price + 4, max(0.05, price - 4), -0.62]
    items += [price - 0.05, rng.randrange(1, 9000), price + 0.05, rng.randrange(1, 9000), rng.randrange(1, 500), price]
    items += [rng.randrange(9_000_000), rng.randrange(9000)] if contract else []
    items += [rng.randrange(90_000_000), 762_919, 619_405, "1328.72C", "", round(price * 0.9, 2), round(price * 1.1, 2)]
    return "42" + json.dumps(["stock", [*items, _SECONDS - rng.randrange(20), price + 3]], separators=(",", ":"))


def _sdk(master: _Master) -> Any:
    """A BreezeConnect that is not logged in, and has the names that a login would have downloaded."""
    from tests.wire.breeze_sdk import MASTER, load_sdk

    with tempfile.TemporaryDirectory() as folder, chdir(folder):  # it reads an archive and makes a folder of logs while it is imported
        (Path(folder) / MASTER[1:]).parent.mkdir()
        with ZipFile(Path(folder) / MASTER[1:], "w"):
            pass
        breeze = load_sdk(Path(folder).as_uri())("key")
    breeze.token_script_dict_list = master.for_the_sdk()
    return breeze


def _same(tick: Tick, told: Mapping[str, Any]) -> bool:
    return (
        tick.instrument.symbol == told["stock_name"]
        and (tick.price, tick.volume, tick.quantity) == (told["last"], told["ttq"], told["ltq"])
        and (tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity) == (told["bPrice"], told["bQty"], told["sPrice"], told["sQty"])
        and (tick.oi, tick.previous_close) == (told.get("OI", 0), told["close"])
        and tick.exchange_at is not None
        and tick.exchange_at.astimezone().strftime("%c") == told["ltt"]  # the SDK goes by the zone of the machine
    )


def measure(rounds: int) -> list[Line]:
    """Packets a second of quotes of shares and of contracts."""
    import importlib

    master = _Master()
    breeze = _sdk(master)
    handler = importlib.import_module("breeze_connect.breeze_connect").SocketEventBreeze("/", breeze)
    handler.sio.on("stock", handler.on_message)
    told: list[Mapping[str, Any]] = []
    breeze.on_ticks = told.append
    dialect = FeedDialect("ws://127.0.0.1", lambda: master)
    lines = []
    for name, listed in (("shares", master.shares), ("contracts", master.futures)):
        rng = random.Random(len(name))
        dialect.subscribe(list(listed.values()))
        packets = [_quote(rng, token.rsplit("|", 1)[1], contract=name == "contracts") for token in listed]
        theirs = [packet[1:] for packet in packets]  # without the 4 of Engine.IO, which its client has read by then

        def official(packets: Sequence[str] = theirs) -> None:
            told.clear()
            for packet in packets:
                handler.sio._handle_eio_message(packet)

        def ours(packets: Sequence[str] = packets) -> list[Any]:
            return [event for packet in packets for event in dialect.take(packet, _AT)]

        official()
        assert all(_same(tick, row) for tick, row in zip(ours(), told, strict=True)), "the codec and the SDK differ"
        figures = interleaved({"ours": rate(ours, _PACKETS), "sdk": rate(official, _PACKETS)}, rounds)
        name, sdk = f"ICICI {name} to Ticks", figures["sdk"]
        lines.append(line(name, "packet/s", figures["ours"], sdk, "breeze-connect", goal=8.0, higher=True, stretch=20.0, note=_NOTE))
    return lines
