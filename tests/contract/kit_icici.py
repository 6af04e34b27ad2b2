"""ICICI Direct in the words of its own documents."""

from brokers.registry import get
from core.errors import ConfigError, NiyamError, Rejected, SessionExpired, Transient, Unknown
from core.types import Horizon, Kind, OrderState
from simulators.icici_rows import reference
from simulators.orders import Status
from tests.contract.kit import Kit, Label, Routes, refusal

_PRODUCTS = {Kind.EQUITY: "cash", Kind.FUTURE: "futures", Kind.CALL: "options"}


ICICI = Kit(
    spec=get("icici"),
    routes=Routes(
        place="POST */v1/order",
        modify="PUT */v1/order",
        cancel="DELETE */v1/order",
        orders="GET */v1/order",
        trades="GET */v1/trades",
        positions="GET */v1/portfoliopositions",
        funds="GET */v1/funds",
        prices="GET */v1/quotes",
        candles="GET /api/v2/historicalcharts*",
        dump="GET *.zip",
        profile="",
        charges="GET */v1/preview_order",
    ),
    products={(horizon, kind): word for horizon in Horizon for kind, word in _PRODUCTS.items()},
    ladder={
        Status.VALIDATING: ("requested", OrderState.PENDING_NEW),
        Status.OPEN_PENDING: ("queued", OrderState.PENDING_NEW),
        Status.OPEN: ("ordered", OrderState.WORKING),
        Status.TRIGGER_PENDING: ("ordered", OrderState.TRIGGER_PENDING),
        Status.MODIFY_VALIDATING: ("ordered", OrderState.WORKING),
        Status.MODIFY_PENDING: ("ordered", OrderState.WORKING),
        Status.CANCEL_PENDING: ("ordered", OrderState.WORKING),
        Status.AMO_RECEIVED: ("requested", OrderState.PENDING_NEW),
        Status.COMPLETE: ("executed", OrderState.FILLED),
        Status.CANCELLED: ("cancelled", OrderState.CANCELLED),
        Status.REJECTED: ("rejected", OrderState.REJECTED),
    },
    labels=(
        Label("Freezed", OrderState.PENDING_NEW),
        Label("Expired", OrderState.EXPIRED),
        Label("Partially Executed", OrderState.WORKING),
        Label("Partially Executed And Expired", OrderState.EXPIRED),
        Label("Partially Executed And Cancelled", OrderState.CANCELLED),
        Label("Executed", OrderState.FILLED, "filled"),
        Label("Cancelled", OrderState.CANCELLED, "part"),
        Label("Rejected", OrderState.CANCELLED, "part"),
        Label("Expired", OrderState.EXPIRED, "part"),
    ),
    refusals=(
        refusal("", "Invalid session.", SessionExpired, SessionExpired, 401),
        refusal("", "Session key is expired.", SessionExpired, SessionExpired, 500),
        refusal("", "Resource not available.", SessionExpired, SessionExpired, 500),
        refusal("", "Invalid checksum.", Rejected, Rejected, 500),
        refusal("", "Invalid timestamp.", Rejected, Rejected, 500),
        refusal("", "Request is not allowed from this IP address.", Rejected, Rejected, 403),
        refusal("", "Stock-Code not found", Rejected, Rejected, 500),
        refusal("", "Order-Id not found", Rejected, Rejected, 500),
        refusal("", "Insufficient limits", Rejected, Rejected, 500),
        refusal("", "Quantity cannot be empty", Rejected, Rejected, 500),
        refusal("", "You are not authorized", Rejected, Rejected, 403),
        refusal("", "Something went wrong", Unknown, Transient, 500),
        refusal("", "A text that is in no table", Unknown, Transient, 500),
    ),
    no_candles=7,
    longest_tag=20,
    dies_at="00:00",
    order_route_of_reader=("POST", "/breezeapi/api/v1/order"),
    echoes_tags=False,
    order_id=reference,
    keeps_budget=True,
    minute="calls/min",
    busy=Unknown,
    dates_updates=False,
    reasons_by_stream=False,
    intraday_is_carried=True,
    charges_deliver_shares=True,
    refuses_stop_ioc="would end before its trigger",
    cuts_history=True,
    login_answers={"wrong1": NiyamError, "http://127.0.0.1/?nothing=1": ConfigError},
)
