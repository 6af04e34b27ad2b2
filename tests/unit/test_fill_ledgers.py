"""Every fill rule on a small market, against a ledger worked out by hand: times, prices, and charges to the paisa.

The hand's rates are those of config/market/charges.yaml for Zerodha in November 2026, as its worked examples P1, C1, C2 and C6 use them.
Shares intraday at NSE, for an order of value V: brokerage min(20, 0.03 % of V); exchange 0.00307 % of V; SEBI 0.0001 % of V; stamp 0.003 %
of V on a purchase; tax 0.025 % of V on a sale; GST 18 % of (brokerage + exchange + SEBI). An order's fills are charged what the order so
far costs with them, less what it cost without them, each rounded to the paisa. The tick is 5 paise.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtesting.run import Outcome
from core.types import IST, Account, AccountKind, Bar, Fill, Signal, View
from execution_engine.paper_rules import FillRules
from strategies.base import Strategy
from tests.planted import market_of, planted, wide
from utils.config_loader import load_charges

DAY = "2026-11-20"
Said = tuple[float, float | None, float | None]
"""Target, stop, profit target."""
Quote = tuple[float, float, float, float, int]
"""Open, high, low, close, volume of one bar."""
EXAMPLES = load_charges()["worked_examples"]
FLAT: Quote = (1000.0, 1000.0, 1000.0, 1000.0, 400)
BUY, SELL = "BUY", "SELL"


def scripted(script: Mapping[str, Said]) -> type[Strategy]:
    """A strategy that says what its script has for the bar that starts then (`HH:MM`, or `YYYY-MM-DD HH:MM`)."""

    class Scripted(Strategy):
        said: ClassVar[Mapping[str, Said]] = script

        def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
            found = self.said.get(f"{bar.start:%H:%M}", self.said.get(f"{bar.start:%Y-%m-%d %H:%M}"))
            if found is not None:
                yield self.signal(bar.instrument, *found)

    return Scripted


def bars(folder: Path, quotes: Mapping[str, Quote], symbol: str = "NSE:ABC", days: tuple[str, ...] = (DAY,), usual: Quote = FLAT) -> Path:
    """Five-minute bars of whole sessions: `usual`, but for the quotes by their start."""
    rows = []
    for day in days:
        opens = datetime.fromisoformat(f"{day} 09:15").replace(tzinfo=IST)
        for number in range(75):
            start = opens + timedelta(minutes=5 * number)
            rows.append((start, symbol, *quotes.get(f"{start:%H:%M}", quotes.get(f"{start:%Y-%m-%d %H:%M}", usual))))
    names = ("timestamp", "symbol", "open", "high", "low", "close", "volume")
    file = folder / "bars.parquet"
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), file)
    return file


def run(folder: Path, file: Path, script: Mapping[str, Said], fills: FillRules | None = None, **about: Any) -> Outcome:
    config = wide(folder / "config", **{"size": "{quantity: 100}", "interval": 5, **about})
    account = Account("ledger", AccountKind.PRACTICE, "zerodha", 1e9)
    return planted(scripted(script), config, account, market_of(file, folder / "prepared", config), fills)


def ledger(outcome: Outcome) -> list[tuple[str, str, int, float, int]]:
    """Each fill: time, side, units, price, charges in paise."""
    return [(clock(fill), str(fill.side), fill.quantity, fill.price, fill.charges) for fill in outcome.fills]


def clock(fill: Fill) -> str:
    return f"{fill.at.astimezone(IST):%H:%M:%S}".removesuffix(":00")


IN_AND_OUT: dict[str, Said] = {"10:00": (1, None, None), "10:30": (0, None, None)}


def test_next_open_is_example_p1(tmp_path: Path) -> None:
    """Bought and sold at 1,00,000. Buy: 20 + 3.07 + 0.10 + 3.00 + GST 4.1706 = 30.3406. Sale: 20 + 3.07 + 0.10 + 25 + 4.1706 = 52.3406."""
    outcome = run(tmp_path, bars(tmp_path, {"10:05": (1000.0, 1004.0, 999.0, 1003.0, 400)}), IN_AND_OUT)
    assert ledger(outcome) == [("10:05", BUY, 100, 1000.0, 3034), ("10:35", SELL, 100, 1000.0, 5234)]
    assert outcome.trips[0].gross == 0
    assert outcome.trips[0].charges == round(EXAMPLES["P1"]["computed"]["total"] * 100) == 8268
    assert outcome.capital_used == 25_000.0, "a quarter of 1,00,000: what the gate takes shares without derivatives to block intraday"


def test_a_limit_beyond_which_the_bar_opened_fills_at_the_limit_if_the_bar_came_back(tmp_path: Path) -> None:
    """Decided at 1000 with a cap of 2.5 %: the limit is 1025. The bar opens at 1030 and comes down to 1020: 1025, dated at the bar's end.

    Value 1,02,500: 20 + exchange 3.14675 + SEBI 0.1025 + stamp 3.075 + GST 18 % of 23.24925 = 4.184865: 30.509115.
    """
    quotes = {"10:05": (1030.0, 1031.0, 1020.0, 1022.0, 400)}
    assert ledger(run(tmp_path, bars(tmp_path, quotes), IN_AND_OUT))[0] == ("10:10", BUY, 100, 1025.0, 3051)


def test_at_next_open_a_stop_is_seen_at_a_close_and_left_at_the_open_after(tmp_path: Path) -> None:
    """Stop 990. The bar of 10:05 touched 989 and closed above it, which this rule does not see; that of 10:10 closes at 988: out at the
    open of 10:15, 987.

    Sale of 98,700: 20 + exchange 3.03009 + SEBI 0.0987 + tax 24.675 + GST 18 % of 23.12879 = 4.1631822: 51.9669722.
    Gross 100 x (987 - 1000) = -1300; net -1300 - 30.34 - 51.97 = -1382.31.
    """
    quotes = {
        "10:05": (1000.0, 1001.0, 989.0, 995.0, 400),
        "10:10": (995.0, 995.0, 985.0, 988.0, 400),
        "10:15": (987.0, 989.0, 986.0, 988.0, 400),
    }
    outcome = run(tmp_path, bars(tmp_path, quotes), {"10:00": (1, 990.0, None)})
    assert ledger(outcome) == [("10:05", BUY, 100, 1000.0, 3034), ("10:15", SELL, 100, 987.0, 5197)]
    assert outcome.trips[0].gross - outcome.trips[0].charges == -138231


def test_bar_path_meets_the_stop_first_where_a_bar_has_both(tmp_path: Path) -> None:
    """Stop 990, target 1010; the bar of 10:10 goes from 985 to 1015. Taken to fall first: seen at 990, sold a tick below, 989.95.

    Sale of 98,995: 20 + exchange 3.0391465 + SEBI 0.098995 + tax 24.74875 + GST 18 % of 23.1381415 = 4.16486547: 52.05175697.
    Gross 100 x (989.95 - 1000) = -1005.
    """
    quotes = {"10:10": (1000.0, 1015.0, 985.0, 1012.0, 400)}
    outcome = run(tmp_path, bars(tmp_path, quotes), {"10:00": (1, 990.0, 1010.0)}, FillRules(inside_bars=True))
    fills = ledger(outcome)
    assert [fill[1:] for fill in fills] == [(BUY, 100, 1000.0, 3034), (SELL, 100, 989.95, 5205)]
    assert (fills[0][0], "10:10" < fills[1][0] < "10:15") == ("10:05:01", True)
    assert outcome.trips[0].gross == -100500


def test_bar_path_takes_a_target_at_its_price_and_not_beyond(tmp_path: Path) -> None:
    """Stop 990, target 1010; the bar of 10:10 rises to 1015 and never falls to 990: sold at 1010, though it went on.

    Sale of 1,01,000: 20 + exchange 3.1007 + SEBI 0.101 + tax 25.25 + GST 18 % of 23.2017 = 4.176306: 52.628006.
    """
    quotes = {"10:10": (1000.0, 1015.0, 999.0, 1012.0, 400)}
    outcome = run(tmp_path, bars(tmp_path, quotes), {"10:00": (1, 990.0, 1010.0)}, FillRules(inside_bars=True))
    assert [fill[1:] for fill in ledger(outcome)] == [(BUY, 100, 1000.0, 3034), (SELL, 100, 1010.0, 5263)]


def test_bar_path_of_a_short_position_meets_its_stop_above_first(tmp_path: Path) -> None:
    """The mirror: short at 1000, stop 1010, target 990; bought back a tick above the stop, 1010.05.

    Sale of 1,00,000: 52.34 as in P1. Purchase of 1,01,005: 20 + exchange 3.1008535 + SEBI 0.101005 + stamp 3.03015 + GST 18 % of 23.2018585
    = 4.17633453: 30.40834303.
    """
    quotes = {"10:10": (1000.0, 1015.0, 985.0, 990.0, 400)}
    outcome = run(tmp_path, bars(tmp_path, quotes), {"10:00": (-1, 1010.0, 990.0)}, FillRules(inside_bars=True))
    assert [fill[1:] for fill in ledger(outcome)] == [(SELL, 100, 1000.0, 5234), (BUY, 100, 1010.05, 3041)]


def test_a_share_of_the_volume_fills_in_parts_that_pay_one_order_s_brokerage(tmp_path: Path) -> None:
    """A tenth of 400 is 40 a bar, so 100 take three bars: 40 at 1000, 40 at 1000.50, 20 at 1001.

    The purchase so far, V = 40,000: 12 + 1.228 + 0.04 + 1.2 + GST 18 % of 13.268 = 2.38824: 16.85624.
    V = 80,020: 20 + 2.456614 + 0.08002 + 2.4006 + 18 % of 22.536634 = 4.05659412: 28.99382812; the second fill 28.99 - 16.86 = 12.13.
    V = 1,00,040: 20 + 3.071228 + 0.10004 + 3.0012 + 18 % of 23.171268 = 4.17082824: 30.34329624; the third 30.34 - 28.99 = 1.35.
    The sale, all at 1004, V = 40,160: 12.048 + 1.232912 + 0.04016 + tax 10.04 + 18 % of 13.321072 = 2.39779296: 25.75886496.
    V = 80,320: 20 + 2.465824 + 0.08032 + 20.08 + 18 % of 22.546144 = 4.05830592: 46.68444992; the second 46.68 - 25.76 = 20.92.
    V = 1,00,400: 20 + 3.08228 + 0.1004 + 25.1 + 18 % of 23.18268 = 4.1728824: 52.4555624; the third 52.46 - 46.68 = 5.78.
    Gross 1,00,400 - 1,00,040 = 360.
    """
    quotes: dict[str, Quote] = {"10:10": (1000.5, 1000.5, 1000.5, 1000.5, 400), "10:15": (1001.0, 1001.0, 1001.0, 1001.0, 400)}
    quotes |= dict.fromkeys(("10:35", "10:40", "10:45"), (1004.0, 1004.0, 1004.0, 1004.0, 400))
    outcome = run(tmp_path, bars(tmp_path, quotes), IN_AND_OUT, FillRules(volume_share=0.1))
    assert ledger(outcome) == [
        *[("10:05", BUY, 40, 1000.0, 1686), ("10:10", BUY, 40, 1000.5, 1213), ("10:15", BUY, 20, 1001.0, 135)],
        *[("10:35", SELL, 40, 1004.0, 2576), ("10:40", SELL, 40, 1004.0, 2092), ("10:45", SELL, 20, 1004.0, 578)],
    ]
    assert sum(trip.gross for trip in outcome.trips) == 36000


def test_a_bar_s_volume_fills_whole_lots(tmp_path: Path) -> None:
    """Of two lots of 65 a bar of 100 units fills one, and the next what is left; nobody holds part of a lot, which none could close."""
    usual: Quote = (15000.0, 15000.0, 15000.0, 15000.0, 650)
    quotes: dict[str, Quote] = {f"10:{minute:02}": (*usual[:4], volume) for minute, volume in ((5, 100), (10, 131))}
    outcome = run(tmp_path, bars(tmp_path, quotes, "NFO:NIFTY26NOVFUT", usual=usual), IN_AND_OUT, instrument="NIFTY_FUT", size="{lots: 2}")
    assert [(clock(fill), str(fill.side), fill.quantity) for fill in outcome.fills] == [
        *[("10:05", BUY, 65), ("10:10", BUY, 65)],
        ("10:35", SELL, 130),
    ]


def test_what_an_order_got_before_the_day_ended_is_booked_once(tmp_path: Path) -> None:
    """Of 100 the square-off sells 10 in each of the day's last bars; its order ends with the day, and the next day sells the rest."""
    days = ("2026-11-19", "2026-11-20")
    thin = dict.fromkeys([f"{days[0]} 15:{minute}" for minute in (15, 20, 25)], (1000.0, 1000.0, 1000.0, 1000.0, 100))
    outcome = run(tmp_path, bars(tmp_path, thin, days=days), {f"{days[0]} 14:00": (1, None, None)}, FillRules(volume_share=0.1))
    assert [(str(fill.at.date()), clock(fill), str(fill.side), fill.quantity) for fill in outcome.fills] == [
        *[(days[0], "14:05", BUY, 40), (days[0], "14:10", BUY, 40), (days[0], "14:15", BUY, 20)],
        *[(days[0], "15:20", SELL, 10), (days[0], "15:20", SELL, 10), (days[0], "15:25", SELL, 10)],
        *[(days[1], "15:20", SELL, 40), (days[1], "15:20", SELL, 30)],
    ]
    assert outcome.held == {}


@pytest.mark.parametrize(
    ("fills", "worse"),
    [
        (FillRules(slippage_ticks=6), 0.3),  # 6 x 0.05
        (FillRules(slippage_bps=2.8), 0.3),  # 2.8 / 10,000 of 1000 = 0.28, to the next tick
        (FillRules(spread_ticks=11), 0.3),  # half of 11 is 5.5, up to a tick: 6
        (FillRules(slippage_ticks=2, slippage_bps=1, spread_ticks=4), 0.3),  # 0.10 + 0.10 + 0.10
    ],
)
def test_spread_and_slippage_are_paid_on_both_sides(tmp_path: Path, fills: FillRules, worse: float) -> None:
    """Bought at 1000.30, sold at 999.70.

    Purchase of 1,00,030: 20 + 3.070921 + 0.10003 + 3.0009 + 18 % of 23.170951 = 4.17077118: 30.34262218.
    Sale of 99,970: 20 + 3.069079 + 0.09997 + 24.9925 + 18 % of 23.169049 = 4.17042882: 52.33197782. Gross -60, net -60 - 82.67.
    """
    outcome = run(tmp_path, bars(tmp_path, {}), IN_AND_OUT, fills)
    assert ledger(outcome) == [("10:05", BUY, 100, 1000 + worse, 3034), ("10:35", SELL, 100, 1000 - worse, 5233)]
    assert outcome.trips[0].gross - outcome.trips[0].charges == -14267


def test_slippage_never_passes_an_order_s_limit(tmp_path: Path) -> None:
    """600 ticks are 30 rupees; the limits are 2.5 % from 1000: bought at 1025 (30.51, as above), sold at 975.

    Sale of 97,500: 20 + 2.99325 + 0.0975 + tax 24.375 + GST 18 % of 23.09075 = 4.156335: 51.622085.
    """
    outcome = run(tmp_path, bars(tmp_path, {}), IN_AND_OUT, FillRules(slippage_ticks=600))
    assert ledger(outcome) == [("10:05", BUY, 100, 1025.0, 3051), ("10:35", SELL, 100, 975.0, 5162)]


def test_latency_misses_the_open_and_meets_the_close(tmp_path: Path) -> None:
    """Two seconds late, the open of 1000 is gone: bought at the bar's close 1001, sold at 1004; both dated at the bar's end.

    Purchase of 1,00,100: 20 + 3.07307 + 0.1001 + 3.003 + 18 % of 23.17317 = 4.1711706: 30.3473406. Sale of 1,00,400: 52.4555624, as above.
    """
    quotes = {"10:05": (1000.0, 1002.0, 999.0, 1001.0, 400), "10:35": (1000.0, 1005.0, 1000.0, 1004.0, 400)}
    outcome = run(tmp_path, bars(tmp_path, quotes), IN_AND_OUT, FillRules(latency_s=2))
    assert ledger(outcome) == [("10:10", BUY, 100, 1001.0, 3035), ("10:40", SELL, 100, 1004.0, 5246)]
    assert outcome.trips[0].gross == 30000


def test_a_square_off_inside_a_bar_meets_its_close(tmp_path: Path) -> None:
    """Six minutes before the cut-off of 15:25 the exit is sent, inside the bar of 15:15, whose open is over: its close, 998, at its end.

    Sale of 99,800: 20 + 3.06386 + 0.0998 + tax 24.95 + 18 % of 23.16366 = 4.1694588: 52.2831188.
    """
    quotes = {"15:15": (1000.0, 1000.0, 997.0, 998.0, 400), "15:20": (990.0, 990.0, 990.0, 990.0, 400)}
    outcome = run(tmp_path, bars(tmp_path, quotes), {"10:00": (1, None, None)})
    assert ledger(outcome) == [("10:05", BUY, 100, 1000.0, 3034), ("15:20", SELL, 100, 998.0, 5228)]


def test_a_future_is_example_c1(tmp_path: Path) -> None:
    """One lot of 65, bought at 24,000 and sold at 24,100. Exchange 0.00183 %, stamp 0.002 %, tax 0.05 %.

    Purchase of 15,60,000: 20 + 28.548 + 1.56 + 31.20 + GST 18 % of 50.108 = 9.01944: 90.32744. Sale of 15,66,500: 20 + 28.66695 + 1.5665 +
    783.25 + 18 % of 50.23345 = 9.042021: 842.525471. Together 932.852911, the example's 932.85; booked by order 90.33 + 842.53.
    """
    usual: Quote = (24000.0, 24000.0, 24000.0, 24000.0, 6500)
    file = bars(tmp_path, {"10:35": (24100.0, 24100.0, 24100.0, 24100.0, 6500)}, "NFO:NIFTY26NOVFUT", usual=usual)
    outcome = run(tmp_path, file, IN_AND_OUT, instrument="NIFTY_FUT", size="{lots: 1}")
    assert ledger(outcome) == [("10:05", BUY, 65, 24000.0, 9033), ("10:35", SELL, 65, 24100.0, 84253)]
    assert abs(sum(fill.charges for fill in outcome.fills) - EXAMPLES["C1"]["total"] * 100) <= 1.01  # two orders, each rounded
    assert outcome.trips[0].gross == 650000
    assert outcome.capital_used == 202_800.0, "13 % of 15,60,000"


def test_an_option_is_example_c2(tmp_path: Path) -> None:
    """One lot of 65, bought at 120 and sold at 140; its price moves by more than a cap would let it, so each bar comes there first.

    Exchange 0.03553 %, stamp 0.003 %, tax 0.15 %. Purchase of 7,800: 20 + 2.77134 + 0.0078 + 0.234 + 18 % of 22.77914 = 4.1002452:
    27.1133852. Sale of 9,100: 20 + 3.23323 + 0.0091 + 13.65 + 18 % of 23.24233 = 4.1836194: 41.0759494. Together 68.1893346: C2's 68.19.
    """
    usual: Quote = (120.0, 120.0, 120.0, 120.0, 6500)
    quotes = {"10:30": (140.0, 140.0, 140.0, 140.0, 6500), "10:35": (140.0, 140.0, 140.0, 140.0, 6500)}
    file = bars(tmp_path, quotes, "NFO:NIFTY26NOV24000CE", usual=usual)
    outcome = run(tmp_path, file, IN_AND_OUT, instrument="NFO:NIFTY26NOV24000CE", size="{lots: 1}")
    assert ledger(outcome) == [("10:05", BUY, 65, 120.0, 2711), ("10:35", SELL, 65, 140.0, 4108)]
    assert sum(fill.charges for fill in outcome.fills) == round(EXAMPLES["C2"]["total"] * 100)


def test_charges_are_those_of_the_day_as_in_example_c6(tmp_path: Path) -> None:
    """The same sale of a BANKNIFTY lot on the last day of the old tax and the first of the new: 397.86 and 901.86."""
    usual: Quote = (56000.0, 56000.0, 56000.0, 56000.0, 3000)
    days = ("2026-03-30", "2026-04-01")
    short: dict[str, Said] = {"10:00": (-1, None, None), "10:30": (0, None, None)}
    file = bars(tmp_path, {}, "NFO:BANKNIFTY26APRFUT", days, usual)
    outcome = run(tmp_path, file, short, instrument="BANKNIFTY_FUT", size="{lots: 1}")
    sold = [(fill.quantity, fill.price, fill.charges) for fill in outcome.fills if str(fill.side) == SELL]
    told = [round(EXAMPLES["C6"][name] * 100) for name in ("total_2026_03_31", "total_2026_04_01")]
    assert sold == [(30, 56000.0, told[0]), (30, 56000.0, told[1])]


def test_ticks_take_the_other_side_of_the_book(tmp_path: Path) -> None:
    """A print each second. The minute of 10:00 is closed at 10:01:02: bought at the ask of the print after it, sold at a bid of 1004.90.

    Purchase of 1,00,020: 20 + 3.070614 + 0.10002 + 3.0006 + 18 % of 23.170634 = 4.17071412: 30.34194812. Sale of 1,00,490: 20 + 3.085043 +
    0.10049 + tax 25.1225 + 18 % of 23.185533 = 4.17339594: 52.48142894. Gross 470.
    """
    outcome = run(tmp_path, prints(tmp_path, spread=0.2), TICK_SCRIPT, interval=1)
    assert ledger(outcome) == [("10:01:03", BUY, 100, 1000.2, 3034), ("10:11:03", SELL, 100, 1004.9, 5248)]
    assert outcome.trips[0].gross == 47000


def test_latency_on_ticks_waits_for_a_print_after_it(tmp_path: Path) -> None:
    """Sent at 10:01:02, in the book at 10:01:03, it meets the print after that: bought at 10:01:04, without a book at its price, 1000."""
    outcome = run(tmp_path, prints(tmp_path, spread=None), TICK_SCRIPT, FillRules(latency_s=1), interval=1)
    assert ledger(outcome)[0] == ("10:01:04", BUY, 100, 1000.0, 3034)


TICK_SCRIPT: dict[str, Said] = {"10:00": (1, None, None), "10:10": (0, None, None)}


def prints(folder: Path, spread: float | None) -> Path:
    """A print of 400 each second of a session: 1000 until 10:05, 1005 after; with a book around it where `spread` is given."""
    opens = datetime.fromisoformat(f"{DAY} 09:15").replace(tzinfo=IST)
    rows = []
    for number in range(375 * 60):
        at = opens + timedelta(seconds=number)
        price = 1000.0 if at < opens + timedelta(minutes=50) else 1005.0
        book = (0.0, 0.0) if spread is None else (round(price - spread / 2, 2), round(price + spread, 2))
        rows.append((at, "NSE:ABC", price, 400, *book))
    names = ("timestamp", "symbol", "price", "volume", "bid", "ask")
    file = folder / "ticks.parquet"
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), file)
    return file
