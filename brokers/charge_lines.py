"""What brokers tell an executed order costs: their words for the lines of a contract note, and a sum that must be theirs."""

from collections.abc import Mapping
from typing import Any

from brokers.book_rows import finite, reading
from core.events import ChargesTold
from core.types import Order

_APART = 1.0  # rupees that rounding may put between the sum and its lines: a line to whole rupees, the others to paise


def told(broker: str, order: Order, row: Any, total: Any, lines: Mapping[str, Any]) -> ChargesTold:
    """The charges of `order`, whose lines must add up to their total; raises DataError where they are none: nothing is booked by a guess.

    `row` is what they were read from, for the message. No line at all is a broker that tells the sum alone.
    """
    with reading(broker, "a charge", row if isinstance(row, Mapping) else {}):
        found, named = finite(total), {name: finite(amount) for name, amount in lines.items()}
        if found <= 0:
            raise ValueError(f"{total!r} for {order.side.value} {order.filled} {order.instrument.key}: no execution is free")
        if named and abs(sum(named.values()) - found) > _APART:
            raise ValueError(f"{found:.2f} for {order.instrument.key} are not the sum of its lines, {sum(named.values()):.2f}")
        return ChargesTold(found, named)
