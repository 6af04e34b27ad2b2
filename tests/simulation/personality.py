"""The brokers that simulated days are played at: what each can express, shows and allows, as a seed draws them.

The spec is the broker's own: products, horizons, objections, whether its rows give our tag back, how often its books may be read, its
rate budget. What is here besides is how it behaves; where its documents say nothing, a wide guess, which costs a simulation nothing.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from brokers import registry
from brokers.spec import Spec
from simulators.desk import PRODUCTS
from simulators.icici_rows import reference
from simulators.listing import Listing
from simulators.orders import SimOrder

REGULAR_READS_S = 15.0


@dataclass(frozen=True)
class Personality:
    """One broker as a simulated day meets it.

    `user`: whom its simulator knows. `products`: the exchange's product -> the broker's. `way_s`: seconds of one way of a call (from, to).
    `book_lag_s`: how far its books stand behind its acknowledgements (from, to). `per_second`: order calls that it takes in one second.
    `reads`: a read -> the kind of its rate limit and how many requests it takes (0: one for each order that has filled).
    `polls_s`: order states are seen by asking this often (0: they are told). `renews`: a dead token is replaced without a person.
    `shows_times`: its order rows say when the exchange acted. `order_id`: what it calls an order of the exchange, on its wire.
    """

    name: str
    user: str
    products: Mapping[str, str]
    way_s: tuple[float, float]
    book_lag_s: tuple[float, float]
    per_second: int
    reads: Mapping[str, tuple[str, int]]
    polls_s: float = 0.0
    renews: bool = False
    shows_times: bool = True
    order_id: Callable[[SimOrder], str] = attrgetter("id")

    @property
    def spec(self) -> Spec:
        return registry.get(self.name)

    @property
    def pace_s(self) -> float:
        """Seconds between the engine's regular reads of the books."""
        return max(REGULAR_READS_S, self.spec.pace.books_s)

    @property
    def agree_s(self) -> float:
        """Within which ledger and broker agree once its books can be read: as often as its limits let us look (P6)."""
        return 20.0 if self.pace_s <= REGULAR_READS_S else self.pace_s + max(self.spec.pace.positions_s, self.pace_s)

    def product(self, booked: str) -> str:
        """How the broker calls a product of the exchange's."""
        return self.products[booked]

    def booked(self, product: str, listing: Listing) -> str:
        """What the exchange books under a product of the broker's."""
        return next(name for name in PRODUCTS[listing.kind] if self.products.get(name) == product)

    def intraday(self, listing: Listing) -> str:
        """The exchange's product in which we hold what must be flat today."""
        carried = "CNC" if listing.kind == "EQ" else "NRML"
        return carried if self.name == "icici" else "MIS"

    def read(self, what: str) -> tuple[str, int]:
        return self.reads.get(what, ("other", 1))


_OWN_KINDS = {name: (name, 1) for name in ("orders", "trades", "positions", "funds")} | {
    "candles": ("historical", 1), "last_prices": ("quote", 1), "profile": ("profile", 1)
}  # fmt: skip

PERSONALITIES: Mapping[str, Personality] = {
    one.name: one
    for one in (
        Personality("zerodha", "ZZ1234", {"CNC": "CNC", "NRML": "NRML", "MIS": "MIS"}, (0.004, 0.06), (0.0, 0.0), 10, {}),
        Personality(
            "angelone", "A123456", {"CNC": "DELIVERY", "NRML": "CARRYFORWARD", "MIS": "INTRADAY"}, (0.02, 0.2), (0.0, 1.5), 9, _OWN_KINDS,
            renews=True,
        ),
        Personality("upstox", "UP1234", {"CNC": "D", "NRML": "D", "MIS": "I"}, (0.01, 0.1), (0.0, 0.8), 10, {}),
        Personality(
            "icici", "XY604721", {"CNC": "cash", "NRML": "futures", "MIS": "margin"}, (0.05, 0.5), (0.0, 3.0), 10,
            {**_OWN_KINDS, "orders": ("orders", 2), "trades": ("trades", 0)}, shows_times=False, order_id=reference,
        ),
        Personality(
            "groww", "GR1234", {"CNC": "CNC", "NRML": "NRML", "MIS": "MIS"}, (0.02, 0.2), (0.0, 1.0), 10,
            {"orders": ("other", 2), "trades": ("other", 2), "positions": ("other", 2), "last_prices": ("quote", 1)},
            polls_s=1.0, renews=True,
        ),
    )
}  # fmt: skip


def drawn(seed: int) -> Personality:
    """The broker of a seed's day."""
    return PERSONALITIES[random.Random(f"broker {seed}").choice(sorted(PERSONALITIES))]


def stops_at_broker(seed: int) -> bool:
    """Whether stops stand at the broker on a seed's day."""
    return random.Random(f"protect {seed}").random() < 0.3
