"""Groww in the words of its own documents."""

from brokers.registry import get
from core.errors import ConfigError, LoginRefused, Rejected, SessionExpired, Transient, Unknown
from core.types import OrderState
from tests.contract.kit import Kit, Label, Routes, ladder, products, refusal

GROWW = Kit(
    spec=get("groww"),
    routes=Routes(
        place="POST /v1/order/create",
        modify="POST /v1/order/modify",
        cancel="POST /v1/order/cancel",
        orders="GET /v1/order/list",
        trades="GET /v1/order/trades/*",
        positions="GET /v1/positions/user",
        funds="GET /v1/margins/detail/user",
        prices="GET /v1/live-data/ltp",
        candles="GET /v1/historical/candles",
        dump="GET /instruments/instrument.csv",
        profile="GET /v1/user/detail",
        charges="POST /v1/margins/detail/orders",
    ),
    products=products("MIS", "CNC", "NRML"),
    ladder=ladder("NEW", "ACKED", "APPROVED", "TRIGGER_PENDING", "MODIFICATION_REQUESTED", "MODIFICATION_REQUESTED",
                  "CANCELLATION_REQUESTED", "NEW", "EXECUTED", "CANCELLED", "REJECTED"),
    labels=(
        Label("OPEN", OrderState.WORKING),  # in no table, and in the examples of the documents
        Label("FAILED", OrderState.REJECTED),
        Label("EXECUTED", OrderState.WORKING),  # nothing of it has filled: the rest is still at the exchange
        Label("DELIVERY_AWAITED", OrderState.FILLED, "filled"),
        Label("COMPLETED", OrderState.FILLED, "filled"),
        Label("CANCELLED", OrderState.CANCELLED, "part"),
        Label("REJECTED", OrderState.CANCELLED, "part"),
        Label("FAILED", OrderState.CANCELLED, "part"),
    ),
    refusals=(
        refusal("GA001", "Bad request: the price is not valid", Rejected, Rejected, 400),
        refusal("GA004", "Requested entity does not exist", Rejected, Rejected, 404),
        refusal("GA005", "User not authorised to perform this operation", SessionExpired, SessionExpired, 401),
        refusal("GA005", "User not authorised: no segment", Rejected, Rejected, 403),
        refusal("GA006", "Cannot process this request", Rejected, Rejected, 400),
        refusal("GA006", "Cannot process this request, under HTTP 200", Rejected, Rejected, 200),
        refusal("GA000", "Internal error occurred, under HTTP 200", Unknown, Transient, 200),
        refusal("GA000", "Internal error occurred", Unknown, Transient, 500),
        refusal("GA001", "Bad request, under HTTP 500", Unknown, Transient, 500),
        refusal("GA003", "Unable to serve request currently", Unknown, Transient, 503),
        refusal("GA003", "Unable to serve request currently, under HTTP 400", Unknown, Transient, 400),
        refusal("GA007", "Duplicate order reference id", Unknown, Transient, 400),
        refusal("GA999", "A code that is in no table", Unknown, Transient, 400),
        refusal("", "No code at all (HTTP 504)", Unknown, Transient, 504),
    ),
    no_candles=7,
    longest_tag=20,
    dies_at="06:00",
    order_route_of_reader=("POST", "/v1/order/create"),
    refuses_ioc="documents DAY orders alone",
    renews=True,
    orders_socket=False,
    feed="poll",
    marks_positions=False,
    dated_tokens=False,
    names_charges=False,
    login_answers={"000000": LoginRefused, "12345": ConfigError, "http://127.0.0.1/?code=1": ConfigError},
)  # fmt: skip
