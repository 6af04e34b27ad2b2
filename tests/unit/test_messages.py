"""What a message may hold, so that the cycle collector may leave it alone."""

import inspect
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from enum import Enum
from types import ModuleType, NoneType
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from core import events, types
from execution_engine import buy_sell_logic, charges, order_manager, order_state
from risk import book

PLAIN = (bool, int, float, str, bytes, date, datetime, timedelta, NoneType)


def left_alone(module: ModuleType) -> Iterator[type]:
    for _, one in inspect.getmembers(module, inspect.isclass):
        if issubclass(one, msgspec.Struct) and one.__module__ == module.__name__ and not one.__struct_config__.gc:
            yield one


def closes_no_cycle(hint: Any) -> bool:
    """Whether nothing of this type could ever lead back to the message that holds it."""
    inside = [each for each in get_args(hint) if each is not Ellipsis]
    if inside:
        return getattr(hint, "__origin__", None) in (None, tuple) and all(map(closes_no_cycle, inside))
    if not inspect.isclass(hint):
        return False
    return hint in PLAIN or issubclass(hint, Enum) or (issubclass(hint, msgspec.Struct) and not hint.__struct_config__.gc)


@pytest.mark.parametrize("module", [types, events, buy_sell_logic, charges, order_manager, order_state, book], ids=lambda one: one.__name__)
def test_what_the_cycle_collector_leaves_alone_can_close_no_cycle(module: ModuleType) -> None:
    seen = list(left_alone(module))
    assert seen
    for struct in seen:
        wrong = {name: hint for name, hint in get_type_hints(struct).items() if not closes_no_cycle(hint)}
        assert wrong == {}, f"{struct.__name__} is left alone by the collector, and holds what could lead back to it"


class Loose(msgspec.Struct, frozen=True, gc=False):
    """Planted: a mapping can hold the message itself."""

    facts: dict[str, Any]


class Nested(msgspec.Struct, frozen=True, gc=False):
    """Planted: so can what the collector has to look at."""

    inner: tuple[events.Command, ...]


@pytest.mark.parametrize("planted", [Loose, Nested])
def test_a_message_that_could_lead_back_to_itself_is_found(planted: type) -> None:
    assert [name for name, hint in get_type_hints(planted).items() if not closes_no_cycle(hint)]
