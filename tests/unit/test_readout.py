"""Reports and read-outs from a ledger, and that their tables fit 100 columns."""

import hashlib
import io
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rich.console import Console

from core.errors import NiyamError
from core.types import Fill, Instrument, Order, OrderState, Position, Side, Snapshot
from execution_engine.portfolio import Portfolio
from execution_engine.round_trips import digest_of
from runtime import readout, report, screen, tables
from tests.builders import DAY, NIFTY, RELIANCE, at, make_fill, make_order, make_trade
from utils.rupees import rupees


class Ledger:
    """The reading half of a store, in memory."""

    def __init__(self) -> None:
        self.all_orders: list[Order] = []
        self.all_fills: list[Fill] = []
        self.all_positions: list[Position] = []
        self.kept: dict[str, dict[str, Any]] = {}
        self.entries: list[dict[str, Any]] = []
        self.last: Snapshot | None = None

    def orders(self, day: date | None = None) -> list[Order]:
        return [order for order in self.all_orders if day in (None, order.created_at.date())]

    def fills(self, day: date | None = None) -> list[Fill]:
        return [fill for fill in self.all_fills if day in (None, fill.at.date())]

    def positions(self) -> list[Position]:
        return self.all_positions

    def get(self, space: str, key: str) -> Any:
        return self.kept.get(space, {}).get(key)

    def items(self, space: str) -> dict[str, Any]:
        return self.kept.get(space, {})

    def read_journal(
        self, *, kind: str | None = None, since: int = 0, day: date | None = None, before: int | None = None, last: int | None = None
    ) -> list[dict[str, Any]]:
        found = [
            entry
            for entry in self.entries
            if kind in (None, entry["kind"]) and entry["seq"] > since and day in (None, datetime.fromisoformat(entry["at"]).date())
        ]
        return [entry for entry in found if before is None or entry["seq"] < before][-last if last else 0 :]

    def snapshot(self) -> Snapshot | None:
        return self.last

    def note(self, seconds: float, kind: str, **data: Any) -> None:
        self.entries.append({"seq": len(self.entries) + 1, "at": at(seconds).isoformat(), "kind": kind, **data})

    def trade(
        self, seconds: float, side: Side, quantity: int, price: float, *, strategy: str = "trend", instrument: Instrument = NIFTY
    ) -> None:
        count = len(self.all_fills) + 1
        self.all_fills.append(
            make_fill(
                f"T{count}",
                at=at(seconds),
                side=side,
                quantity=quantity,
                price=price,
                strategy=strategy,
                instrument=instrument,
                charges=1_000,
            )
        )


YESTERDAY = -86_400.0


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


# --- round trips ----------------------------------------------------------------------------------------------------------------


def test_invented_prices_are_labelled_before_the_day_is_closed(ledger: Ledger) -> None:
    told = "synthetic market: the prices are invented"
    ledger.last = Snapshot(status={"market": {"now": at(0).isoformat(), "data": told}})
    assert report.build(ledger, account="practice", day=DAY)["data"] == told
    assert report.build(ledger, account="practice", day=DAY - timedelta(days=1))["data"] is None, "of that day nothing is known"
    ledger.kept["day"] = {DAY.isoformat(): {"data": "recorded data, bars.csv"}}
    assert report.build(ledger, account="practice", day=DAY)["data"] == "recorded data, bars.csv"


def test_a_round_trip_of_several_fills_is_one_trade_at_average_prices(ledger: Ledger) -> None:
    ledger.trade(0, Side.BUY, 65, 25_000.0)
    ledger.trade(60, Side.BUY, 65, 25_010.0)
    ledger.trade(120, Side.SELL, 130, 25_020.0)
    found = report.build(ledger, account="practice", day=DAY)
    assert (found["trades"], found["gross"], found["charges"], found["net"]) == (1, 1950.0, 30.0, 1920.0)
    trip = found["round_trips"][0]
    assert (trip["side"], trip["quantity"], trip["entry_price"], trip["exit_price"]) == ("BUY", 130, 25_005.0, 25_020.0)
    assert (trip["entry_at"], trip["exit_at"]) == (at(0).isoformat(), at(120).isoformat())


def test_a_fill_that_crosses_zero_ends_one_trade_and_starts_another(ledger: Ledger) -> None:
    ledger.trade(0, Side.BUY, 65, 25_000.0)
    ledger.trade(60, Side.SELL, 130, 25_010.0)
    ledger.trade(120, Side.BUY, 65, 25_005.0)
    trips = report.build(ledger, account="practice", day=DAY)["round_trips"]
    assert [(trip["side"], trip["gross"], trip["charges"]) for trip in trips] == [("BUY", 650.0, 15.0), ("SELL", 325.0, 15.0)]


def test_strategies_in_one_instrument_are_kept_apart(ledger: Ledger) -> None:
    ledger.trade(0, Side.BUY, 65, 25_000.0, strategy="trend")
    ledger.trade(1, Side.SELL, 65, 25_001.0, strategy="fade")
    ledger.trade(60, Side.SELL, 65, 25_010.0, strategy="trend")
    ledger.trade(61, Side.BUY, 65, 25_010.0, strategy="fade")
    by_strategy = report.build(ledger, account="practice", day=DAY)["by_strategy"]
    assert by_strategy["trend"] == {"trades": 1, "gross": 650.0, "charges": 20.0, "net": 630.0}
    assert by_strategy["fade"] == {"trades": 1, "gross": -585.0, "charges": 20.0, "net": -605.0}


def test_what_the_account_holds_and_we_do_not_own_is_no_trade_of_ours(ledger: Ledger) -> None:
    ledger.trade(0, Side.BUY, 10, 1_400.0, strategy="EXTERNAL", instrument=RELIANCE)
    found = report.build(ledger, account="practice", day=DAY)
    assert (found["trades"], found["charges"], found["by_strategy"], found["flat_at"]) == (0, 0.0, {}, None)


def test_a_day_on_which_nothing_ran_is_said_to_be_one(ledger: Ledger) -> None:
    ledger.trade(0, Side.BUY, 65, 25_000.0)
    ledger.trade(60, Side.SELL, 65, 25_100.0)
    assert "nothing ran on this day" in shown("report", report.build(ledger, account="practice", day=DAY - timedelta(days=1)))
    assert "nothing ran on this day" not in shown("report", report.build(ledger, account="practice", day=DAY))


def test_a_carried_position_is_reported_on_the_day_it_closes(ledger: Ledger) -> None:
    ledger.trade(YESTERDAY, Side.BUY, 65, 25_000.0)
    ledger.trade(0, Side.SELL, 65, 25_100.0)
    before = report.build(ledger, account="practice", day=DAY - timedelta(days=1))
    after = report.build(ledger, account="practice", day=DAY)
    assert (before["trades"], before["gross"], before["flat_at"]) == (0, 0.0, None)
    assert (after["trades"], after["gross"], after["charges"], after["flat_at"]) == (1, 6500.0, 10.0, at(0).isoformat())


def test_an_empty_day_is_a_report_of_zeros(ledger: Ledger) -> None:
    found = report.build(ledger, account="practice", day=DAY)
    assert (found["trades"], found["net"], found["max_drawdown"], found["flat_at"]) == (0, 0.0, 0.0, None)
    assert found["digest"] == hashlib.sha256().hexdigest()


# --- the day's record -------------------------------------------------------------------------------------------------------------


def test_the_engines_record_of_the_day_wins(ledger: Ledger) -> None:
    ledger.trade(0, Side.BUY, 65, 25_000.0)
    ledger.trade(60, Side.SELL, 65, 24_990.0)
    assert report.build(ledger, account="practice", day=DAY)["max_drawdown"] == 670.0  # realised alone: 650 lost and 20 charged
    square_off = {"scheduled": at(0).isoformat(), "started": at(1).isoformat(), "flat": at(2).isoformat()}
    record = {"max_drawdown": 900.5, "flat_at": at(2).isoformat(), "square_off": square_off, "assumed": ["the hours"]}
    ledger.kept["day"] = {DAY.isoformat(): record}
    found = report.build(ledger, account="practice", day=DAY)
    assert {name: found[name] for name in record} == record


def test_before_the_day_closes_the_schedule_speaks(ledger: Ledger) -> None:
    rounds = {
        f"{DAY.isoformat()}|FO": {"scheduled": at(60).isoformat(), "started": at(61).isoformat(), "flat": at(62).isoformat()},
        f"{DAY.isoformat()}|EQ": {"scheduled": at(50).isoformat(), "started": None, "flat": None},
        "2026-11-19|FO": {"scheduled": at(YESTERDAY).isoformat(), "started": None, "flat": None},
    }
    ledger.kept["square_off"] = rounds
    square_off = report.build(ledger, account="practice", day=DAY)["square_off"]
    assert square_off == {"scheduled": at(50).isoformat(), "started": at(61).isoformat(), "flat": None}


# --- the digest ---------------------------------------------------------------------------------------------------------------


def test_the_digest_is_the_contracts_lines(ledger: Ledger) -> None:
    ledger.trade(0, Side.BUY, 65, 25_000.05)
    ledger.trade(1.5, Side.SELL, 65, 25_001.0)
    lines = (
        "2026-11-20T09:30:00+05:30|trend|NFO:NIFTY26NOVFUT|BUY|65|2500005|1000\n"
        "2026-11-20T09:30:01+05:30|trend|NFO:NIFTY26NOVFUT|SELL|65|2500100|1000\n"
    )
    assert digest_of(ledger.all_fills) == hashlib.sha256(lines.encode()).hexdigest()


def test_ids_do_not_matter_to_the_digest_and_everything_else_does() -> None:
    base = make_fill()
    assert digest_of([base]) == digest_of([msgspec.structs.replace(base, id="X", order_id="Y")])
    changes: list[dict[str, Any]] = [
        {"at": at(1)}, {"strategy": "x"}, {"instrument": RELIANCE}, {"side": Side.SELL}, {"quantity": 1}, {"price": 1.0}, {"charges": 1}
    ]  # fmt: skip
    digests = {digest_of([msgspec.structs.replace(base, **change)]) for change in [{}, *changes]}
    assert len(digests) == 8


class NoCharges:
    class Nothing:
        total = 0.0

    def order_charges(self, *given: object) -> Nothing:
        return self.Nothing()


def test_the_portfolio_keeps_the_same_digest_running() -> None:
    portfolio = Portfolio("practice", NoCharges())
    portfolio.start_day(DAY)
    order = make_order(filled=130, average_price=25_000.0)
    fills = [portfolio.book(order, make_trade(f"T{count}", 65, 25_000.05, seconds=count)) for count in (1, 2)]
    assert portfolio.digest() == digest_of([fill for fill in fills if fill is not None])


# --- periods and the gate ---------------------------------------------------------------------------------------------------------


def calm_week(ledger: Ledger) -> None:
    for back in range(5):
        seconds = back * YESTERDAY
        ledger.trade(seconds, Side.BUY, 65, 25_000.0)
        ledger.trade(seconds + 60, Side.SELL, 65, 25_001.0)
        moment = at(seconds + 60)
        times = {"scheduled": moment.isoformat(), "started": moment.isoformat(), "flat": moment.isoformat()}
        ledger.kept.setdefault("day", {})[moment.date().isoformat()] = {"square_off": times}
    ledger.all_fills.sort(key=lambda fill: fill.at)


def gate(ledger: Ledger) -> dict[str, Any]:
    found: dict[str, Any] = report.build_period(ledger, account="mine", start=DAY - timedelta(days=6), end=DAY)["go_live_gate"]
    return found


def test_a_calm_week_meets_the_gate_and_sums_up(ledger: Ledger) -> None:
    calm_week(ledger)
    found = report.build_period(ledger, account="mine", start=DAY - timedelta(days=6), end=DAY)
    assert found["go_live_gate"] == {"met": True, "needs_days": 5, "reasons": []}
    assert (found["trades"], found["gross"], found["charges"], found["net"]) == (5, 325.0, 100.0, 225.0)
    assert [day["day"] for day in found["days"]] == sorted(day["day"] for day in found["days"])


def test_four_days_are_no_week(ledger: Ledger) -> None:
    calm_week(ledger)
    shorter = report.build_period(ledger, account="mine", start=DAY - timedelta(days=3), end=DAY)
    assert shorter["go_live_gate"]["reasons"] == ["4 of 5 trading days"]


def test_an_alarm_a_difference_and_a_late_square_off_each_close_the_gate(ledger: Ledger) -> None:
    calm_week(ledger)
    ledger.note(0, "alert", level="page", title="Not flat")
    assert gate(ledger)["reasons"] == ["2026-11-20: Not flat"]
    ledger.entries.clear()
    ledger.note(0, "difference", instrument=NIFTY.key)
    assert gate(ledger)["reasons"] == ["2026-11-20: difference"]
    ledger.entries.clear()
    ledger.note(0, "alert", level="warn", title="Session expires soon")
    ledger.kept["day"][DAY.isoformat()]["square_off"]["started"] = at(63).isoformat()
    assert gate(ledger)["reasons"] == [f"2026-11-20: the square-off started late ({at(63).isoformat()})"]


# --- documents ------------------------------------------------------------------------------------------------------------------------

ORDER_FIELDS = {
    "id", "account", "tag", "broker_order_id", "strategy", "instrument", "side", "order_type", "product", "quantity", "filled",
    "average_price", "limit_price", "trigger_price", "state", "reason", "created_at", "updated_at",
}  # fmt: skip
FILL_FIELDS = {"id", "account", "order_id", "instrument", "side", "quantity", "price", "charges", "at"}
POSITION_FIELDS = {"account", "instrument", "product", "strategy", "quantity", "average_price", "last_price", "realised", "unrealised"}
REPORT_FIELDS = {
    "day", "account", "trades", "gross", "charges", "net", "max_drawdown", "by_strategy", "flat_at", "square_off", "digest"
}  # fmt: skip


def full(ledger: Ledger) -> None:
    ledger.all_orders = [
        make_order(state=OrderState.FILLED, filled=130, average_price=25_000.0, broker_order_id="261120000000001"),
        make_order(
            id="20261120-2", state=OrderState.REJECTED, reason="Insufficient funds. Required margin is 1,50,000 but available margin is 20"
        ),
    ]
    ledger.trade(0, Side.BUY, 130, 25_000.0)
    ledger.all_positions = [Position("practice", "trend", NIFTY, "MIS", 130, 25_000.0, realised=-12_345, charges=1_000)]
    ledger.note(
        0, "signal", strategy="trend", instrument=NIFTY.key, name="NIFTY_FUT", target=2.0, stop=24_900.0, why="fast 25000 slow 24990"
    )
    ledger.note(1, "order", order="20261120-1", state="FILLED")
    status = {
        "account": "practice", "kind": "practice", "running": True, "as_of": at(5).isoformat(), "trading_state": "ACTIVE",
        "market": {"phase": "continuous", "now": at(5).isoformat(), "square_off_at": at(20_000).isoformat()},
        "feed": {"connected": True, "age_s": 0.4, "stale": []}, "session": "VALID", "flat": False, "orders": {"WORKING": 1},
        "pnl": {"realised": -123.45, "unrealised": 1_234_567.8, "charges": 10.0, "net": 1_234_434.35},
        "alerts": [{"at": at(1).isoformat(), "level": "warn", "title": "Reject", "text": "Insufficient funds"}],
    }  # fmt: skip
    position = {
        "account": "practice",
        "instrument": NIFTY.key,
        "product": "MIS",
        "strategy": "trend",
        "quantity": 130,
        "last_price": 25_010.0,
    }
    ledger.last = Snapshot(status=status, positions=(position,), orders=({"id": "20261120-1"},))


def test_each_document_has_the_contracts_fields(ledger: Ledger) -> None:
    full(ledger)
    orders, fills = readout.document(ledger, "orders", {}), readout.document(ledger, "fills", {})
    positions, found = readout.document(ledger, "positions", {}), readout.document(ledger, "report", {})
    assert all(row.keys() >= ORDER_FIELDS for row in orders)
    assert all(row.keys() >= FILL_FIELDS for row in fills)
    assert all(row.keys() >= POSITION_FIELDS for row in positions)
    assert found.keys() >= REPORT_FIELDS
    assert (orders[0]["state"], orders[1]["side"], fills[0]["charges"]) == ("FILLED", "BUY", 10.0)
    assert orders[0]["created_at"] == "2026-11-20T09:30:00+05:30"
    assert readout.document(ledger, "signals", {})[0]["account"] == "practice"
    assert [entry["seq"] for entry in readout.document(ledger, "journal", {})] == [1, 2]


def test_a_stored_status_says_that_it_is_past_and_counts_the_ledgers_orders(ledger: Ledger) -> None:
    full(ledger)
    status = readout.document(ledger, "status", {})
    assert (status["running"], status["as_of"]) == (False, at(5).isoformat())
    assert status["orders"] == {"FILLED": 1, "REJECTED": 1}


def test_positions_take_their_mark_from_the_snapshot_and_invent_none(ledger: Ledger) -> None:
    full(ledger)
    position = readout.document(ledger, "positions", {})[0]
    assert (position["last_price"], position["unrealised"], position["realised"]) == (25_010.0, 1300.0, -123.45)
    ledger.last = None
    unmarked = readout.document(ledger, "positions", {})[0]
    assert (unmarked["last_price"], unmarked["unrealised"]) == (None, None)


def test_a_past_days_positions_come_from_its_fills(ledger: Ledger) -> None:
    full(ledger)
    ledger.all_fills.clear()
    ledger.trade(YESTERDAY, Side.SELL, 65, 25_000.0)
    ledger.trade(10, Side.BUY, 65, 24_990.0)
    rows = readout.document(ledger, "positions", {"day": "2026-11-19"})
    assert [(row["quantity"], row["average_price"], row["unrealised"]) for row in rows] == [(-65, 25_000.0, None)]


def test_a_day_and_a_period_choose(ledger: Ledger) -> None:
    full(ledger)
    ledger.trade(YESTERDAY, Side.SELL, 65, 25_000.0)
    assert len(readout.document(ledger, "fills", {})) == 1  # the latest day alone
    assert len(readout.document(ledger, "fills", {"day": "2026-11-19"})) == 1
    assert len(readout.document(ledger, "fills", {"from": "2026-11-19"})) == 2
    assert len(readout.document(ledger, "fills", {"to": "2026-11-19"})) == 1
    assert readout.document(ledger, "orders", {"day": "2026-11-18"}) == []
    assert readout.document(ledger, "journal", {"day": "2026-11-19"}) == []
    assert readout.document(ledger, "report", {"from": "2026-11-19", "to": "2026-11-20"})["from"] == "2026-11-19"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"day": "20 Nov"}, "no date"), ({"from": "2026-11-20", "to": "2026-11-19"}, "swap them")],
)
def test_a_wrong_day_is_said(ledger: Ledger, arguments: dict[str, str], said: str) -> None:
    full(ledger)
    with pytest.raises(NiyamError, match=said):
        readout.document(ledger, "fills", arguments)


def test_an_empty_ledger_says_so(ledger: Ledger) -> None:
    with pytest.raises(NiyamError, match="the ledger is empty"):
        readout.document(ledger, "report", {})
    with pytest.raises(NiyamError, match="no snapshot yet"):
        readout.document(ledger, "status", {})


# --- tables -------------------------------------------------------------------------------------------------------------------------


def shown(name: str, data: Any) -> str:
    out = io.StringIO()
    tables.show(name, data, Console(file=out, width=tables.WIDTH))
    return out.getvalue()


@pytest.mark.parametrize("name", ["status", "orders", "fills", "positions", "signals", "journal", "report"])
def test_every_table_fits_its_width_and_keeps_its_figures_whole(ledger: Ledger, name: str) -> None:
    full(ledger)
    text = shown(name, readout.document(ledger, name, {}))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "…" not in text
    if name in ("orders", "fills", "positions", "signals"):
        assert "NIFTY26NOVFUT" in text
        assert "09:30:00" in text or name == "positions"


def test_the_report_table_shows_what_a_person_looks_for(ledger: Ledger) -> None:
    ledger.trade(0, Side.BUY, 65, 25_000.0)
    ledger.trade(60, Side.SELL, 65, 25_100.0)
    text = shown("report", report.build(ledger, account="practice", day=DAY))
    assert "gross 6,500.00" in text
    assert "flat at     09:31:00" in text


def test_an_order_is_two_lines_that_name_all_of_it_and_a_trade_is_no_plural() -> None:
    out = io.StringIO()
    order = {
        "updated_at": "2026-11-20T10:10:02+05:30", "strategy": "banknifty_supertrend", "purpose": "protect", "tag": "8VP71XV000100006",
        "instrument": "NFO:BANKNIFTY26NOV56400PE", "side": "SELL", "filled": 0, "quantity": 30, "limit_price": 25257.0,
        "trigger_price": 25512.0, "state": "TRIGGER_PENDING", "reason": "stop at the broker",
    }  # fmt: skip
    tables.show(
        "orders", [order, {**order, "state": "UNKNOWN", "trigger_price": None, "reason": "no answer " * 12}], Console(width=100, file=out)
    )
    tables.show("report", {"day": "2026-11-20", "by_strategy": {"a": {"trades": 1}, "b": {"trades": 2}}}, Console(width=100, file=out))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[1].split() == ["10:10:02", "BANKNIFTY26NOV56400PE", "SELL", "0/30", "25257.00", "-", "TRIGGER_PENDING"]
    assert lines[2] == "          banknifty_supertrend protect: stop at the broker; trigger 25512.00; tag 8VP71XV000100006"
    assert lines[3].split()[-1] == "UNKNOWN"
    assert lines[4].startswith("          banknifty_supertrend protect: no answer")
    assert "tag 8VP71XV000100006" in " ".join(lines[4:7]), "by which `absent` takes it"
    assert max(map(len, lines)) <= 100
    assert "1 trade," in out.getvalue()
    assert "2 trades," in out.getvalue()


def test_a_long_name_breaks_after_an_underscore() -> None:
    out = io.StringIO()
    fill = {"strategy": "reliance_opening_range", "instrument": "NSE:RELIANCE", "side": "BUY", "quantity": 100, "id": "1"}
    tables.show("fills", [fill], Console(width=100, file=out))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert (lines[1][1], lines[2]) == ("reliance_", ["opening_range"])


def test_before_the_first_tick_no_age_is_shown_and_an_alert_reads_as_a_sentence() -> None:
    out = io.StringIO()
    alert = {"at": "2026-11-20T09:00:00.25+05:30", "level": "warn", "title": "Strategy disabled", "text": "a is off"}
    tables.show("status", {"feed": {"connected": True, "age_s": None}, "alerts": [alert]}, Console(width=100, file=out))
    tables.show("status", {"feed": {"connected": True, "age_s": 0.52776}}, Console(width=100, file=out))
    assert "connected, no tick yet" in out.getvalue()
    assert "last tick 1 s ago" in out.getvalue()
    assert "2026-11-20 09:00:00 warn: Strategy disabled: a is off" in out.getvalue()


def test_nothing_to_show_is_said() -> None:
    assert shown("orders", []).strip() == "no orders"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (999, "999.00"),
        (1234.5, "1,234.50"),
        (123456.789, "1,23,456.79"),
        (-12345678, "-1,23,45,678.00"),
        (-0.001, "0.00"),
        (None, "-"),
    ],
)
def test_rupees_are_grouped_the_indian_way(value: float | None, text: str) -> None:
    assert rupees(value) == text


# --- the screen -----------------------------------------------------------------------------------------------------------------------


def rendered(snapshot: Snapshot | None) -> str:
    out = io.StringIO()
    Console(file=out, width=100, height=30).print(screen.render(snapshot))
    return out.getvalue()


def test_one_screenful_has_phase_feed_money_positions_orders_and_alerts(ledger: Ledger) -> None:
    full(ledger)
    assert ledger.last is not None
    orders = tuple(readout.document(ledger, "orders", {})) * 20
    positions = tuple(readout.document(ledger, "positions", {}))
    text = rendered(msgspec.structs.replace(ledger.last, orders=orders, positions=positions))
    for expected in ("2026-11-20 09:30:05", "continuous", "square-off 15:03", "feed up", "12,34,434.35", "NIFTY26NOVFUT", "Insufficient"):
        assert expected in text
    assert len(text.splitlines()) <= 30


def test_a_dead_feed_and_a_needed_login_cannot_be_overlooked(ledger: Ledger) -> None:
    full(ledger)
    assert ledger.last is not None
    status = {
        **ledger.last.status,
        "feed": {"connected": False, "stale": [NIFTY.key]},
        "session": "LOGIN_REQUIRED",
        "trading_state": "HALTED",
    }
    text = rendered(Snapshot(status=status))
    for expected in ("feed DOWN", "stale: NFO:NIFTY26NOVFUT", "HALTED", "session LOGIN_REQUIRED"):
        assert expected in text


def test_an_account_is_down_beside_one_that_goes_on_and_not_when_the_whole_run_has_ended() -> None:
    other = {"account": "mine", "kind": "practice", "broker": "upstox", "running": False, "session": "VALID", "flat": True}
    ledger = {"confirmed": 0, "desired": 1, "waiting": [NIFTY.key]}

    def shown(running: bool) -> str:
        out = io.StringIO()
        status = {"account": "practice", "running": running, "feed": {"subscriptions": ledger}, "accounts": [other]}
        tables.show("status", status, Console(file=out, width=120))
        return out.getvalue()

    assert "mine (practice, upstox): DOWN," in shown(True)
    assert "0 of 1 have ticked" in shown(True)
    assert "mine (practice, upstox): not running," in shown(False)
    assert "have ticked" not in shown(False)


def test_without_a_terminal_the_screen_stays_out_of_the_log(ledger: Ledger) -> None:
    out = io.StringIO()
    shown_on = screen.Screen(lambda: None, Console(file=out))
    shown_on.start()
    shown_on.stop()
    assert not shown_on.live
    assert out.getvalue() == ""


def test_on_a_terminal_the_last_state_stays_on_the_screen(ledger: Ledger) -> None:
    full(ledger)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=30)
    shown_on = screen.Screen(lambda: ledger.last, console, page=lambda: "http://127.0.0.1:8000")
    shown_on.start()
    shown_on.stop()
    assert shown_on.live
    assert "NIFTY26NOVFUT" in out.getvalue()
    assert "─ http://127.0.0.1:8000 ─" in out.getvalue()


def test_the_use_of_the_limits_is_told_of_the_latest_day_or_of_one_and_a_day_without_it_says_so(ledger: Ledger) -> None:
    calls = [{"lane": "entry", "kind": "place", "sent": 3, "refused": 1, "waited_s": 0.5, "by": "client"}]
    limits = [{"limit": "orders/s", "seconds": 1.25, "count": 8, "peak": 4, "now": 0, "peak_pct": 50.0}]
    with pytest.raises(NiyamError, match="there is none yet"):
        readout.document(ledger, "usage", {})
    for day in ("2026-11-19", "2026-11-20"):
        ledger.kept.setdefault("usage", {})[day] = {"day": day, "broker": "groww", "calls": calls, "limits": limits}
    assert readout.document(ledger, "usage", {"account": "mine"})["day"] == "2026-11-20"
    found = readout.document(ledger, "usage", {"day": "2026-11-19", "account": "mine"})
    assert (found["account"], found["calls"]) == ("mine", calls)
    out = io.StringIO()
    tables.show("usage", found, Console(file=out, width=100))
    for expected in ("mine at groww", "entry", "8 in 1.25 s", "50 %"):
        assert expected in out.getvalue()
    with pytest.raises(NiyamError, match=r"of 2026-11-19, 2026-11-20.*audit"):
        readout.document(ledger, "usage", {"day": "2026-11-18"})
    with pytest.raises(NiyamError, match="by the day"):
        readout.document(ledger, "usage", {"from": "2026-11-18"})
