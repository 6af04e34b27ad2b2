"""Answers that never come, say nothing, or say no: what each must mean for an order call and for a read; and logins that die."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from core.errors import BrokerError, NiyamError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import SessionStatus
from core.types import OrderState, Purpose, SessionState, Side
from storage.audit import mask
from tests.contract.card import CARDS, Card, card
from tests.contract.kit import Kit, Refusal
from tests.contract.stage import Stage
from utils.pacing import Lane

DOUBT, READS, LIMITED, ERRORS, LOGIN = "no answer to an order call", "no answer to a read", "limits", "the broker's errors", "the login"

SILENCES: Mapping[str, tuple[str, Mapping[str, Any], bool]] = {
    # name: (fault, its values, whether the request is carried out)
    "the connection breaks before": ("drop_request", {}, False),
    "the connection breaks after": ("drop_reply", {}, True),
    "502 in HTML, before": ("server_error", {"booked": False}, False),
    "502 in HTML, after": ("server_error", {"booked": True}, True),
    "an empty body, after": ("empty_body", {"booked": True}, True),
    "half a JSON, after": ("broken_json", {"booked": True}, True),
    "a text that says neither yes nor no": ("timed_out", {}, True),
}
READ_SILENCES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "the connection breaks": ("drop_reply", {}),
    "502 in HTML": ("server_error", {}),
    "an empty body": ("empty_body", {}),
    "half a JSON": ("broken_json", {}),
}


def _place(stage: Stage, fault: str, values: Mapping[str, Any], booked: bool) -> None:
    order = stage.order()
    stage.fault(fault, stage.kit.routes.place, **values)
    with pytest.raises(Unknown):
        stage.broker.place(order)
    assert stage.struck() == 1
    assert len(stage.sent()) == 1, "an order call is never repeated"
    stage.settle()
    assert len(stage.at_broker(order.tag)) == len([row for row in stage.broker.orders() if stage.mine(row, order)])
    if booked or fault == "timed_out":
        assert stage.row(order).state is OrderState.WORKING, "found by its tag"
    else:
        assert not stage.at_broker(order.tag)


def _cancel(stage: Stage, fault: str, values: Mapping[str, Any], booked: bool) -> None:
    order = stage.place(stage.order())
    stage.fault(fault, stage.kit.routes.cancel, **values)
    with pytest.raises(Unknown):
        stage.broker.cancel(order)
    assert len(stage.sent()) == 2
    stage.settle()
    assert stage.row(order).state is (OrderState.CANCELLED if booked else OrderState.WORKING)


def _modify(stage: Stage, fault: str, values: Mapping[str, Any], booked: bool) -> None:
    order = stage.place(stage.order())
    price = stage.at(stage.future, 0.985)
    stage.fault(fault, stage.kit.routes.modify, **values)
    with pytest.raises(Unknown):
        stage.broker.modify(order, quantity=order.quantity, limit_price=price, trigger_price=None)
    assert len(stage.sent()) == 2
    stage.settle()
    row = stage.row(order)
    assert row.state is OrderState.WORKING
    assert row.limit_price == pytest.approx(price if booked else order.limit_price)


def _silence(call: Callable[[Stage, str, Mapping[str, Any], bool], None], name: str, stage: Stage) -> None:
    call(stage, *SILENCES[name])


def _unknown(kit: Kit) -> str:
    return "UNKNOWN, found by its tag" if kit.echoes_tags else "UNKNOWN, found by its terms"


for _what, _call in {"place": _place, "cancel": _cancel, "change": _modify}.items():
    for _name in SILENCES:
        CARDS.append(Card(DOUBT, f"{_what}: {_name}", partial(_silence, _call, _name), _unknown))


@card(DOUBT, "two calls of unknown fate in a row: each order is in the book once", says=_unknown)
def _twice(stage: Stage) -> None:
    orders = [stage.order(), stage.order(quantity=stage.future.lot * 2)]
    stage.fault("drop_reply", stage.kit.routes.place, count=2)
    for order in orders:
        with pytest.raises(Unknown):
            stage.broker.place(order)
    stage.settle()
    assert [stage.row(order).state for order in orders] == [OrderState.WORKING] * 2


@card(DOUBT, "an unknown order that filled meanwhile is found filled, with its trades", says=_unknown)
def _filled_unseen(stage: Stage) -> None:
    order = stage.order(limit_price=stage.near(stage.future, Side.BUY))
    stage.fault("drop_reply", stage.kit.routes.place)
    with pytest.raises(Unknown):
        stage.broker.place(order)
    stage.until(lambda: stage.at_broker(order.tag)[0].filled == order.quantity)
    row = stage.row(order)
    assert row.state is OrderState.FILLED
    assert sum(trade.quantity for trade in stage.broker.trades() if trade.broker_order_id == row.broker_order_id) == order.quantity


@card(DOUBT, "a book that lags does not yet show it: absence is no proof", says=lambda kit: "found once the book catches up")
def _lagging(stage: Stage) -> None:
    stage.pass_(10.0)
    order = stage.order()
    stage.fault("drop_reply", stage.kit.routes.place)
    with pytest.raises(Unknown):
        stage.broker.place(order)
    stage.fault("lagging_book", stage.kit.routes.orders, seconds=5.0, count=0)
    assert [row for row in stage.broker.orders() if stage.mine(row, order)] == []
    stage.served.run(stage.served.simulator.faults.entries.clear)
    stage.settle()
    assert stage.row(order).state is OrderState.WORKING


# --- reads ------------------------------------------------------------------------------------------------------------------------------

_READS: Mapping[str, Callable[[Stage], Any]] = {
    "orders": lambda stage: stage.broker.orders(),
    "trades": lambda stage: stage.trades(),
    "positions": lambda stage: stage.broker.positions(),
    "funds": lambda stage: stage.broker.funds(),
    "prices": lambda stage: stage.broker.last_prices([stage.future]),
    "candles": lambda stage: stage.broker.candles(stage.future, stage.clock.now() - timedelta(minutes=20), stage.clock.now(), 1),
    "profile": lambda stage: stage.broker.profile(),
    "charges": lambda stage: stage.broker.order_charges([stage.executed(stage.future)]),
}


def _route(stage: Stage, read: str) -> str:
    route: str = getattr(stage.kit.routes, read)
    return route


def _asks_nothing(read: str, stage: Stage) -> bool:
    """Whether this broker has no such call; what we say of it then comes from the login, and nothing is asked."""
    if _route(stage, read):
        return False
    before = len(stage.served.simulator.requests)
    assert _READS[read](stage)
    assert len(stage.served.simulator.requests) == before
    return True


def _read_silence(read: str, fault: str, values: Mapping[str, Any], stage: Stage) -> None:
    if _asks_nothing(read, stage):
        return
    stage.filled()
    _READS[read](stage)
    stage.pass_(2.0)
    stage.fault(fault, _route(stage, read), **values)
    with pytest.raises(Transient):
        _READS[read](stage)
    assert stage.struck() == 1
    stage.pass_(2.0)
    assert _READS[read](stage)


def _says(read: str, says: Callable[[Kit], str], kit: Kit) -> str:
    return says(kit) if getattr(kit.routes, read) else "no such call: nothing is asked"


def _transient(kit: Kit) -> str:
    return "no evidence: read again"


for _read in _READS:
    for _name, (_fault, _values) in READ_SILENCES.items():
        CARDS.append(Card(READS, f"{_read}: {_name}", partial(_read_silence, _read, _fault, _values), partial(_says, _read, _transient)))


# --- limits -----------------------------------------------------------------------------------------------------------------------------


def _limited_read(read: str, stage: Stage) -> None:
    if _asks_nothing(read, stage):
        return
    stage.spoilt = True
    stage.fault("rate_limit", _route(stage, read))
    with pytest.raises(RateLimited):
        _READS[read](stage)
    before = stage.clock.monotonic()
    _READS[read](stage)
    assert stage.clock.monotonic() - before >= 2.0, "the budget pauses"


def _pauses(kit: Kit) -> str:
    return "certain: nothing happened; the budget pauses"


for _read in _READS:
    CARDS.append(Card(LIMITED, f"429 to {_read}", partial(_limited_read, _read), partial(_says, _read, _pauses)))


@card(LIMITED, "429 to an order: nothing is booked, the next one waits", says=_pauses)
def _limited_place(stage: Stage) -> None:
    order = stage.order()
    stage.spoilt = True
    stage.fault("rate_limit", stage.kit.routes.place)
    with pytest.raises(RateLimited):
        stage.broker.place(order)
    assert not stage.at_broker(order.tag)
    before = stage.clock.monotonic()
    stage.broker.place(stage.order(purpose=Purpose.EXIT))
    assert stage.clock.monotonic() - before >= 2.0


@card(LIMITED, "429 to a cancel: the order works on", says=_pauses)
def _limited_cancel(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.spoilt = True
    stage.fault("rate_limit", stage.kit.routes.cancel)
    with pytest.raises(RateLimited):
        stage.broker.cancel(order)
    stage.settle()
    assert stage.row(order).state is OrderState.WORKING


@card(LIMITED, "429 to a change: the order is as it was", says=_pauses)
def _limited_change(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.spoilt = True
    stage.fault("rate_limit", stage.kit.routes.modify)
    with pytest.raises(RateLimited):
        stage.broker.modify(order, quantity=order.quantity * 2, limit_price=order.limit_price, trigger_price=None)
    stage.settle()
    assert stage.row(order).quantity == order.quantity


@card(LIMITED, "a burst of thirty orders keeps below the broker's limits by itself")
def _burst(stage: Stage) -> None:
    orders = [stage.order(purpose=Purpose.EXIT) for _ in range(30)]
    for order in orders:
        stage.broker.place(order)
    stage.settle()
    known = {row.broker_order_id for row in stage.broker.orders()}
    assert {stage.kit.order_id(stage.at_broker(order.tag)[0]) for order in orders} <= known


@card(LIMITED, "an entry that would wait too long for its place is refused unsent; an exit still goes")
def _reserve(stage: Stage) -> None:
    longest = max((limit for limit in stage.spec.limits if "place" in limit.kinds), key=lambda limit: limit.seconds)
    stage.spoilt = True
    stage.budget.used_before(longest.name, longest.allowed(Lane.ENTRY))
    with pytest.raises(RateLimited, match="nothing was sent"):
        stage.broker.place(stage.order(stage.share))
    assert stage.sent() == []
    stage.broker.place(stage.order(stage.share, purpose=Purpose.EXIT))
    assert len(stage.sent()) == 1


@card(LIMITED, "books read as fast as they can: the broker never has to say no")
def _fast_books(stage: Stage) -> None:
    for _ in range(8):
        stage.broker.orders()
        stage.broker.trades()
        stage.broker.positions()


# --- the broker's table of errors -------------------------------------------------------------------------------------------------------


def _error_of_order(refusal: Refusal, stage: Stage) -> None:
    order = stage.order()
    stage.fault("error", stage.kit.routes.place, **refusal.values)
    with pytest.raises(refusal.order) as caught:
        stage.broker.place(order)
    assert type(caught.value) is refusal.order
    assert refusal.values["message"] in str(caught.value)
    assert not stage.at_broker(order.tag)


def _error_of_read(refusal: Refusal, stage: Stage) -> None:
    stage.fault("error", stage.kit.routes.positions, **refusal.values)
    with pytest.raises(refusal.read) as caught:
        stage.broker.positions()
    assert type(caught.value) is refusal.read


def _type_of(error: type[BrokerError], kit: Kit) -> str:
    return error.__name__


def errors(kit: Kit) -> list[Card]:
    """This broker's documented refusals, in answer to an order and to a read."""
    return [
        one
        for refusal in kit.refusals
        for one in (
            Card(ERRORS, f"{refusal.name}, to an order", partial(_error_of_order, refusal), partial(_type_of, refusal.order), of=kit.name),
            Card(ERRORS, f"{refusal.name}, to a read", partial(_error_of_read, refusal), partial(_type_of, refusal.read), of=kit.name),
        )
    ]


@card(ERRORS, "the static-IP rule: turned down, with the step that helps")
def _ip(stage: Stage) -> None:
    stage.fault("ip_not_allowed", stage.kit.routes.place)
    with pytest.raises(Rejected, match="IP"):
        stage.broker.place(stage.order())
    assert stage.session.state() is SessionState.VALID, "a new login would not help"


@card(ERRORS, "the plan or the account lacks this call: turned down, and no login is asked for")
def _no_permission(stage: Stage) -> None:
    stage.fault("no_permission", stage.kit.routes.place)
    with pytest.raises(Rejected):
        stage.broker.place(stage.order())
    assert stage.session.state() is SessionState.VALID


# --- the login --------------------------------------------------------------------------------------------------------------------------


def _heals(kit: Kit) -> str:
    return "certain: nothing happened; the session renews itself" if kit.renews else "certain: nothing happened; a login is asked for, once"


def _dead(stage: Stage, call: Callable[[], Any]) -> None:
    """Every token dies, then this call: nothing happened, and the session knows."""
    stage.kill_token()
    stage.events.clear()
    with pytest.raises(SessionExpired):
        call()
    wanted = SessionState.VALID if stage.kit.renews else SessionState.LOGIN_REQUIRED
    assert stage.session.state() is wanted
    told = [event for event in stage.events if isinstance(event, SessionStatus)]
    assert [event.state for event in told] == [wanted], "told once"
    assert told[0].login_url or stage.kit.renews
    if not stage.kit.renews:
        sent = len(stage.served.simulator.requests)
        with pytest.raises(SessionExpired):
            call()
        assert len(stage.served.simulator.requests) == sent, "a dead token is not sent again"
        stage.session.auto_login(stage.login_page)


@card(LOGIN, "the token dies before an order: nothing is booked", says=_heals)
def _dead_place(stage: Stage) -> None:
    order = stage.order()
    _dead(stage, lambda: stage.broker.place(order))
    assert not stage.at_broker(order.tag)
    stage.pass_(2.0)
    assert stage.row(stage.place(order)).state is OrderState.WORKING


@card(LOGIN, "the token dies while an order works: it works on, and is found after the login", says=_heals)
def _dead_working(stage: Stage) -> None:
    order = stage.place(stage.order())
    _dead(stage, lambda: stage.broker.cancel(order))
    stage.pass_(2.0)
    assert stage.row(order).state is OrderState.WORKING
    stage.broker.cancel(order)
    stage.settle()
    assert stage.row(order).state is OrderState.CANCELLED


@card(LOGIN, "the token dies before a change: the order is as it was", says=_heals)
def _dead_change(stage: Stage) -> None:
    order = stage.place(stage.order())
    _dead(stage, lambda: stage.broker.modify(order, quantity=order.quantity * 2, limit_price=order.limit_price, trigger_price=None))
    stage.pass_(2.0)
    assert stage.row(order).quantity == order.quantity


@card(LOGIN, "the token dies after the order was booked and before its reply: UNKNOWN, then found by its tag", says=_heals)
def _dead_after(stage: Stage) -> None:
    order = stage.order()
    stage.fault("drop_reply", stage.kit.routes.place)
    with pytest.raises(Unknown):
        stage.broker.place(order)
    _dead(stage, stage.broker.orders)
    stage.pass_(2.0)
    assert stage.row(order).state is OrderState.WORKING


def _dead_read(read: str, stage: Stage) -> None:
    if _asks_nothing(read, stage):
        return
    stage.filled()
    _dead(stage, lambda: _READS[read](stage))
    stage.pass_(2.0)
    assert _READS[read](stage)


def _not_empty(kit: Kit) -> str:
    return "no empty answer: SessionExpired"


for _read in ("orders", "trades", "positions", "funds", "profile", "charges"):
    CARDS.append(Card(LOGIN, f"{_read} on a dead token", partial(_dead_read, _read), partial(_says, _read, _not_empty)))


@card(LOGIN, "an order after a new login goes with the new token")
def _new_token(stage: Stage) -> None:
    before = stage.session.token()
    stage.kill_token()
    stage.session.auto_login(stage.login_page)
    assert stage.session.token() != before
    assert stage.row(stage.place(stage.order())).state is OrderState.WORKING


@card(LOGIN, "another process logs in: this one goes on with its token from the file")
def _other_process(stage: Stage) -> None:
    other = stage.spec.make_session("live", stage, stage.clock, stage.token_file, stage.endpoints, lambda event: None)
    stage.kill_token()
    other.auto_login(stage.login_page)
    assert stage.session.token() == other.token()
    assert stage.broker.profile()


@card(LOGIN, "an old token's echo does not end the new login")
def _echo(stage: Stage) -> None:
    old = stage.session.token()
    stage.kill_token()
    stage.session.auto_login(stage.login_page)
    stage.session.invalidate(old, "late news")
    assert stage.session.state() is SessionState.VALID


@card(LOGIN, "wrong or foreign answers to a login are refused, and say what is wrong")
def _wrong_answers(stage: Stage) -> None:
    token = stage.session.token()
    for answer, error in stage.kit.login_answers.items():
        stage.pass_(2.0)
        with pytest.raises(error) as caught:
            stage.session.accept(answer)
        assert isinstance(caught.value, NiyamError)
    assert stage.session.token() == token, "the day's login is untouched"


@card(LOGIN, "a page of another machine is never followed by itself")
def _foreign_page(stage: Stage) -> None:
    with pytest.raises(NiyamError, match="this machine"):
        stage.session.auto_login("http://example.invalid/login")


@card(LOGIN, "no secret in the audit, in a message, or in what the session shows of itself")
def _no_secret(stage: Stage) -> None:
    secrets = [stage.session.token(), *(str(value) for name, value in stage.served.told["credentials"].items() if "secret" in name)]
    stage.place(stage.order())
    stage.fault("error", stage.kit.routes.positions, **stage.kit.refusals[0].values)
    with pytest.raises(BrokerError) as caught:
        stage.broker.positions()
    shown = f"{stage.audit.lines} {caught.value} {stage.session!r} {stage.events}"
    assert stage.audit.lines
    assert [secret for secret in secrets if secret in shown] == []


@card(LOGIN, "a login is in the audit with its reply, and nothing that it gives away")
def _login_audited(stage: Stage) -> None:
    before = stage.session.token()
    stage.session.auto_login(stage.login_page)
    requests, replies = ([line for line in stage.audit.lines if line[0] == kind] for kind in ("request", "reply"))
    assert requests
    assert len(requests) == len(replies)
    written = str([[mask(part) for part in line] for line in stage.audit.lines])
    secrets = [before, stage.session.token(), *(str(value) for name, value in stage.served.told["credentials"].items() if "secret" in name)]
    assert [secret for secret in secrets if secret in written] == []


@card(LOGIN, "every order call is in the audit before and after it went")
def _audited(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.broker.cancel(order)
    asked = [line for line in stage.audit.lines if line[0] == "request"]
    answered = [line for line in stage.audit.lines if line[0] == "reply"]
    assert len(asked) == len(answered) == 2
    assert order.tag in str(asked[0])
    assert str(order.broker_order_id) in answered[0][3]


@card(LOGIN, "the token dies at the broker's hour; a quarter of an hour before, it is told", says=lambda kit: kit.dies_at, alone=True)
def _hour(stage: Stage) -> None:
    end = stage.session.expires_at()
    assert end is not None
    assert f"{end:%H:%M}" == stage.kit.dies_at
    assert stage.session.state() is SessionState.VALID
    stage.pass_((end - stage.clock.now()).total_seconds() - 600)
    assert stage.session.state() is SessionState.EXPIRING
    stage.pass_(601)
    assert stage.session.state() is SessionState.LOGIN_REQUIRED
    if not stage.kit.renews:
        with pytest.raises(SessionExpired):
            stage.broker.positions()
        stage.session.auto_login(stage.login_page)
    stage.broker.positions()
