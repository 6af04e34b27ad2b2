"""Upstox in the words of its own documents."""

from collections.abc import Mapping
from typing import Any

from brokers.registry import get
from core.errors import BrokerError, ConfigError, Rejected, SessionExpired, Transient, Unknown
from core.types import OrderState
from simulators.orders import SimOrder
from simulators.upstox_rows import order_row
from tests.contract.kit import Kit, Label, Routes, ladder, products, refusal


def posts(simulator: Any, credentials: Mapping[str, str], order: SimOrder) -> dict[str, Any]:
    """The webhook: the order stream's message."""
    row = order_row(order, order.history[-1])
    return {"update_type": "order", "user_id": order.user, "userId": order.user, **row, "instrument_key": row["instrument_token"]}


UPSTOX = Kit(
    spec=get("upstox"),
    routes=Routes(
        place="POST /v3/order/place",
        modify="PUT /v3/order/modify",
        cancel="DELETE /v3/order/cancel",
        orders="GET /v2/order/retrieve-all",
        trades="GET /v2/order/trades/get-trades-for-day",
        positions="GET /v2/portfolio/short-term-positions",
        funds="GET /v2/user/get-funds-and-margin",
        prices="GET /v3/market-quote/ltp",
        candles="GET /v3/historical-candle/*",
        dump="GET /market-quote/instruments/*",
        profile="GET /v2/user/profile",
        charges="GET /v2/charges/brokerage",
    ),
    products=products("I", "D", "D"),
    ladder=ladder("validation pending", "open pending", "open", "trigger pending", "modify validation pending",
                   "modify pending", "cancel pending", "after market order req received", "complete", "cancelled", "rejected"),
    labels=(
        Label("put order req received", OrderState.PENDING_NEW),
        Label("modified", OrderState.WORKING),
        Label("modified", OrderState.TRIGGER_PENDING, "stop"),
        Label("not modified", OrderState.WORKING),
        Label("not cancelled", OrderState.WORKING),
        Label("not cancelled", OrderState.TRIGGER_PENDING, "stop"),
        Label("modify after market order req received", OrderState.AMO_QUEUED),
        Label("cancelled after market order", OrderState.CANCELLED),
        Label("complete", OrderState.WORKING),  # said before everything has filled, as reported of BSE: it still works
        Label("cancelled", OrderState.CANCELLED, "part"),
        Label("rejected", OrderState.REJECTED, "part"),
    ),
    refusals=(
        refusal("UDAPI100050", "Invalid token used to access API", SessionExpired, SessionExpired, 401),
        refusal("UDAPI1154", "Not a registered static IP", Rejected, Rejected, 403),
        refusal("UDAPI100067", "The token may only read", Rejected, Rejected, 403),
        refusal("UDAPI100049", "Access to this API has been restricted", Rejected, Rejected, 403),
        refusal("UDAPI100010", "Order not found", Rejected, Rejected, 400),
        refusal("UDAPI100011", "Invalid Instrument key", Rejected, Rejected, 400),
        refusal("UDAPI100036", "Invalid Input", Rejected, Rejected, 400),
        refusal("UDAPI100041", "The order is already cancelled", Rejected, Rejected, 400),
        refusal("UDAPI100057", "The market is closed", Rejected, Rejected, 400),
        refusal("UDAPI1052", "The quantity cannot be zero", Rejected, Rejected, 400),
        refusal("UDAPI1158", "A market order without protection", Rejected, Rejected, 400),
        refusal("UDAPI100500", "Insufficient funds in the order system", Rejected, Transient, 400),
        refusal("UDAPI100500", "Something went wrong", Unknown, Transient, 400),
        refusal("UDAPI100073", "Your 'client_id' is inactive", Unknown, Transient, 500),
        refusal("UDAPI999999", "A code that is in no table", Unknown, Transient, 400),
        refusal("UDAPI100074", "Service closed (HTTP 423)", Rejected, Rejected, 423),
    ),
    no_candles=301,
    longest_tag=40,
    posts=posts,
    dies_at="03:30",
    order_route_of_reader=("POST", "/v3/order/place"),
    login_answers={"wrong1": BrokerError, "": ConfigError, "http://127.0.0.1/?error=denied": ConfigError},
)  # fmt: skip
