"""Angel One (SmartAPI): the SPEC, which loads client, codec and session only when one of them is made, and the client of bare scripts."""

from typing import TYPE_CHECKING, Any

import brokers.angelone.mapping as mapping
from brokers.angelone.facts import ENDPOINTS, LIMITS
from brokers.spec import Spec, later

if TYPE_CHECKING:
    from brokers.angelone.smartapi import SmartAPIClient

__all__ = ["SPEC", "SmartAPIClient"]


SPEC = Spec(
    name="angelone",
    title="Angel One (SmartAPI)",
    secrets=("ANGELONE_API_KEY", "ANGELONE_CLIENT_CODE", "ANGELONE_MPIN"),
    endpoints=ENDPOINTS,
    limits=LIMITS,
    tag_length=mapping.LONGEST_TAG,
    instruments_per_stream=1000,  # token x mode, in one mode
    streams=3,  # connections of one client code
    modifications_per_order=25,  # nothing is documented; the exchange's own habit, and what our other brokers allow
    historical_caps=mapping.HISTORICAL_CAPS,
    make_session=later("brokers.angelone.session", "AngelSession"),
    make_data=later("brokers.angelone.client", "AngelData"),
    make_broker=later("brokers.angelone.client", "AngelBroker"),
    make_feed=later("brokers.angelone.feed", "make"),
    product=mapping.product,
    horizon_of=mapping.horizon_of,
    parse_instruments=later("brokers.angelone.dump", "parse_instruments"),
    exchange_number=mapping.exchange_number,
    objection=mapping.objection,
    postback=later("brokers.angelone.postback", "read"),
    login="code",
)


def __getattr__(name: str) -> Any:
    if name == "SmartAPIClient":
        from brokers.angelone.smartapi import SmartAPIClient

        return SmartAPIClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
