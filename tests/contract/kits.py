"""The brokers of the suite."""

from collections.abc import Mapping

from tests.contract.kit import Kit
from tests.contract.kit_angelone import ANGELONE
from tests.contract.kit_groww import GROWW
from tests.contract.kit_icici import ICICI
from tests.contract.kit_upstox import UPSTOX
from tests.contract.kit_zerodha import ZERODHA

KITS: Mapping[str, Kit] = {kit.name: kit for kit in (ZERODHA, ANGELONE, UPSTOX, ICICI, GROWW)}
