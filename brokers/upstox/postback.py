"""Upstox's webhook: the payload of its order stream, unsigned."""

from datetime import datetime

import brokers.upstox.mapping as mapping
from brokers.postback import posted
from core.errors import DataError
from core.events import POSTBACK, OrderUpdate
from core.ports import CredentialStore, InstrumentLookup


def read(body: bytes, credentials: CredentialStore, at: datetime, lookup: InstrumentLookup) -> OrderUpdate:
    """See brokers.spec.Postback. Updates of positions and GTTs, which the same address may get, are none of an order."""
    row = posted("Upstox", body)
    if row.get("update_type", "order") != "order":
        raise DataError(f"this postback of Upstox is a {row['update_type']!r:.40} update; those of orders are taken")
    return mapping.order_update(row, at, POSTBACK, lookup)
