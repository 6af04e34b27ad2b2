"""ICICI Direct (Breeze): the SPEC, which loads client, codec and session only when one of them is made, and the client of bare scripts."""

from typing import TYPE_CHECKING, Any

import brokers.icici.mapping as mapping
from brokers.icici.facts import ENDPOINTS, LIMITS, PACE
from brokers.spec import Spec, later

if TYPE_CHECKING:
    from brokers.icici.api_client import ICICIAPIClient

__all__ = ["SPEC", "ICICIAPIClient"]


SPEC = Spec(
    name="icici",
    title="ICICI Direct (Breeze)",
    secrets=("ICICI_API_KEY", "ICICI_API_SECRET"),
    endpoints=ENDPOINTS,
    limits=LIMITS,
    tag_length=mapping.LONGEST_TAG,
    instruments_per_stream=2000,  # of an account; how many connections it may have is not documented
    modifications_per_order=25,  # nothing is documented; the exchange's own habit, and what our other brokers allow
    historical_caps=mapping.HISTORICAL_CAPS,
    make_session=later("brokers.icici.session", "IciciSession"),
    make_data=later("brokers.icici.client", "IciciData"),
    make_broker=later("brokers.icici.client", "IciciBroker"),
    make_feed=later("brokers.icici.feed", "make"),
    product=mapping.product,
    horizon_of=mapping.horizon_of,
    parse_instruments=later("brokers.icici.dump", "parse_instruments"),
    exchange_number=mapping.exchange_number,
    objection=mapping.objection,
    stands_in=mapping.stands_in,
    echoes_tags=False,
    pace=PACE,
    plan="prime_9999",
)


def __getattr__(name: str) -> Any:
    if name == "ICICIAPIClient":
        from brokers.icici.api_client import ICICIAPIClient

        return ICICIAPIClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
