"""What the clock does at the simulated exchange: square-off, auctions, the close, the night, expiry; and the broker's books."""

from datetime import date, timedelta

import pytest

from simulators.orders import OrderRefused, SimFunds, SimOrder, Status, Why
from tests.unit.sim_stage import FACTS, NIFTY, SHARE, USER, Stage, clock, statuses


def mis(stage: Stage, side: str = "BUY", quantity: int = 65, key: str = NIFTY, price: float = 0.0) -> SimOrder:
    order = stage.order(side, quantity, price, key, product="MIS")
    stage.wait(1)
    return order


# --- the broker's square-off --------------------------------------------------------------------------------------------------------
def test_the_broker_squares_intraday_positions_off_at_its_cut_off() -> None:
    stage = Stage().to("15:05")
    mis(stage)
    carried = stage.order("BUY", 65)
    pending = mis(stage, price=round(stage.market.quote(NIFTY).last_price - 100, 1))
    share = mis(stage, "SELL", 100, SHARE)
    stage.to("15:13")
    assert share.status == "COMPLETE"
    assert stage.position(SHARE, "MIS") == 0  # closing-auction shares go at 15:12
    assert stage.position(NIFTY, "MIS") == 65
    with_cut = mis(stage, "SELL", 10, SHARE)
    assert "allowed only till 15:12" in str(with_cut.message)
    assert stage.position(NIFTY, "MIS") == 65
    stage.to("15:25:59")
    assert pending.status == "OPEN"
    stage.to("15:28")
    assert pending.status == "CANCELLED"
    assert (stage.position(NIFTY, "MIS"), stage.position()) == (0, 65)
    assert carried.status == "COMPLETE"
    exits = [order for order in stage.exchange.account(USER).orders.values() if order.placed_by == "RMS"]
    assert [(order.side, order.quantity, order.tag) for order in exits] == [("BUY", 100, None), ("SELL", 65, None)]
    assert all(order.created_at >= clock("15:12") for order in exits)


def test_a_late_square_off_costs_the_fee_of_each_order() -> None:
    stage = Stage(cash=1e9).to("15:05")
    before = stage.exchange.account(USER).charges
    mis(stage)
    entry = stage.exchange.account(USER).charges - before
    stage.to("15:30")
    exits = [order for order in stage.exchange.account(USER).orders.values() if order.placed_by == "RMS"]
    exit_charges = stage.exchange.order_charges(NIFTY, "SELL", "MIS", 65, exits[0].average_price).total
    assert stage.exchange.account(USER).charges == pytest.approx(before + entry + exit_charges + 59.0)


def test_large_positions_leave_in_freeze_sized_orders() -> None:
    stage = Stage(cash=1e9).to("15:10")
    for _ in range(2):
        mis(stage, quantity=1755)
    stage.wait(300)
    held = stage.position(NIFTY, "MIS")
    assert held > 1755
    stage.to("15:39")
    exits = [order for order in stage.exchange.account(USER).orders.values() if order.placed_by == "RMS"]
    assert max(order.quantity for order in exits) == 1755
    assert stage.position(NIFTY, "MIS") == 0


# --- auctions and the close ---------------------------------------------------------------------------------------------------------
def test_the_opening_auction_fills_at_one_price_and_leaves_the_rest_to_the_day() -> None:
    stage = Stage().to("09:02")
    close = stage.market.listings[SHARE].previous_close
    taker = stage.order("BUY", 10, round(close * 1.04, 1), SHARE)
    low = stage.order("BUY", 10, round(close * 0.95, 1), SHARE)
    with pytest.raises(OrderRefused):
        stage.order("BUY", 65, 100.0, "NFO:NIFTY27JANFUT")  # the far month is not in the auction
    stop = stage.order("BUY", 10, round(close * 1.02, 1), SHARE, order_type="SL", trigger_price=round(close * 1.01, 1))
    stage.to("09:09:59")
    assert stop.status == "REJECTED"
    assert taker.status == "OPEN"
    stage.to("09:12")
    assert taker.status == "COMPLETE"
    assert taker.average_price == stage.market.quote(SHARE).open
    assert low.status == "OPEN"


def test_the_closing_auction_takes_limits_in_its_band_and_no_stops() -> None:
    stage = Stage(cash=1e7).to("15:10")
    price = stage.market.quote(SHARE).last_price
    inside = stage.order("BUY", 10, round(price * 0.985, 1), SHARE)
    outside = stage.order("BUY", 10, round(price * 0.95, 1), SHARE)
    stop = stage.order("BUY", 10, round(price * 1.06, 1), SHARE, order_type="SL", trigger_price=round(price * 1.05, 1))
    stage.to("15:15:01")
    assert stop.status == "CANCELLED"
    early = stage.order("BUY", 10, round(price * 1.01, 1), SHARE)
    stage.to("15:20:01")
    assert (early.status, outside.status, inside.status) == (Status.REJECTED, Status.CANCELLED, Status.OPEN)
    taker = stage.order("BUY", 10, round(price * 1.02, 1), SHARE)
    far = stage.order("BUY", 10, round(price * 1.05, 1), SHARE)
    stage.to("15:26")
    late_market = stage.order("BUY", 10, key=SHARE)
    stage.to("15:31")
    assert (far.status, late_market.status) == (Status.REJECTED, Status.REJECTED)
    assert taker.status == "COMPLETE"
    assert taker.average_price == stage.market.quote(SHARE).last_price
    assert taker.exchange_at == clock("15:30:30")
    stage.to("15:36")
    assert inside.status == "CANCELLED"


def test_derivatives_trade_to_twenty_to_four_and_day_orders_die_then() -> None:
    stage = Stage().to("15:35")
    order = stage.order("BUY", 65)
    rest = stage.order("BUY", 65, round(stage.market.quote(NIFTY).last_price - 200, 1))
    stage.to("15:39:59")
    assert (order.status, rest.status) == (Status.COMPLETE, Status.OPEN)
    stage.to("15:41")
    assert rest.status == "CANCELLED"
    with pytest.raises(OrderRefused, match="closed") as error:
        stage.order("BUY", 65)
    assert error.value.why is Why.ORDER


# --- the night ----------------------------------------------------------------------------------------------------------------------
def test_overnight_the_books_roll_and_money_is_conserved() -> None:
    stage = Stage(cash=1e6).to("10:00")
    future, share = stage.order("BUY", 65), stage.order("BUY", 20, key=SHARE)
    stage.to("15:45")
    account = stage.exchange.account(USER)
    charges = account.charges
    stage.next_day()
    account = stage.exchange.account(USER)
    settled = stage.market.listings[NIFTY].previous_close
    spent = 20 * share.average_price
    assert account.cash == pytest.approx(1e6 + 65 * (settled - future.average_price) - spent - charges)
    position = account.positions[(NIFTY, "NRML")]
    assert (position.overnight_quantity, position.quantity) == (65, 65)
    assert position.average_price == pytest.approx(future.average_price)
    assert position.m2m == pytest.approx(65 * (position.last_price - settled), abs=1e-6)
    assert position.pnl == pytest.approx(65 * (position.last_price - future.average_price))
    holding = account.holdings[SHARE]
    assert (holding.t1_quantity, holding.sellable) == (20, 20)
    assert holding.average_price == pytest.approx(share.average_price)
    assert account.orders == {}
    assert account.trades == []


def test_holdings_can_be_sold_but_not_twice() -> None:
    stage = Stage().to("10:00")
    stage.order("BUY", 20, key=SHARE)
    stage.next_day().to("10:00")
    sold = stage.order("SELL", 15, key=SHARE)
    stage.wait(1)
    again = stage.order("SELL", 15, key=SHARE)
    stage.wait(1)
    assert (sold.status, again.status) == (Status.COMPLETE, Status.REJECTED)
    assert stage.exchange.account(USER).holdings[SHARE].sellable == 5
    assert stage.position(SHARE, "CNC") == -15
    stage.next_day()
    assert stage.exchange.account(USER).holdings[SHARE].quantity == 5


def test_index_contracts_settle_in_cash_at_the_index_close_on_expiry() -> None:
    expiry = date(2026, 11, 23)
    stage = Stage(day=expiry).to("10:00")
    spot = stage.market.quote("NSE:NIFTY 50").last_price
    strike = round(spot / 50) * 50 - 500
    call = f"NFO:NIFTY26NOV{strike}CE"
    future, option = stage.order("BUY", 65), stage.order("BUY", 65, key=call)
    stage.to("15:45")
    close = stage.market.quote("NSE:NIFTY 50").last_price
    account = stage.exchange.account(USER)
    assert all(position.quantity == 0 for position in account.positions.values())
    assert account.positions[(NIFTY, "NRML")].pnl == pytest.approx(65 * (close - future.average_price))
    worth = max(0.0, close - strike)
    assert account.positions[(call, "NRML")].pnl == pytest.approx(65 * (worth - option.average_price))
    before = account.cash + sum(position.pnl for position in account.positions.values()) - account.charges
    stage.next_day()
    assert stage.exchange.account(USER).cash == pytest.approx(before)
    assert stage.exchange.account(USER).positions == {}


def test_after_market_orders_survive_the_night() -> None:
    stage = Stage().to("17:00")
    order = stage.order("BUY", 10, round(stage.market.quote(SHARE).last_price * 1.08, 1), SHARE, variety="amo")
    stage.next_day()
    assert order.status == "AMO_RECEIVED"
    stage.to("09:12")
    assert order.status == "COMPLETE"
    assert order.filled == 10


# --- positions, funds, conversion ---------------------------------------------------------------------------------------------------
def test_position_identities_hold_after_a_round_trip_and_a_half() -> None:
    stage = Stage(cash=1e8).to("10:00")
    for side, quantity in (("BUY", 130), ("SELL", 260), ("BUY", 65)):
        stage.order(side, quantity)
        stage.wait(20)
    position = stage.exchange.account(USER).positions[(NIFTY, "NRML")]
    assert (position.quantity, position.buy_quantity, position.sell_quantity) == (-65, 195, 260)
    assert position.value == pytest.approx(position.sell_value - position.buy_value)
    assert position.pnl == pytest.approx(position.value + position.quantity * position.last_price)
    assert position.realised + position.unrealised == pytest.approx(position.pnl)
    assert position.average_price == pytest.approx(position.sell_price)
    trades = stage.exchange.account(USER).trades
    assert len({trade.id for trade in trades}) == len(trades)
    assert sum(trade.quantity * trade.price for trade in trades if trade.side == "BUY") == pytest.approx(position.day_buy_value)


def test_margin_is_blocked_by_orders_and_freed_by_cancels_and_exits() -> None:
    stage = Stage().to("10:00")

    def funds() -> SimFunds:
        return stage.exchange.funds(USER)

    order = stage.order("BUY", 65, round(stage.market.quote(NIFTY).last_price - 100, 1))
    stage.wait(1)
    assert funds().net == pytest.approx(1e6 - 0.13 * 65 * order.price)
    assert funds().span + funds().exposure == pytest.approx(0.13 * 65 * order.price)
    stage.exchange.cancel(USER, order.id, stage.now)
    stage.wait(1)
    assert funds().net == pytest.approx(1e6)
    stage.order("BUY", 65)
    stage.wait(1)
    held = funds().net
    exit_order = stage.order("SELL", 65, round(stage.market.quote(NIFTY).last_price + 200, 1))
    stage.wait(1)
    assert exit_order.status == "OPEN"
    assert funds().net == pytest.approx(held, rel=0.01)  # an order that reduces blocks nothing
    stage.exchange.cancel(USER, exit_order.id, stage.now)
    stage.order("SELL", 65)
    stage.wait(2)
    position = stage.exchange.account(USER).positions[(NIFTY, "NRML")]
    assert funds().net == pytest.approx(1e6 + position.pnl)
    assert funds().m2m_realised == pytest.approx(position.pnl)


def test_bought_options_cost_their_premium_and_sold_ones_block_margin() -> None:
    stage = Stage(cash=1e6).to("10:00")
    strike = round(stage.market.quote("NSE:NIFTY 50").last_price / 50) * 50
    call = f"NFO:NIFTY26NOV{strike}CE"
    bought = stage.order("BUY", 65, key=call)
    stage.wait(1)
    assert bought.status == "COMPLETE"
    assert stage.exchange.funds(USER).net == pytest.approx(1e6 - 65 * bought.average_price)
    sold = stage.order("SELL", 130, key=call)
    stage.wait(1)
    assert sold.status == "COMPLETE"
    funds = stage.exchange.funds(USER)
    received = 130 * sold.average_price - 65 * bought.average_price
    blocked = 1e6 + received - funds.net
    assert 0.07 * strike * 65 < blocked < 0.2 * strike * 65


def test_a_position_converts_if_the_money_is_there() -> None:
    stage = Stage(cash=1e5).to("10:00")
    order = mis(stage, quantity=200, key=SHARE)
    assert order.status == "COMPLETE"
    with pytest.raises(OrderRefused, match="Insufficient funds") as error:
        stage.exchange.convert(USER, SHARE, "BUY", 200, "MIS", "CNC")
    assert error.value.why is Why.MARGIN
    assert stage.position(SHARE, "MIS") == 200
    stage.exchange.convert(USER, SHARE, "BUY", 30, "MIS", "CNC")
    assert (stage.position(SHARE, "MIS"), stage.position(SHARE, "CNC")) == (170, 30)
    with pytest.raises(OrderRefused, match="exceeds the open position"):
        stage.exchange.convert(USER, SHARE, "BUY", 500, "MIS", "CNC")


def test_next_due_names_the_steps_of_the_ladder_and_of_the_day() -> None:
    stage = Stage().to("10:00")
    idle = stage.exchange.next_due()
    assert idle == clock("15:12")
    order = stage.order("BUY", 65)
    due = stage.exchange.next_due()
    assert due is not None
    assert timedelta(0) < due - stage.now < timedelta(milliseconds=30)
    stage.wait(1)
    assert statuses(order)[-1] == "COMPLETE"
    assert stage.exchange.next_due() == idle


def test_a_day_with_an_unknown_cut_off_uses_the_assumed_one() -> None:
    assert FACTS.cut_off("zerodha", "FO", date(2026, 12, 8)) == clock("15:31", date(2026, 12, 8))
    assert FACTS.cut_off("zerodha", "EQ_NONCAS", date(2024, 12, 9)) == clock("15:20", date(2024, 12, 9))
