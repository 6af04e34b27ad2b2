"""An order update that a broker posts to an address of ours: one JSON object with a row of its order book."""

import json
from collections.abc import Mapping
from typing import Any

from core.errors import DataError

LONGEST = 65_536  # bytes; a row has about two thousand


def posted(title: str, body: bytes) -> Mapping[str, Any]:
    """The row in it; raises DataError for what is none."""
    if len(body) > LONGEST:
        raise DataError(f"a postback of {title} has {len(body)} bytes; an order's row has at most {LONGEST}")
    try:
        row = json.loads(body)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise DataError(f"a postback of {title} is no JSON object: {body[:80]!r}")
    return row
