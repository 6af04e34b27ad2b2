"""Zerodha (Kite Connect v3): the SPEC, which loads client, codec and session only when one of them is made."""

from urllib.parse import urlencode

import brokers.zerodha.mapping as mapping
from brokers.spec import Endpoints, Spec, later
from utils.pacing import Limit

_ORDER_CALLS = frozenset({"place", "modify", "cancel"})

LIMITS = (
    # below what kite.trade documents (section Exceptions, and support.zerodha.com order-rate-limits-on-kite), exits reserved; a limit per
    # second is kept over 1.25 s, since requests that leave a second apart may arrive closer together
    Limit("orders/s", _ORDER_CALLS, 8, 1.25, reserve=0.3),  # of 10
    Limit("orders/min", _ORDER_CALLS, 320, 60.0, reserve=0.3),  # of 400
    Limit("orders/day", frozenset({"place"}), 4900, 86_400.0, reserve=0.3),  # of 5000, over all apps; modify and cancel do not count
    Limit("quotes", frozenset({"quote"}), 1, 1.25),  # of 1/s
    Limit("historical", frozenset({"historical"}), 3, 1.25),  # of 3/s
    Limit("other", frozenset({"other"}), 8, 1.25),  # of 10/s
)


def _with_state(login_url: str, state: str) -> str:
    return f"{login_url}&{urlencode({'redirect_params': urlencode({'state': state})})}"


SPEC = Spec(
    name="zerodha",
    title="Zerodha (Kite Connect)",
    secrets=("ZERODHA_API_KEY", "ZERODHA_API_SECRET"),
    endpoints=Endpoints("https://api.kite.trade", "wss://ws.kite.trade", "https://kite.zerodha.com/connect/login"),
    limits=LIMITS,
    tag_length=20,
    instruments_per_stream=3000,
    tape_columns=later("brokers.zerodha.wire", "tape_columns"),
    streams=3,  # Kite Connect v3, WebSocket streaming: 3000 instruments on one connection, 3 connections for one api_key
    modifications_per_order=25,
    historical_caps=mapping.HISTORICAL_CAPS,
    make_session=later("brokers.zerodha.session", "ZerodhaSession"),
    make_data=later("brokers.zerodha.client", "ZerodhaData"),
    make_broker=later("brokers.zerodha.client", "ZerodhaBroker"),
    make_feed=later("brokers.zerodha.feed", "make"),
    product=mapping.product,
    horizon_of=mapping.horizon_of,
    parse_instruments=mapping.parse_instruments,
    exchange_number=mapping.exchange_number,
    objection=mapping.objection,
    holds_at_wire=True,
    guards_nights=True,
    with_state=_with_state,
    postback=later("brokers.zerodha.postback", "read"),
)
