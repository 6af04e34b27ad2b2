"""Every pair of states, every kind of reply, and rows in any order: the order ends as the broker's evidence says."""

import random
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from core.events import Action, OrderUpdate, Outcome, Reply
from core.types import Evidence, Order, OrderState
from core.types import OrderState as S
from execution_engine.order_state import (
    COMMANDED,
    IN_FLIGHT,
    LIVE,
    TERMINAL,
    IllegalTransition,
    Merged,
    filled_to,
    legal,
    merge,
    move,
    replied,
)
from tests.builders import at, make_order, make_update

# What may follow what, written by hand and kept apart from the code's own table.
BOOK = """
NEW: DENIED SENDING CANCELLED
SENDING: UNKNOWN PENDING_NEW AMO_QUEUED TRIGGER_PENDING WORKING FILLED REJECTED CANCELLED
UNKNOWN: PENDING_NEW AMO_QUEUED TRIGGER_PENDING WORKING PENDING_CANCEL FILLED CANCELLED REJECTED EXPIRED NOT_FOUND
PENDING_NEW: AMO_QUEUED TRIGGER_PENDING WORKING PENDING_MODIFY PENDING_CANCEL FILLED CANCELLED REJECTED EXPIRED
AMO_QUEUED: PENDING_NEW TRIGGER_PENDING WORKING PENDING_MODIFY PENDING_CANCEL FILLED CANCELLED REJECTED EXPIRED
TRIGGER_PENDING: WORKING PENDING_MODIFY PENDING_CANCEL FILLED CANCELLED REJECTED EXPIRED
WORKING: PENDING_MODIFY PENDING_CANCEL FILLED CANCELLED REJECTED EXPIRED
PENDING_MODIFY: TRIGGER_PENDING WORKING PENDING_CANCEL PENDING_MODIFY FILLED CANCELLED REJECTED EXPIRED
PENDING_CANCEL: WORKING FILLED CANCELLED EXPIRED REJECTED PENDING_CANCEL
CANCELLED: FILLED
EXPIRED: FILLED
REJECTED: FILLED
NOT_FOUND: FILLED PENDING_NEW AMO_QUEUED TRIGGER_PENDING WORKING PENDING_MODIFY PENDING_CANCEL
FILLED:
DENIED:
"""
ALLOWED = {(S(line.split(":")[0]), S(word)) for line in BOOK.strip().splitlines() for word in line.split(":")[1].split()}


@pytest.mark.parametrize(("present", "following"), list(product(OrderState, OrderState)), ids=lambda state: state.value)
def test_each_pair_moves_or_raises_as_the_book_says(present: OrderState, following: OrderState) -> None:
    order = make_order(state=present)
    if (present, following) in ALLOWED:
        moved = move(order, following, at(1), reason="because")
        assert (moved.state, moved.reason, moved.updated_at) == (following, "because", at(1))
    else:
        with pytest.raises(IllegalTransition, match=f"from {present} to {following}"):
            move(order, following, at(1))


@pytest.mark.parametrize(("present", "previous"), list(product(sorted(COMMANDED), sorted(LIVE - COMMANDED))))
def test_a_command_may_return_to_the_state_before_it(present: OrderState, previous: OrderState) -> None:
    commanded = make_order(state=present, previous_state=previous)
    assert move(commanded, previous, at(1)).state is previous
    assert legal(present, previous, previous)


@pytest.mark.parametrize("ended", [S.CANCELLED, S.EXPIRED, S.REJECTED, S.NOT_FOUND])
def test_an_ended_order_may_stay_ended_only_with_more_filled(ended: OrderState) -> None:
    order = make_order(state=ended, filled=65)
    assert move(order, ended, at(1), filled=130).filled == 130
    with pytest.raises(IllegalTransition):
        move(order, ended, at(1), filled=65)


def test_filled_never_falls() -> None:
    with pytest.raises(IllegalTransition, match="may not fall from 65 to 1"):
        move(make_order(state=S.WORKING, filled=65), S.CANCELLED, at(1), filled=1)
    assert merge(make_order(state=S.WORKING, filled=65), make_update(filled=1)).order.filled == 65


def test_the_three_kinds_of_state_cover_all_but_new() -> None:
    assert IN_FLIGHT | LIVE | TERMINAL | {S.NEW} == set(OrderState)
    assert not (IN_FLIGHT & LIVE)
    assert not (LIVE & TERMINAL)
    assert not (IN_FLIGHT & TERMINAL)


def test_a_cancel_upon_a_modify_remembers_the_state_before_both() -> None:
    order = move(move(make_order(state=S.TRIGGER_PENDING), S.PENDING_MODIFY, at(1)), S.PENDING_CANCEL, at(2))
    assert order.previous_state is S.TRIGGER_PENDING
    assert move(order, S.TRIGGER_PENDING, at(3)).previous_state is None


# --- rows ----------------------------------------------------------------------------------------------------------------------------


def follow(order: Order, rows: list[OrderUpdate]) -> Order:
    for row in rows:
        order = merge(order, row).order
    return order


def test_rows_may_skip_what_the_broker_did_not_say() -> None:
    merged = merge(make_order(state=S.SENDING), make_update(3, S.EXPIRED, 65))
    assert (merged.order.state, merged.order.filled, merged.order.broker_order_id, merged.anomaly) == (S.EXPIRED, 65, "B1", "")


def test_a_row_that_says_not_yet_at_the_exchange_never_takes_back_one_that_is() -> None:
    order = follow(make_order(state=S.SENDING), [make_update(1), make_update(5, S.PENDING_NEW)])
    assert order.state is S.WORKING


def test_within_one_broker_second_the_settled_label_wins() -> None:
    first, second = make_update(1.2, S.PENDING_MODIFY), make_update(1.8, S.WORKING, exchange_at=at(1))
    assert follow(make_order(state=S.SENDING), [first, second]).state is S.WORKING
    assert follow(make_order(state=S.SENDING), [second, first]).state is S.WORKING


def test_a_live_row_filled_whole_is_filled_and_an_old_partial_changes_nothing() -> None:
    order = follow(make_order(state=S.SENDING), [make_update(1, S.WORKING, 130)])
    assert order.state is S.FILLED
    again = merge(order, make_update(2, S.WORKING, 65))
    assert (again.order.state, again.order.filled, again.anomaly) == (S.FILLED, 130, "")


def test_the_same_row_again_is_no_news() -> None:
    order = follow(make_order(state=S.SENDING), [make_update(1, S.WORKING, 65)])
    assert merge(order, make_update(9, S.WORKING, 65, exchange_at=at(1))).order is order


def test_an_unknown_label_moves_no_state_but_its_fills_count() -> None:
    merged = merge(make_order(state=S.WORKING, broker_order_id="B1"), make_update(2, None, 65, label="FROZEN"))
    assert (merged.order.state, merged.order.filled, merged.order.average_price) == (S.WORKING, 65, 25_000.0)
    assert "'FROZEN'" in merged.anomaly


@pytest.mark.parametrize("ended", [S.CANCELLED, S.EXPIRED, S.REJECTED])
def test_an_ended_order_that_fills_after_all_is_filled_and_paged(ended: OrderState) -> None:
    merged = merge(make_order(state=ended), make_update(2, S.FILLED, 130))
    assert (merged.order.state, merged.order.filled) == (S.FILLED, 130)
    assert f"had ended {ended}" in merged.anomaly


@pytest.mark.parametrize("ended", [S.CANCELLED, S.EXPIRED, S.REJECTED, S.DENIED])
def test_terminal_beats_live_but_the_fills_count_and_it_is_paged_once(ended: OrderState) -> None:
    merged = merge(make_order(state=ended), make_update(2, S.WORKING, 65))
    assert (merged.order.state, merged.order.filled) == (ended, 65)
    assert "after the order had ended" in merged.anomaly
    assert merge(merged.order, make_update(3, S.WORKING, 65, exchange_at=at(2))).anomaly == ""


def test_two_different_ends_keep_the_first() -> None:
    merged = merge(merge(make_order(state=S.WORKING), make_update(2, S.CANCELLED)).order, make_update(3, S.REJECTED))
    assert merged.order.state is S.CANCELLED
    assert "REJECTED cannot follow CANCELLED" in merged.anomaly


@pytest.mark.parametrize("state", sorted(LIVE | {S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED}))
def test_any_row_overrules_not_found(state: OrderState) -> None:
    merged = merge(make_order(state=S.NOT_FOUND), make_update(200, state))
    assert merged.order.state is state
    assert "had ended NOT_FOUND" in merged.anomaly


def test_a_row_for_an_order_never_sent_is_taken_and_paged() -> None:
    merged = merge(make_order(), make_update())
    assert merged.order.state is S.WORKING
    assert "never sent" in merged.anomaly


def test_an_overfill_is_accepted_and_flagged() -> None:
    merged = merge(make_order(state=S.WORKING), make_update(1, S.FILLED, 195))
    assert merged.order.filled == 195
    assert "overfilled: 195 of 130" in merged.anomaly
    assert merged.order.remaining == 0


def test_a_second_broker_order_for_one_intent_is_paged_and_changes_nothing() -> None:
    order = make_order(state=S.WORKING, broker_order_id="B1")
    merged = merge(order, make_update(1, S.FILLED, 130, broker_order_id="B2"))
    assert merged.order is order
    assert "B1 and B2" in merged.anomaly


def test_terms_follow_the_newest_row() -> None:
    order = follow(make_order(state=S.SENDING), [make_update(1), make_update(4, limit_price=25_010.0, quantity=65, trigger_price=24_990.0)])
    assert (order.limit_price, order.quantity, order.trigger_price) == (25_010.0, 65, 24_990.0)
    assert follow(order, [make_update(2)]).limit_price == 25_010.0


# --- our own commands ----------------------------------------------------------------------------------------------------------------


def working(**changes: object) -> Order:
    return msgspec.structs.replace(follow(make_order(state=S.SENDING), [make_update(1)]), **changes)


def test_a_poll_does_not_end_a_command_under_way_though_its_fills_count() -> None:
    cancelling = move(working(), S.PENDING_CANCEL, at(2))
    seen = follow(cancelling, [make_update(3, exchange_at=at(1)), make_update(4, S.WORKING, 65)])
    assert (seen.state, seen.filled, seen.previous_state) == (S.PENDING_CANCEL, 65, S.WORKING)


def test_a_row_read_after_the_answer_settles_the_command() -> None:
    cancelling = move(working(), S.PENDING_CANCEL, at(2))
    assert merge(cancelling, make_update(5, exchange_at=at(1)), fresh=True).order.state is S.WORKING
    assert merge(cancelling, make_update(5, exchange_at=at(0)), fresh=True).order.state is S.PENDING_CANCEL  # an older row
    assert merge(cancelling, make_update(5, filled=65), fresh=True).order.state is S.WORKING
    assert merge(cancelling, make_update(5, S.PENDING_CANCEL), fresh=True).order.state is S.PENDING_CANCEL


def test_changed_terms_end_a_modification_but_not_a_cancellation() -> None:
    changed = make_update(3, limit_price=25_005.0)
    modified = merge(move(working(), S.PENDING_MODIFY, at(2)), changed).order
    assert (modified.state, modified.limit_price, modified.previous_state) == (S.WORKING, 25_005.0, None)
    assert merge(move(working(), S.PENDING_CANCEL, at(2)), changed).order.state is S.PENDING_CANCEL


def test_the_brokers_own_pending_label_ends_with_its_next_row() -> None:
    order = follow(working(), [make_update(3, S.PENDING_CANCEL), make_update(4, S.WORKING)])
    assert order.state is S.WORKING


def test_a_terminal_row_ends_any_command() -> None:
    assert merge(move(working(), S.PENDING_MODIFY, at(2)), make_update(3, S.CANCELLED, 65)).order.state is S.CANCELLED


def answer(action: Action, outcome: Outcome, broker_order_id: str | None = None) -> Reply:
    return Reply(at=at(9), action=action, order_id="20261120-1", outcome=outcome, broker_order_id=broker_order_id, reason="the text")


@pytest.mark.parametrize(
    ("state", "outcome", "expected", "odd"),
    [
        (S.SENDING, Outcome.ACK, S.PENDING_NEW, False),
        (S.UNKNOWN, Outcome.ACK, S.PENDING_NEW, False),
        (S.WORKING, Outcome.ACK, S.WORKING, False),
        (S.FILLED, Outcome.ACK, S.FILLED, False),
        (S.NOT_FOUND, Outcome.ACK, S.PENDING_NEW, True),
        (S.SENDING, Outcome.REJECT, S.REJECTED, False),
        (S.UNKNOWN, Outcome.REJECT, S.REJECTED, False),
        (S.REJECTED, Outcome.REJECT, S.REJECTED, False),
        (S.WORKING, Outcome.REJECT, S.WORKING, True),
        (S.SENDING, Outcome.UNKNOWN, S.UNKNOWN, False),
        (S.UNKNOWN, Outcome.UNKNOWN, S.UNKNOWN, False),
        (S.WORKING, Outcome.UNKNOWN, S.WORKING, False),
        (S.FILLED, Outcome.UNKNOWN, S.FILLED, False),
    ],
)
def test_the_reply_to_a_place_call(state: OrderState, outcome: Outcome, expected: OrderState, odd: bool) -> None:
    merged = replied(make_order(state=state), answer(Action.PLACE, outcome, "B1" if outcome is Outcome.ACK else None))
    assert merged.order.state is expected
    assert bool(merged.anomaly) is odd
    assert merged.order.broker_order_id == ("B1" if outcome is Outcome.ACK else None)


def test_an_ack_that_names_another_order_is_paged_and_the_first_id_stays() -> None:
    merged = replied(make_order(state=S.WORKING, broker_order_id="B1"), answer(Action.PLACE, Outcome.ACK, "B2"))
    assert merged.order.broker_order_id == "B1"
    assert "B1 and B2" in merged.anomaly


def test_an_ack_that_names_the_order_already_known_is_no_news() -> None:
    order = make_order(state=S.WORKING, broker_order_id="B1")
    assert replied(order, answer(Action.PLACE, Outcome.ACK, "B1")) == Merged(order)


@pytest.mark.parametrize(("action", "state"), [(Action.MODIFY, S.PENDING_MODIFY), (Action.CANCEL, S.PENDING_CANCEL)])
def test_a_refused_command_returns_to_what_is_true(action: Action, state: OrderState) -> None:
    commanded = move(working(), state, at(2))
    refused = replied(commanded, answer(action, Outcome.REJECT)).order
    assert (refused.state, refused.reason) == (S.WORKING, f"{action} refused: the text")
    for outcome in (Outcome.ACK, Outcome.UNKNOWN):
        assert replied(commanded, answer(action, outcome)).order is commanded
    other = Action.CANCEL if action is Action.MODIFY else Action.MODIFY
    assert replied(commanded, answer(other, Outcome.REJECT)).order is commanded


def test_a_stop_that_triggered_under_a_refused_command_is_working() -> None:
    armed = move(follow(make_order(state=S.SENDING), [make_update(1, S.TRIGGER_PENDING)]), S.PENDING_MODIFY, at(2))
    triggered = follow(armed, [make_update(3, S.WORKING)])
    assert triggered.state is S.PENDING_MODIFY
    assert replied(triggered, answer(Action.MODIFY, Outcome.REJECT)).order.state is S.WORKING


def test_a_refused_command_with_no_state_to_return_to_is_paged() -> None:
    lost = make_order(state=S.PENDING_CANCEL)
    merged = replied(lost, answer(Action.CANCEL, Outcome.REJECT))
    assert merged.order is lost
    assert "no state to go back to" in merged.anomaly


def test_trades_raise_filled_but_leave_the_state_to_the_row() -> None:
    order = filled_to(working(), 130, 25_001.0, at(3)).order
    assert (order.filled, order.average_price, order.state) == (130, 25_001.0, S.WORKING)
    assert filled_to(order, 65, 24_000.0, at(4)).order is order
    assert "after the order had ended" in filled_to(working(state=S.CANCELLED), 65, 25_000.0, at(3)).anomaly


# --- any order, any repetition -------------------------------------------------------------------------------------------------------


def life(chance: random.Random) -> list[OrderUpdate]:
    """The rows of one order that could really have been: a ladder, slices that fill, perhaps a modification, one end."""
    seconds, filled, price, quantity = 0.0, 0, 25_000.0, 130
    rows: list[OrderUpdate] = []

    def add(state: OrderState) -> None:
        nonlocal seconds
        seconds += chance.choice((0.3, 1.0, 7.0))
        average = 24_990.0 + filled / 10 if filled else 0.0
        rows.append(make_update(seconds, state, filled, average_price=average, limit_price=price, quantity=quantity))

    for state in (S.PENDING_NEW, S.AMO_QUEUED, S.TRIGGER_PENDING):
        if chance.random() < 0.4:
            add(state)
    for _ in range(chance.randrange(12)):
        what = chance.random()
        if what < 0.6 and filled < quantity - 5:
            filled += chance.randint(1, quantity - filled - 1)
            add(S.WORKING)
        elif what < 0.8:
            add(S.PENDING_MODIFY)
            price += 0.1
            seconds += 1  # a broker's clock has whole seconds; two modifications never share one
            add(S.WORKING)
        else:
            add(S.PENDING_CANCEL)
            seconds += 1
            add(S.WORKING)
    end = chance.choice((S.FILLED, S.CANCELLED, S.EXPIRED, None, S.REJECTED))
    if end is S.FILLED:
        filled = quantity
    if end is not None:
        add(end)
    return rows


def facts(order: Order) -> tuple[object, ...]:
    seen = order.evidence
    evidence = None if seen is None else (seen.state, seen.filled, seen.exchange_at)
    terms = (order.quantity, order.limit_price, order.trigger_price, order.product, order.reason, order.broker_order_id)
    return (order.state, order.filled, order.average_price, terms, evidence)


@settings(max_examples=10_000, deadline=None)
@given(seed=some.integers(0, 2**48), start=some.sampled_from((S.SENDING, S.UNKNOWN, S.PENDING_NEW)))
def test_rows_in_any_order_and_repeated_end_in_the_same_order(seed: int, start: OrderState) -> None:
    chance = random.Random(seed)
    rows = life(chance)
    told = follow(make_order(state=start), rows)
    mixed = rows + chance.choices(rows, k=chance.randrange(len(rows) + 1)) if rows else rows
    chance.shuffle(mixed)
    assert len(mixed) <= 100
    assert facts(follow(make_order(state=start), mixed)) == facts(told)
    if rows:
        assert told.filled == max(row.filled for row in rows)
        assert told.state is rows[-1].state or told.state not in TERMINAL


@settings(max_examples=2_000, deadline=None)
@given(
    some.lists(
        some.tuples(some.sampled_from([None, *OrderState]), some.integers(0, 200), some.integers(0, 20), some.booleans()), max_size=30
    ),
    some.sampled_from(OrderState),
)
def test_no_row_whatever_raises_or_takes_a_fill_back(rows: list[tuple[OrderState | None, int, int, bool]], start: OrderState) -> None:
    order = make_order(state=start)
    for state, filled, seconds, fresh in rows:
        merged = merge(order, make_update(seconds, state, filled), fresh=fresh)
        assert merged.order.filled == max(order.filled, filled)
        if order.state in TERMINAL and order.state is not S.NOT_FOUND:
            assert merged.order.state in (order.state, S.FILLED)
        if merged.order.state is not order.state and order.state in TERMINAL:
            assert merged.anomaly
        order = merged.order


def test_evidence_is_kept_on_the_order() -> None:
    assert working().evidence == Evidence(S.WORKING, 0, at(1), at(1))
