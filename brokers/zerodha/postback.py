"""Kite's postback: an order row, signed with a checksum over the order's id, its time and the app's secret."""

import hashlib
import hmac
from datetime import datetime

import brokers.zerodha.mapping as mapping
from brokers.postback import posted
from core.errors import Rejected
from core.events import POSTBACK, OrderUpdate
from core.ports import CredentialStore, InstrumentLookup


def read(body: bytes, credentials: CredentialStore, at: datetime, lookup: InstrumentLookup) -> OrderUpdate:
    """See brokers.spec.Postback. Kite sends COMPLETE, CANCELLED, REJECTED, and UPDATE for a partial fill or a change."""
    row = posted("Kite", body)
    signed = f"{row.get('order_id')}{row.get('order_timestamp')}{credentials.get_secret('ZERODHA_API_SECRET')}"
    if not hmac.compare_digest(hashlib.sha256(signed.encode()).hexdigest().encode(), str(row.get("checksum")).encode()):
        raise Rejected("the checksum of this postback is not that of the account's app; nothing was taken from it")
    return mapping.order_update(row, at, POSTBACK, lookup)
