"""Angel One's postback: the order row of its order socket with the client's code, unsigned."""

from datetime import datetime

import brokers.angelone.mapping as mapping
from brokers.postback import posted
from core.errors import Rejected
from core.events import POSTBACK, OrderUpdate
from core.ports import CredentialStore, InstrumentLookup


def read(body: bytes, credentials: CredentialStore, at: datetime, lookup: InstrumentLookup) -> OrderUpdate:
    """See brokers.spec.Postback."""
    row = posted("SmartAPI", body)
    client = row.get("clientcode")
    if client is not None and str(client).upper() != credentials.get_secret("ANGELONE_CLIENT_CODE").upper():
        raise Rejected("this postback is of another client code than the account's; nothing was taken from it")
    return mapping.order_update(row, at, POSTBACK, lookup)
