"""Orders by hand: what is refused before the gate, what the gate sees, what is answered and when, and who closes what they opened."""

from typing import Any

import pytest

from core.errors import DataError
from core.events import Command
from core.types import AccountKind, Horizon, Instrument, OrderState, Purpose, TradingState
from execution_engine.manual_orders import ManualOrders
from tests.builders import RELIANCE
from tests.harness import FUTURE, Harness

BUY = {"symbol": "NIFTY_FUT", "direction": "BUY", "quantity": 65}


class Desk:
    """A harness whose control takes orders by hand, and a market of two instruments."""

    def __init__(self, **options: Any) -> None:
        self.stage = Harness(**options)
        self.watched: list[Instrument] = []
        self.answers: list[tuple[str, bool, str, Any]] = self.stage.answers
        self.stage.control.by_hand = ManualOrders(lambda *answer: self.answers.append(answer), self)

    def resolve(self, name: str) -> Instrument:
        if name not in ("NIFTY_FUT", "RELIANCE"):
            raise DataError(f"{name!r} is not in the instruments; did you mean NSE:RELIANCE?")
        return FUTURE if name == "NIFTY_FUT" else RELIANCE

    def watch(self, instrument: Instrument) -> None:
        self.watched.append(instrument)

    def give(self, **order: Any) -> None:
        self.stage.engine.process(Command(self.stage.clock.now(), "1", "order", {**BUY, **order}))
        self.stage.engine.settle()

    def check(self) -> None:
        self.stage.control.check(self.stage.engine)

    @property
    def told(self) -> dict[str, Any]:
        assert self.answers, "no answer yet"
        told: dict[str, Any] = self.answers[-1][3]
        return told


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_market_order_is_a_capped_limit_and_its_fill_is_the_evidence(desk: Desk) -> None:
    desk.give()
    order = desk.stage.last
    assert (order.strategy, order.purpose, order.quantity, order.horizon) == ("manual", Purpose.ENTRY, 65, Horizon.INTRADAY)
    assert order.limit_price == pytest.approx(25075.5)  # 0.3 % above the offer of 25000.5, on the tick
    assert desk.watched == [FUTURE]
    desk.stage.ack()
    desk.stage.working()
    desk.check()
    assert desk.answers == []
    desk.stage.fill(price=25003.0)
    desk.check()
    assert desk.answers[-1][1] is True
    assert desk.told == {
        "success": True,
        "status": "EXECUTED",
        "order_id": f"B{order.id}",
        "execution_price": 25003.0,
        "filled": 65,
        "error": "",
    }
    assert [entry["strategy"] for entry in desk.stage.journal("intent")] == ["manual"]


def test_a_limit_that_rests_is_pending_after_a_few_seconds_and_is_never_chased(desk: Desk) -> None:
    desk.give(price=24900.0)
    desk.stage.ack()
    desk.stage.working()
    desk.stage.pass_time(5.0)
    assert (desk.told["success"], desk.told["status"], desk.told["execution_price"]) == (True, "PENDING", None)
    desk.stage.pass_time(30.0)
    assert desk.stage.last.limit_price == 24900.0
    assert desk.stage.last.state is OrderState.WORKING


def test_no_answer_of_the_broker_is_unknown_not_pending(desk: Desk) -> None:
    desk.give()
    desk.stage.pass_time(5.0)
    assert (desk.told["success"], desk.told["status"]) == (False, "UNKNOWN")
    assert "before you send another" in desk.told["error"]


def test_a_reject_is_told_in_the_brokers_words(desk: Desk) -> None:
    desk.give()
    desk.stage.ack()
    desk.stage.end(OrderState.REJECTED, "Insufficient funds.")
    desk.check()
    assert (desk.told["success"], desk.told["status"], desk.told["error"]) == (False, "REJECTED", "Insufficient funds.")


def test_an_order_that_ended_half_filled_is_no_success(desk: Desk) -> None:
    desk.give(lots=2, quantity=None)
    desk.stage.ack()
    desk.stage.fill(65, price=25001.0)
    desk.stage.end(OrderState.CANCELLED, "by the user")
    desk.check()
    assert (desk.told["status"], desk.told["filled"], desk.told["execution_price"]) == ("REJECTED", 65, 25001.0)
    assert "CANCELLED with 65 of 130 filled" in desk.told["error"]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"quantity": 1}, "no multiple of the lot 65 of NFO:NIFTY26NOVFUT: quantity counts units, so quantity=65 or lots=1"),
        ({"quantity": 100}, "quantity=130 or lots=2"),
        ({"quantity": 65, "lots": 1}, "either quantity (units) or lots"),
        ({"quantity": None}, "either quantity (units) or lots"),
        ({"quantity": 65.0}, "65.0 is not a whole number"),
        ({"quantity": True}, "True is not a whole number"),
        ({"quantity": -65}, "-65 is not a whole number"),
        ({"direction": "HOLD"}, "'HOLD' is neither BUY nor SELL"),
        ({"symbol": "RELIANC"}, "did you mean NSE:RELIANCE"),
        ({"order_type": "SL-M"}, "MARKET or LIMIT"),
        ({"order_type": "LIMIT"}, "needs a price in rupees, got None"),
        ({"price": "19500"}, "needs a price in rupees, got '19500'"),
        ({"price": float("nan")}, "refused by well_formed"),
        ({"price": 25000.07}, "no multiple of the tick"),
        ({"price": 19500.0}, "refused by price_band"),
        ({"product_type": "CNC"}, "CNC does not fit NFO:NIFTY26NOVFUT: use MIS or NRML"),
        ({"product_type": "BO"}, "'BO' is none of MIS"),
        ({"symbol": "RELIANCE", "quantity": 1, "product_type": "NRML"}, "use MIS or CNC"),
        ({"broker": "upstox"}, "is at zerodha, not at upstox"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_sent(desk: Desk, order: dict[str, Any], says: str) -> None:
    desk.give(**order)
    assert desk.answers[-1][1] is False
    assert desk.told["status"] == "REJECTED"
    assert says in desk.told["error"]
    assert says in desk.stage.journal("refused")[-1]["reason"]
    assert desk.stage.executor.placed == []


@pytest.mark.parametrize(
    ("product", "horizon"), [("MIS", Horizon.INTRADAY), ("mis", Horizon.INTRADAY), ("NRML", Horizon.CARRY), (None, Horizon.INTRADAY)]
)
def test_products_are_horizons(desk: Desk, product: str | None, horizon: Horizon) -> None:
    desk.give(product_type=product)
    assert desk.stage.last.horizon is horizon


@pytest.mark.parametrize(
    ("kind", "live", "says"),
    [
        (AccountKind.LIVE, False, "trades real money: say live=True"),
        (AccountKind.PAPER, True, "is of kind paper"),
        (AccountKind.LIVE, True, ""),
        (AccountKind.PAPER, False, ""),
        (AccountKind.PRACTICE_LIVE, True, ""),
    ],
)
def test_real_money_is_traded_only_when_it_is_said_and_meant(kind: AccountKind, live: bool, says: str) -> None:
    desk = Desk(kind=kind)
    desk.give(live=live)
    assert len(desk.stage.executor.placed) == (0 if says else 1)
    assert not says or says in desk.told["error"]


def test_the_gate_is_asked_once_a_price_is_there(desk: Desk) -> None:
    desk.give(symbol="RELIANCE", quantity=10)
    desk.stage.pass_time(2.0)
    assert (desk.answers, desk.stage.executor.placed) == ([], [])
    desk.stage.instrument = RELIANCE
    desk.stage.tick(1400.0)
    desk.stage.instrument = FUTURE
    desk.stage.tick(25000.0)  # the canary
    desk.check()
    assert [order.instrument for order in desk.stage.executor.placed] == [RELIANCE]


def test_without_a_price_the_answer_says_so(desk: Desk) -> None:
    desk.give(symbol="RELIANCE", quantity=10)
    desk.stage.pass_time(5.0)
    assert "no price of NSE:RELIANCE within 5 s" in desk.told["error"]


def test_after_the_last_entry_the_gate_answers_at_once(desk: Desk) -> None:
    desk.stage.go_to(15, 25)
    desk.give()
    assert "refused by window: entries are taken 09:15:00 to" in desk.told["error"]


def test_a_pause_holds_entries_by_hand_back_and_lets_exits_pass(desk: Desk) -> None:
    desk.give()
    desk.stage.complete()
    desk.stage.engine.set_state(TradingState.REDUCE_ONLY, "test")
    desk.give(quantity=130)
    assert "refused by trading_state" in desk.told["error"]
    desk.give(direction="SELL")
    assert (desk.stage.last.purpose, desk.stage.last.side) == (Purpose.EXIT, "SELL")
    desk.stage.complete()
    desk.check()
    assert desk.told["status"] == "EXECUTED"
    assert desk.stage.portfolio.position("manual", FUTURE) == 0


def test_an_exit_by_hand_closes_no_more_than_the_hand_opened_in_its_product(desk: Desk) -> None:
    desk.give()
    desk.stage.complete()
    desk.give(direction="SELL", quantity=130)
    assert "manual holds 65 of NFO:NIFTY26NOVFUT: SELL at most 65" in desk.told["error"]
    desk.give(direction="SELL", product_type="NRML")
    assert "as MIS: use the same product_type" in desk.told["error"]


def test_an_exit_by_hand_does_not_open_the_other_side_of_what_the_broker_shows(desk: Desk) -> None:
    desk.give()
    stage = desk.stage
    stage.complete()
    bought = stage.row(stage.last, OrderState.FILLED, 65, 25_000.0)
    for _ in range(2):
        stage.tick(25_000.0, 6)
        stage.books(bought, net=0)  # somebody closed it, and the trade book does not show it yet
    desk.give(direction="SELL")
    assert "the broker shows 65 less" in desk.told["error"]
    assert len(stage.executor.placed) == 1


def test_an_exit_by_hand_that_failed_is_not_tried_again_by_itself(desk: Desk) -> None:
    desk.give()
    desk.stage.complete()
    desk.give(direction="SELL")
    desk.stage.ack()
    desk.stage.end(OrderState.CANCELLED, "by the user")
    sent = len(desk.stage.executor.placed)
    desk.stage.pass_time(60.0)
    assert len(desk.stage.executor.placed) == sent
    assert desk.stage.portfolio.position("manual", FUTURE) == 65


def test_the_square_off_closes_what_the_hand_opened(desk: Desk) -> None:
    desk.give(symbol="RELIANCE", quantity=10)
    desk.stage.instrument = RELIANCE
    desk.stage.tick(1400.0)
    desk.check()
    desk.stage.complete(1400.0)
    desk.stage.go_to(15, 6, price=1400.0)
    order = desk.stage.last
    assert (order.strategy, order.purpose, str(order.side), order.quantity) == ("manual", Purpose.SQUARE_OFF, "SELL", 10)


def test_a_kill_cancels_a_working_order_by_hand_and_closes_the_rest(desk: Desk) -> None:
    desk.give(lots=2, quantity=None)
    desk.stage.ack()
    desk.stage.working()
    desk.stage.fill(65)
    desk.stage.engine.process(Command(desk.stage.clock.now(), "2", "kill"))
    assert desk.stage.executor.cancelled[-1].id == desk.stage.last.id
    desk.stage.end(OrderState.CANCELLED)
    assert (desk.stage.last.purpose, desk.stage.last.quantity) == (Purpose.SQUARE_OFF, 65)
    desk.give(direction="SELL")
    assert "is being closed" in desk.told["error"]


def test_a_full_disk_sends_nothing_and_says_why(desk: Desk) -> None:
    desk.stage.store.fail_commits = 2
    desk.give()
    assert desk.stage.executor.placed == []
    assert desk.told["status"] == "REJECTED"
    assert "never sent" in desk.told["error"]


def test_an_engine_without_a_market_of_its_own_takes_no_orders_by_hand() -> None:
    stage = Harness()
    stage.engine.process(Command(stage.clock.now(), "1", "order", BUY))
    assert stage.answers[-1][1] is False
    assert "knows no command 'order'" in stage.answers[-1][2]
