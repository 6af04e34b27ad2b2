"""What parameters a strategy class has, as a form needs it."""

from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from strategies import registry
from strategies.base import ParameterError


def ranges_of(name: str) -> list[dict[str, Any]]:
    """The parameters of a strategy class: name, type, default, and the bounds of a number (null: none)."""
    try:
        params = registry.params_of(name)
    except ParameterError:  # a class that is not there (any more); its file is refused at the next start
        return []
    hints = get_type_hints(params)
    return [
        {
            "name": one.name,
            "type": hints[one.name].__name__,
            "default": None if one.default is MISSING else one.default,
            "low": one.metadata.get("low"),
            "high": one.metadata.get("high"),
        }
        for one in fields(params)
    ]
