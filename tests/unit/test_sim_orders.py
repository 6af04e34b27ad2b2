"""An order's life at the simulated exchange: the ladder, fills, triggers, changes, cancels, and what is refused with which words."""

from datetime import timedelta
from pathlib import Path

import pytest

from simulators.orders import OrderParams, OrderRefused, SimOrder, Status, Why
from simulators.recorded import RecordedMarket
from tests.unit.sim_stage import FACTS, NIFTY, SHARE, USER, Stage, clock, record, statuses

PLAIN = ["RECEIVED", "VALIDATING", "OPEN_PENDING", "OPEN"]
KEY = "NSE:TESTCO"


@pytest.fixture
def stage() -> Stage:
    return Stage().to("10:00")


def last(stage: Stage, key: str = NIFTY) -> float:
    return stage.market.quote(key).last_price


def tape(folder: Path, *ticks: tuple[str, float, int], bid: float = 99.9, ask: float = 100.1) -> Stage:
    """A stage on hand-written prints of NSE:TESTCO, from a quiet 10:00:00 on."""
    rows = [("09:59:58", 100.0, 100), *ticks]
    made = [{"timestamp": clock(at), "price": price, "volume": quantity, "bid": bid, "ask": ask, "oi": 0} for at, price, quantity in rows]
    return Stage(RecordedMarket(record(folder, "ticks", made), FACTS)).to("10:00")


# --- the ladder ---------------------------------------------------------------------------------------------------------------------
def test_a_marketable_limit_climbs_the_ladder_and_fills_at_the_book(stage: Stage) -> None:
    ask = stage.market.quote(NIFTY).asks[0][0]
    order = stage.order("BUY", 65, round(ask + 5, 1))
    assert statuses(order) == ["RECEIVED", "VALIDATING"]  # nothing happens inside the request
    stage.wait(0.5)
    assert statuses(order) == [*PLAIN, "COMPLETE"]
    assert order.average_price == ask  # price improvement, not the limit
    assert stage.position() == 65
    assert [row.at for row in order.history] == sorted(row.at for row in order.history)
    assert order.history[-1].at - order.created_at < timedelta(milliseconds=100)
    assert order.exchange_order_id
    assert len(order.id) == 19
    assert sum(trade.quantity for trade in order.trades) == 65


def test_a_market_order_becomes_a_limit_at_the_edge_of_its_band(stage: Stage) -> None:
    price = last(stage)
    order = stage.order("SELL", 65)
    stage.wait(0.5)
    assert (order.order_type, order.requested_type, order.protected) == ("LIMIT", "MARKET", 0.5)
    assert order.price == pytest.approx(price * 0.995, abs=0.06)
    assert order.status is Status.COMPLETE
    chosen = stage.order("BUY", 65, protection=2.0)
    stage.wait(0.5)
    assert chosen.protected == 2.0


def test_a_large_order_fills_in_parts(stage: Stage) -> None:
    stage = Stage(cash=1e9).to("10:00")
    best = stage.market.quote(NIFTY).asks[0]
    order = stage.order("BUY", 1755, best[0])
    stage.wait(0.2)
    assert order.status is Status.OPEN
    assert 0 < order.filled == best[1] < 1755
    assert order.pending == 1755 - order.filled
    parts = len(order.trades)
    stage.to("10:20")
    assert len(order.trades) > parts
    assert all(trade.quantity % 65 == 0 for trade in order.trades)
    assert order.filled == sum(trade.quantity for trade in order.trades)


def test_an_ioc_takes_what_is_there_and_dies() -> None:
    stage = Stage(cash=1e9).to("10:00")
    best = stage.market.quote(NIFTY).asks[0]
    order = stage.order("BUY", 1755, best[0], validity="IOC")
    stage.wait(0.2)
    assert statuses(order)[-1] == "CANCELLED"
    assert (order.filled, order.cancelled) == (best[1], 1755 - best[1])


def test_two_takers_in_one_second_share_the_book() -> None:
    stage = Stage(cash=1e9).to("10:00")
    price, quantity, _ = stage.market.quote(NIFTY).asks[0]
    first, second = stage.order("BUY", quantity, price), stage.order("BUY", 65, price)
    stage.wait(0.2)
    assert first.filled + second.filled == quantity


# --- resting orders against hand-written prints -------------------------------------------------------------------------------------
def test_a_resting_order_waits_behind_the_queue_at_its_price(tmp_path: Path) -> None:
    stage = tape(tmp_path, ("10:00:05", 99.9, 30), ("10:00:06", 99.9, 900), ("10:00:07", 99.9, 10))
    order = stage.order("BUY", 60, 99.9, KEY)
    stage.wait(1)
    ahead = order.queue_ahead
    assert ahead == stage.market.quote(KEY).bids[0][1] > 30
    stage.to("10:00:05")
    assert (order.filled, order.queue_ahead) == (0, ahead - 30)
    stage.to("10:00:06")
    assert order.filled == 60
    assert order.average_price == 99.9


def test_a_print_through_the_price_fills_at_the_price_as_far_as_it_goes(tmp_path: Path) -> None:
    stage = tape(tmp_path, ("10:00:05", 99.5, 40), ("10:00:06", 99.5, 40))
    order = stage.order("BUY", 60, 99.9, KEY)
    stage.to("10:00:05")
    assert (order.filled, order.average_price, order.status) == (40, 99.9, Status.OPEN)
    stage.to("10:00:06")
    assert (order.filled, order.status) == (60, Status.COMPLETE)


def test_prints_above_a_resting_buy_do_not_fill_it(tmp_path: Path) -> None:
    stage = tape(tmp_path, ("10:00:05", 100.0, 5000), ("10:00:06", 100.1, 5000))
    order = stage.order("BUY", 60, 99.9, KEY)
    stage.to("10:00:10")
    assert order.filled == 0


def test_better_price_comes_first_then_the_older_order(tmp_path: Path) -> None:
    stage = tape(tmp_path, ("10:00:05", 99.5, 100))
    orders = []
    for price in (99.9, 99.95, 99.9):
        orders.append(stage.order("BUY", 50, price, KEY))
        stage.wait(0.5)
    older, better, younger = orders
    stage.to("10:00:05")
    assert (better.filled, older.filled, younger.filled) == (50, 50, 0)


@pytest.mark.parametrize(("kind", "price"), [("SL", 100.6), ("SL-M", 0.0)])
def test_a_stop_waits_for_its_trigger(tmp_path: Path, kind: str, price: float) -> None:
    stage = tape(tmp_path, ("10:00:05", 100.4, 10), ("10:00:08", 100.5, 10))
    order = stage.order("BUY", 10, price, KEY, order_type=kind, trigger_price=100.5)
    stage.to("10:00:06")
    assert statuses(order) == ["RECEIVED", "VALIDATING", "OPEN_PENDING", "TRIGGER_PENDING"]
    stage.to("10:00:08")
    assert statuses(order)[-2:] == ["OPEN", "COMPLETE"]
    assert order.triggered
    assert order.average_price == 100.1  # the ask that stands in the recording
    assert order.order_type == ("SL" if kind == "SL" else "LIMIT")


# --- changes and cancels ------------------------------------------------------------------------------------------------------------
def resting(stage: Stage, quantity: int = 65) -> SimOrder:
    order = stage.order("BUY", quantity, round(last(stage) - 80, 1))
    stage.wait(0.5)
    assert order.status is Status.OPEN
    return order


def test_a_change_has_its_own_ladder(stage: Stage) -> None:
    order = resting(stage)
    stage.exchange.modify(USER, order.id, stage.now, price=round(order.price - 10, 1), quantity=130)
    with pytest.raises(OrderRefused, match="being processed"):
        stage.exchange.modify(USER, order.id, stage.now, price=100.0)
    stage.wait(0.5)
    assert statuses(order)[4:] == ["MODIFY_VALIDATING", "MODIFY_PENDING", "MODIFIED", "OPEN"]
    assert (order.quantity, order.modifications) == (130, 1)


def test_a_change_to_a_crossing_price_fills(stage: Stage) -> None:
    order = resting(stage)
    stage.exchange.modify(USER, order.id, stage.now, price=round(last(stage) + 20, 1))
    stage.wait(0.5)
    assert order.status is Status.COMPLETE


def test_the_new_quantity_is_the_total_and_not_below_what_is_filled() -> None:
    stage = Stage(cash=1e9).to("10:00")
    order = stage.order("BUY", 1755, stage.market.quote(NIFTY).asks[0][0])
    stage.wait(0.2)
    filled = order.filled
    with pytest.raises(OrderRefused, match="filled quantity"):
        stage.exchange.modify(USER, order.id, stage.now, quantity=filled - 65)
    stage.exchange.modify(USER, order.id, stage.now, quantity=filled)
    stage.wait(0.2)
    assert (order.status, order.quantity) == (Status.COMPLETE, filled)


def test_the_twenty_sixth_change_is_refused(stage: Stage) -> None:
    order = resting(stage)
    for step in range(25):
        stage.exchange.modify(USER, order.id, stage.now, price=round(order.price - 0.1 * (step % 2 or -1), 1))
        stage.wait(0.2)
    with pytest.raises(OrderRefused, match="Maximum allowed order modifications exceeded"):
        stage.exchange.modify(USER, order.id, stage.now, price=order.price)


def test_a_change_the_margin_does_not_cover_leaves_the_order_as_it_was(stage: Stage) -> None:
    order = resting(stage)
    stage.exchange.modify(USER, order.id, stage.now, quantity=65 * 20)
    stage.wait(0.5)
    assert (order.status, order.quantity) == (Status.OPEN, 65)
    assert order.message is not None
    assert "Insufficient funds" in order.message


def test_a_cancel_takes_effect_a_moment_later(stage: Stage) -> None:
    order = resting(stage)
    stage.exchange.cancel(USER, order.id, stage.now)
    assert order.status is Status.CANCEL_PENDING
    stage.wait(0.5)
    assert (order.status, order.cancelled, order.pending) == (Status.CANCELLED, 65, 0)
    with pytest.raises(OrderRefused, match="cannot be cancelled"):
        stage.exchange.cancel(USER, order.id, stage.now)


def test_a_fill_wins_the_race_against_a_cancel(tmp_path: Path) -> None:
    stage = tape(tmp_path, ("10:00:05", 99.5, 500))
    order = stage.order("BUY", 60, 99.9, KEY)
    stage.to("10:00:04.990")
    stage.exchange.cancel(USER, order.id, stage.now)
    stage.to("10:00:06")
    assert statuses(order)[-2:] == ["CANCEL_PENDING", "COMPLETE"]


def test_an_unknown_order_is_an_order_error(stage: Stage) -> None:
    with pytest.raises(OrderRefused) as error:
        stage.exchange.cancel(USER, "1", stage.now)
    assert error.value.why is Why.ORDER


# --- refusals -----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("multiple of lot size", {"quantity": 64}),
        ("Tick size for this script is 0.10", {"price": 25000.05}),
        ("exceeds freeze limit of 1800", {"quantity": 1820}),
        ("without market protection", {"protection": 0}),
        ("does not exist", {"key": "NFO:NIFTY26JUNFUT", "price": 100.0}),
        ("index", {"key": "NSE:NIFTY 50", "product": "CNC"}),
        ("product", {"product": "CNC"}),
        ("validity", {"validity": "GTC"}),
        ("Trigger price should be", {"order_type": "SL", "price": 25000.0, "trigger_price": 26000.0}),
    ],
)
def test_the_door_refuses(stage: Stage, text: str, fields: dict[str, object]) -> None:
    with pytest.raises(OrderRefused, match=text):
        stage.order(**{"quantity": 65, **fields})  # type: ignore[arg-type]
    assert not stage.exchange.account(USER).orders


def test_stop_market_orders_on_options_are_gone(stage: Stage) -> None:
    option = next(key for key, item in stage.market.listings.items() if item.kind == "CE")
    with pytest.raises(OrderRefused, match="SL-M"):
        stage.order(key=option, order_type="SL-M", trigger_price=500.0)


def rejected(stage: Stage, **fields: object) -> SimOrder:
    order = stage.order(**fields)  # type: ignore[arg-type]
    stage.wait(0.5)
    assert statuses(order)[-1] == "REJECTED"
    assert order.raw_message
    return order


def test_too_little_money_is_a_reject_with_the_figures(stage: Stage) -> None:
    order = rejected(stage, quantity=65 * 6)
    assert order.message is not None
    assert "Insufficient funds. Required margin is" in order.message
    assert order.raw_message is not None
    assert order.raw_message.startswith("RMS:Margin Exceeds,Required:")


def test_prices_outside_circuit_and_protection_range_are_rejected(stage: Stage) -> None:
    low = rejected(stage, price=20000.0)
    assert "circuit limit" in str(low.message)
    high = rejected(stage, price=round(last(stage) * 1.05, 1))
    assert "outside the current allowed limit price protection range" in str(high.message)


def test_a_crossed_trigger_is_rejected(stage: Stage) -> None:
    price = round(last(stage), 1)
    order = rejected(stage, order_type="SL", trigger_price=round(price - 50, 1), price=round(price - 40, 1))
    assert order.message == "Trigger price for stoploss buy orders should be above LTP."


def test_selling_shares_one_does_not_have_is_rejected(stage: Stage) -> None:
    order = rejected(stage, side="SELL", quantity=10, key=SHARE)
    assert "Holding quantity insufficient" in str(order.message)


def test_orders_outside_the_session_are_refused_or_queued() -> None:
    stage = Stage()
    with pytest.raises(OrderRefused, match="Markets are closed"):
        stage.order(price=25000.0)
    queued = stage.order(price=round(last(stage) + 100, 1), variety="amo")
    assert statuses(queued) == ["AMO_RECEIVED"]
    dropped = stage.order(price=25000.0, variety="amo")
    stage.exchange.cancel(USER, dropped.id, stage.now)
    stage.to("09:12")
    assert statuses(queued)[:5] == ["AMO_RECEIVED", *PLAIN]
    assert queued.status is Status.COMPLETE  # the opening auction took it
    assert queued.average_price == stage.market.quote(NIFTY).open
    assert dropped.status is Status.CANCELLED
    stage.to("09:16")
    with pytest.raises(OrderRefused, match="AMO"):
        stage.order(price=25000.0, variety="amo")


def test_the_next_order_can_be_rejected_or_filled_in_part_on_demand(stage: Stage) -> None:
    stage.exchange.force_reject("Adapter is down", user="SOMEBODY")
    stage.exchange.force_reject("RMS says no", "RMS:No")
    order = rejected(stage)
    assert (order.message, order.raw_message) == ("RMS says no", "RMS:No")
    stage.exchange.force_partial(65)
    capped = stage.order(quantity=130)
    stage.wait(30)
    assert (capped.filled, capped.status) == (65, Status.OPEN)
    stage.exchange.release_partials()
    stage.wait(60)
    assert capped.filled == 130


def test_a_halt_and_a_circuit_lock_stop_fills(stage: Stage) -> None:
    stage.exchange.lock_circuit(SHARE, "upper")
    locked = stage.order("BUY", 10, stage.market.listings[SHARE].upper_circuit, SHARE)
    stage.wait(120)
    assert (locked.status, locked.filled) == (Status.OPEN, 0)
    stage.exchange.halt(True)
    refused = stage.order()
    stage.wait(1)
    assert refused.status is Status.REJECTED
    stage.exchange.halt(False)
    stage.wait(1)
    after = stage.order()
    stage.wait(1)
    assert after.status is Status.COMPLETE


def test_foreign_orders_have_no_tag(stage: Stage) -> None:
    mine = stage.order(tag="NIYAM001")
    order = stage.exchange.place_foreign(USER, OrderParams(NIFTY, "BUY", 65, "MARKET", "NRML", tag="NIYAM001"), stage.now)
    stage.wait(1)
    assert (mine.tag, order.tag, order.status) == ("NIYAM001", None, Status.COMPLETE)
    assert stage.position() == 130


def test_the_same_day_twice_gives_the_same_fills() -> None:
    def run() -> list[tuple[object, ...]]:
        stage = Stage(cash=1e9)
        for minute in range(20, 50, 5):
            stage.to(f"09:{minute}")
            stage.order("BUY", 650, stage.market.quote(NIFTY).bids[0][0])
        stage.to("10:30")
        return [
            (change.order.id, change.row.status, change.row.at, change.row.filled, change.row.average_price) for change in stage.changes
        ]

    assert run() == run()


def test_other_clients_do_not_move_the_market() -> None:
    quiet, busy = Stage(), Stage(cash=1e9)
    busy.to("09:30")
    busy.order("BUY", 1755)
    for stage in (quiet, busy):
        stage.to("09:45")
    assert busy.market.quote(NIFTY) == quiet.market.quote(NIFTY)
