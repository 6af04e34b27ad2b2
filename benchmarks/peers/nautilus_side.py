"""nautilus_trader: the bar at its end, which the strategy hears, and a quote of the next open just after it, which orders are filled at.

Its own bar execution fills at the close that caused the order; with quotes it fills at the next open, as the other sides do. An order takes
long enough to reach the exchange for every instrument's quote of that moment to be there (and no longer: sessions have gaps).
"""

import importlib
from typing import Any

import numpy as np

from benchmarks.peers.common import FAST, MINUTE, SLOW, UNITS, Ema, Fill, read, tell, timed

PACKAGE = "nautilus_trader"
MICROSECOND = 1_000


def part(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


data, enums, identifiers, objects = part("model.data"), part("model.enums"), part("model.identifiers"), part("model.objects")
STRATEGY: Any = part("trading.strategy").Strategy


class Cross(STRATEGY):  # type: ignore[misc]  # untyped library
    """Long while the fast average is above the slow one, else flat."""

    def __init__(self, types: list[Any], decides: list[bool]) -> None:
        super().__init__()
        self.types = types
        self.decides = decides
        self.numbers = {one: number for number, one in enumerate(types)}
        self.averages = [(Ema(FAST), Ema(SLOW)) for _ in types]
        self.rows = [0] * len(types)
        self.wanted = [0] * len(types)
        self.units = objects.Quantity.from_int(UNITS)
        self.sent: dict[Any, tuple[int, int]] = {}
        self.fills: list[Fill] = []

    def on_start(self) -> None:
        for one in self.types:
            self.subscribe_bars(one)

    def on_bar(self, bar: Any) -> None:
        number = self.numbers[bar.bar_type]
        fast, slow = self.averages[number]
        price = bar.close.as_double()
        quick, steady = fast.add(price), slow.add(price)
        row = self.rows[number]
        self.rows[number] = row + 1
        if quick is None or steady is None:
            return
        wanted = 1 if quick > steady else 0
        if wanted != self.wanted[number] and self.decides[row]:
            self.wanted[number] = wanted
            side = enums.OrderSide.BUY if wanted else enums.OrderSide.SELL
            order = self.order_factory.market(bar.bar_type.instrument_id, side, self.units)
            self.sent[order.client_order_id] = (number, row + 1)
            self.submit_order(order)

    def on_order_filled(self, event: Any) -> None:
        number, row = self.sent[event.client_order_id]
        sign = 1 if event.order_side == enums.OrderSide.BUY else -1
        self.fills.append((number, row, sign * int(event.last_qty), event.last_px.as_double()))


def main() -> None:
    bars = read()
    backtest, config = part("backtest.engine"), part("config")
    quiet = config.LoggingConfig(bypass_logging=True)
    engine = backtest.BacktestEngine(config.BacktestEngineConfig(logging=quiet))
    venue, rupees = identifiers.Venue("NSE"), objects.Currency.from_str("INR")
    latency = part("backtest.models").LatencyModel(MICROSECOND * (bars.instruments + 2))
    engine.add_venue(
        venue, enums.OmsType.NETTING, enums.AccountType.MARGIN, [objects.Money(1_000_000_000, rupees)], base_currency=rupees,
        latency_model=latency, bar_execution=False,
    )  # fmt: skip
    types, heard = [], []
    starts = bars.starts.astype(np.uint64)
    ends = starts + np.uint64(MINUTE)
    for row in range(bars.instruments):
        share = part("model.instruments").Equity(
            identifiers.InstrumentId(identifiers.Symbol(f"S{row:03d}"), venue), identifiers.Symbol(f"S{row:03d}"), rupees, 2,
            objects.Price.from_str("0.05"), objects.Quantity.from_int(1), 0, 0,
        )  # fmt: skip
        engine.add_instrument(share)
        kind = data.BarType.from_str(f"{share.id}-1-MINUTE-LAST-EXTERNAL")
        types.append(kind)
        columns = [np.ascontiguousarray(getattr(bars, name)[row], dtype=np.float64) for name in ("open", "high", "low", "close", "volume")]
        heard += data.Bar.from_raw_arrays_to_list(kind, 2, 0, *columns, ends, ends)
        sizes, at = np.full(len(starts), 1e6), np.concatenate((starts[:1], ends[:-1])) + np.uint64(MICROSECOND * (row + 1))
        heard += data.QuoteTick.from_raw_arrays_to_list(share.id, 2, 0, columns[0], columns[0], sizes, sizes, at, at)
    engine.add_data(heard)
    strategy = Cross(types, bars.decides.tolist())
    engine.add_strategy(strategy)
    seconds, _ = timed(engine.run)
    tell(bars, seconds, strategy.fills, importlib.import_module(PACKAGE).__version__)


if __name__ == "__main__":
    main()
