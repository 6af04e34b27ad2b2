"""Angel One in the words of its own documents."""

from collections.abc import Mapping
from typing import Any

from brokers.registry import get
from core.errors import ConfigError, LoginRefused, Rejected, SessionExpired, Transient, Unknown
from core.types import OrderState
from simulators.angelone_rows import order_message
from simulators.orders import SimOrder
from tests.contract.kit import Kit, Label, Routes, ladder, products, refusal


def posts(simulator: Any, credentials: Mapping[str, str], order: SimOrder) -> dict[str, Any]:
    """The order socket's data with the client's code beside it."""
    return {
        **order_message(order, simulator.names.of(order.listing), order.history[-1])["orderData"],
        "clientcode": credentials["client_code"],
    }


ANGELONE = Kit(
    spec=get("angelone"),
    routes=Routes(
        place="POST /rest/secure/angelbroking/order/v1/placeOrder",
        modify="POST /rest/secure/angelbroking/order/v1/modifyOrder",
        cancel="POST /rest/secure/angelbroking/order/v1/cancelOrder",
        orders="GET *getOrderBook",
        trades="GET *getTradeBook",
        positions="GET *getPosition",
        funds="GET *getRMS",
        prices="POST *market/v1/quote",
        candles="POST *getCandleData",
        dump="GET *OpenAPIScripMaster.json",
        profile="GET *getProfile",
        charges="POST *brokerage/v1/estimateCharges",
    ),
    products=products("INTRADAY", "DELIVERY", "CARRYFORWARD"),
    ladder=ladder("validation pending", "open pending", "open", "trigger pending", "modify pending",
                   "modify pending", "cancel pending", "after market order req received", "complete", "cancelled", "rejected"),
    labels=(
        Label("put order req received", OrderState.PENDING_NEW),
        Label("modify validation pending", OrderState.PENDING_MODIFY),
        Label("modified", OrderState.WORKING),
        Label("modified", OrderState.TRIGGER_PENDING, "stop"),
        Label("not modified", OrderState.WORKING),
        Label("not cancelled", OrderState.WORKING),
        Label("not cancelled", OrderState.TRIGGER_PENDING, "stop"),
        Label("modify after market order req received", OrderState.AMO_QUEUED),
        Label("cancelled after market order", OrderState.CANCELLED),
        Label("cancelled", OrderState.CANCELLED, "part"),
        Label("rejected", OrderState.REJECTED, "part"),
    ),
    refusals=(
        refusal("AG8001", "Invalid Token", SessionExpired, SessionExpired, 200),
        refusal("AG8002", "Token Expired", SessionExpired, SessionExpired, 200),
        refusal("AG8003", "Token missing", SessionExpired, SessionExpired, 200),
        refusal("AB1010", "AMX Session Expired", SessionExpired, SessionExpired, 200),
        refusal("AB1011", "Client not login", SessionExpired, SessionExpired, 200),
        refusal("AG7002", "Access denied: not the registered static IP", Rejected, Rejected, 200),
        refusal("AB1006", "Client Is Blocked For Trading", Rejected, Rejected, 200),
        refusal("AB1008", "Invalid Order Variety", Rejected, Rejected, 200),
        refusal("AB1009", "Symbol Not Found", Rejected, Rejected, 200),
        refusal("AB1012", "Invalid Product Type", Rejected, Rejected, 200),
        refusal("AB4008", "ordertag length should be less than 20 characters", Rejected, Rejected, 200),
        refusal("AB4036", "The scrip is under surveillance", Rejected, Rejected, 200),
        refusal("AB1004", "Something Went Wrong, Please Try After Sometime", Unknown, Transient, 200),
        refusal("AB1007", "AMX Error", Unknown, Transient, 200),
        refusal("AB2000", "Error not specified", Unknown, Transient, 200),
        refusal("AB2001", "Internal Error, Please Try After Sometime", Unknown, Transient, 200),
        refusal("AB9999", "A code that is in no table", Unknown, Transient, 200),
    ),
    no_candles=7,
    longest_tag=19,
    dies_at="00:00",
    order_route_of_reader=("POST", "/rest/secure/angelbroking/order/v1/placeOrder"),
    refuses_ioc="prohibits IOC",
    late_refusals=True,
    renews=True,
    changed_too_late=Unknown,
    busy=Unknown,
    alive_feed=True,
    posts=posts,
    login_answers={"000000": LoginRefused, "12345": ConfigError, "http://127.0.0.1/?code=1": ConfigError},
)  # fmt: skip
