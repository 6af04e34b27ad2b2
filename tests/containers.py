"""What an object and all of ours that it leads to hold: each container's name (file:Class.attribute) and how many items are in it."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

OURS = ("execution_engine", "risk", "storage", "runtime", "data_ingestion", "brokers", "utils", "core", "strategies")
HOLDERS = (dict, list, set, deque)


def sizes(*roots: object) -> Counter[str]:
    """Items by container, those of containers within containers included; of several objects of one class all together."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or not _ours(one):
            continue
        seen.add(id(one))
        for name, value in _attributes(one):
            if isinstance(value, HOLDERS):
                if id(value) in seen:  # shared by two objects: it counts once, with the first
                    continue
                seen.add(id(value))
                found[f"{_home(one)}.{name}"] += _items(value)
                waiting += _elements(value)
            else:
                waiting.append(value)
    return found


def _ours(one: object) -> bool:
    if isinstance(one, msgspec.Struct | type):
        return False  # messages are frozen
    return any(kind.__module__.partition(".")[0] in (*OURS, "tests") for kind in type(one).__mro__)


def _home(one: object) -> str:
    """`file:Class` of its class, of the one it was planted upon for a class of the tests."""
    kind = next((kind for kind in type(one).__mro__ if kind.__module__.partition(".")[0] in OURS), type(one))
    return f"{kind.__module__.replace('.', '/')}.py:{kind.__qualname__}"


def _attributes(one: object) -> Iterator[tuple[str, Any]]:
    yield from vars(one).items() if hasattr(one, "__dict__") else ()
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(one, name) and name not in ("__dict__", "__weakref__"):
                yield name, getattr(one, name)


def _items(value: Any) -> int:
    return len(value) + sum(_items(inner) for inner in _elements(value) if isinstance(inner, HOLDERS))


def _elements(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else list(value)
