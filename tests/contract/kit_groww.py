"""Groww in the words of its own documents."""

from brokers.registry import get
from core.errors import BrokerError, ConfigError, LoginRefused, Rejected, SessionExpired, Transient, Unknown
from core.types import Horizon, Kind, OrderState
from simulators.orders import Status
from tests.contract.kit import Kit, Label, Refusal, Routes

_INTRADAY, _CARRY = Horizon.INTRADAY, Horizon.CARRY


def _groww(code: str, text: str, order: type[BrokerError], read: type[BrokerError], status: int = 400) -> Refusal:
    return Refusal(f"{code} {text}", {"status": status, "error_type": code, "message": text}, order, read)


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
    ),
    products={
        **{(_INTRADAY, kind): "MIS" for kind in (Kind.EQUITY, Kind.FUTURE, Kind.CALL)},
        **{(_CARRY, kind): "NRML" for kind in (Kind.FUTURE, Kind.CALL)},
        (_CARRY, Kind.EQUITY): "CNC",
    },
    ladder={
        Status.VALIDATING: ("NEW", OrderState.PENDING_NEW),
        Status.OPEN_PENDING: ("ACKED", OrderState.PENDING_NEW),
        Status.OPEN: ("APPROVED", OrderState.WORKING),
        Status.TRIGGER_PENDING: ("TRIGGER_PENDING", OrderState.TRIGGER_PENDING),
        Status.MODIFY_VALIDATING: ("MODIFICATION_REQUESTED", OrderState.PENDING_MODIFY),
        Status.MODIFY_PENDING: ("MODIFICATION_REQUESTED", OrderState.PENDING_MODIFY),
        Status.CANCEL_PENDING: ("CANCELLATION_REQUESTED", OrderState.PENDING_CANCEL),
        Status.AMO_RECEIVED: ("NEW", OrderState.AMO_QUEUED),
        Status.COMPLETE: ("EXECUTED", OrderState.FILLED),
        Status.CANCELLED: ("CANCELLED", OrderState.CANCELLED),
        Status.REJECTED: ("REJECTED", OrderState.REJECTED),
    },
    labels=(
        Label("OPEN", OrderState.WORKING),  # in no table, and in the examples of the documents
        Label("FAILED", OrderState.REJECTED),
        Label("EXECUTED", OrderState.WORKING),  # nothing of it has filled: the rest is still at the exchange
        Label("DELIVERY_AWAITED", OrderState.FILLED, "filled"),
        Label("COMPLETED", OrderState.FILLED, "filled"),
    ),
    refusals=(
        _groww("GA001", "Bad request: the price is not valid", Rejected, Rejected),
        _groww("GA004", "Requested entity does not exist", Rejected, Rejected, 404),
        _groww("GA005", "User not authorised to perform this operation", SessionExpired, SessionExpired, 401),
        _groww("GA005", "User not authorised: no segment", Rejected, Rejected, 403),
        _groww("GA006", "Cannot process this request", Rejected, Rejected),
        _groww("GA006", "Cannot process this request, under HTTP 200", Rejected, Rejected, 200),
        _groww("GA000", "Internal error occurred, under HTTP 200", Unknown, Transient, 200),
        _groww("GA000", "Internal error occurred", Unknown, Transient, 500),
        _groww("GA001", "Bad request, under HTTP 500", Unknown, Transient, 500),
        _groww("GA003", "Unable to serve request currently", Unknown, Transient, 503),
        _groww("GA003", "Unable to serve request currently, under HTTP 400", Unknown, Transient),
        _groww("GA007", "Duplicate order reference id", Unknown, Transient),
        _groww("GA999", "A code that is in no table", Unknown, Transient),
        _groww("", "No code at all (HTTP 504)", Unknown, Transient, 504),
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
    login_answers={"000000": LoginRefused, "12345": ConfigError, "http://127.0.0.1/?code=1": ConfigError},
)
