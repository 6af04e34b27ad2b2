"""Zerodha in the words of its own documents."""

from collections.abc import Mapping
from typing import Any

from brokers.registry import get
from core.errors import ConfigError, Rejected, SessionExpired, Transient, Unknown
from core.types import OrderState
from simulators.orders import SimOrder, Status
from simulators.zerodha_rows import order_message, order_row
from tests.contract.kit import Kit, Label, Routes, ladder, products, refusal


def posts(simulator: Any, credentials: Mapping[str, str], order: SimOrder) -> dict[str, Any]:
    """The postback; its status is UPDATE where the book says OPEN with something filled."""
    last = order.history[-1]
    status = "UPDATE" if last.status is Status.OPEN and last.filled else str(order_row(order, last, None)["status"])
    posted: dict[str, Any] = order_message(order, last, status, 1234, credentials["api_secret"], None)["data"]
    return posted


ZERODHA = Kit(
    spec=get("zerodha"),
    routes=Routes(
        place="POST /orders/*",
        modify="PUT /orders/*",
        cancel="DELETE /orders/*",
        orders="GET /orders",
        trades="GET /trades",
        positions="GET /portfolio/positions",
        funds="GET /user/margins*",
        prices="GET /quote/ltp",
        candles="GET /instruments/historical/*",
        dump="GET /instruments",
        profile="GET /user/profile",
        charges="POST /charges/orders",
    ),
    products=products("MIS", "CNC", "NRML"),
    ladder=ladder("VALIDATION PENDING", "OPEN PENDING", "OPEN", "TRIGGER PENDING", "MODIFY VALIDATION PENDING",
                   "MODIFY PENDING", "CANCEL PENDING", "AMO REQ RECEIVED", "COMPLETE", "CANCELLED", "REJECTED"),
    labels=(
        Label("PUT ORDER REQ RECEIVED", OrderState.PENDING_NEW),
        Label("MODIFIED", OrderState.WORKING),
        Label("MODIFIED", OrderState.TRIGGER_PENDING, "stop"),
        Label("NOT MODIFIED", OrderState.WORKING),
        Label("NOT MODIFIED", OrderState.TRIGGER_PENDING, "stop"),
        Label("UPDATE", OrderState.WORKING),
        Label("UPDATE", OrderState.TRIGGER_PENDING, "stop"),
        Label("LAPSED", OrderState.EXPIRED),
        Label(" complete ", OrderState.FILLED, "filled"),
        Label("CANCELLED", OrderState.CANCELLED, "part"),
        Label("REJECTED", OrderState.REJECTED, "part"),
    ),
    refusals=(
        refusal("InputException", "Invalid `quantity`.", Rejected, Rejected, 400, name="400 InputException"),
        refusal("OrderException", "Order cannot be processed.", Rejected, Rejected, 400, name="400 OrderException"),
        refusal("MarginException", "Insufficient funds.", Rejected, Rejected, 400, name="400 MarginException"),
        refusal("HoldingException", "Authorise your holdings.", Rejected, Rejected, 428, name="428 HoldingException"),
        refusal("TokenException", "Incorrect `api_key` or `access_token`.", SessionExpired, SessionExpired, 403, name="403 TokenException"),
        refusal("PermissionException", "Insufficient permission for that call.", Rejected, Rejected, 403, name="403 PermissionException"),
        refusal("UserException", "The account is dormant.", Rejected, Rejected, 400, name="400 UserException"),
        refusal("NetworkException", "The OMS is down.", Unknown, Transient, 503, name="503 NetworkException"),
        refusal("DataException", "Unknown content-type.", Unknown, Transient, 502, name="502 DataException"),
        refusal("GeneralException", "Something unexpected happened.", Unknown, Transient, 500, name="500 GeneralException"),
        refusal("SurpriseException", "Surprise.", Unknown, Transient, 400, name="400 an error type that is in no table"),
        refusal("MarginException", "Insufficient funds.", Unknown, Transient, 500, name="500 a margin text under HTTP 500"),
    ),
    no_candles=7,
    longest_tag=20,
    dies_at="06:00",
    order_route_of_reader=("POST", "/orders/regular"),
    orders_socket=False,
    posts=posts,
    login_answers={"request_token=wrong": SessionExpired, "": ConfigError, "status=error": ConfigError},
)  # fmt: skip
