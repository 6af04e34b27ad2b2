"""The brokers of the suite, in the words of their own documents."""

from collections.abc import Mapping

from brokers.registry import get
from core.errors import BrokerError, ConfigError, LoginRefused, Rejected, SessionExpired, Transient, Unknown
from core.types import Horizon, Kind, OrderState
from simulators.orders import Status
from tests.contract.kit import Kit, Label, Refusal, Routes
from tests.contract.kit_groww import GROWW
from tests.contract.kit_icici import ICICI

_INTRADAY, _CARRY = Horizon.INTRADAY, Horizon.CARRY
_STATES: Mapping[Status, OrderState] = {
    Status.RECEIVED: OrderState.PENDING_NEW,
    Status.VALIDATING: OrderState.PENDING_NEW,
    Status.OPEN_PENDING: OrderState.PENDING_NEW,
    Status.OPEN: OrderState.WORKING,
    Status.TRIGGER_PENDING: OrderState.TRIGGER_PENDING,
    Status.MODIFY_VALIDATING: OrderState.PENDING_MODIFY,
    Status.MODIFY_PENDING: OrderState.PENDING_MODIFY,
    Status.CANCEL_PENDING: OrderState.PENDING_CANCEL,
    Status.AMO_RECEIVED: OrderState.AMO_QUEUED,
    Status.COMPLETE: OrderState.FILLED,
    Status.CANCELLED: OrderState.CANCELLED,
    Status.REJECTED: OrderState.REJECTED,
}


def _ladder(*words: str) -> dict[Status, tuple[str, OrderState]]:
    """The broker's words in the order of the ladder above."""
    return {status: (word, state) for (status, state), word in zip(_STATES.items(), words, strict=True)}


def _products(intraday: str, cash: str, derivatives: str) -> dict[tuple[Horizon, Kind], str]:
    cards = {(_INTRADAY, kind): intraday for kind in (Kind.EQUITY, Kind.FUTURE, Kind.CALL)}
    return {**cards, (_CARRY, Kind.EQUITY): cash, (_CARRY, Kind.FUTURE): derivatives, (_CARRY, Kind.CALL): derivatives}


def _refusal(name: str, status: int, code: str, text: str, order: type[BrokerError], read: type[BrokerError]) -> Refusal:
    return Refusal(name, {"status": status, "error_type": code, "message": text}, order, read)


def _kite(name: str, status: int, code: str, text: str, order: type[BrokerError], read: type[BrokerError]) -> Refusal:
    return _refusal(f"{status} {name}", status, code, text, order, read)


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
    ),
    products=_products("MIS", "CNC", "NRML"),
    ladder=_ladder("VALIDATION PENDING", "VALIDATION PENDING", "OPEN PENDING", "OPEN", "TRIGGER PENDING", "MODIFY VALIDATION PENDING",
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
    ),
    refusals=(
        _kite("InputException", 400, "InputException", "Invalid `quantity`.", Rejected, Rejected),
        _kite("OrderException", 400, "OrderException", "Order cannot be processed.", Rejected, Rejected),
        _kite("MarginException", 400, "MarginException", "Insufficient funds.", Rejected, Rejected),
        _kite("HoldingException", 428, "HoldingException", "Authorise your holdings.", Rejected, Rejected),
        _kite("TokenException", 403, "TokenException", "Incorrect `api_key` or `access_token`.", SessionExpired, SessionExpired),
        _kite("PermissionException", 403, "PermissionException", "Insufficient permission for that call.", Rejected, Rejected),
        _kite("UserException", 400, "UserException", "The account is dormant.", Rejected, Rejected),
        _kite("NetworkException", 503, "NetworkException", "The OMS is down.", Unknown, Transient),
        _kite("DataException", 502, "DataException", "Unknown content-type.", Unknown, Transient),
        _kite("GeneralException", 500, "GeneralException", "Something unexpected happened.", Unknown, Transient),
        _kite("an error type that is in no table", 400, "SurpriseException", "Surprise.", Unknown, Transient),
        _kite("a margin text under HTTP 500", 500, "MarginException", "Insufficient funds.", Unknown, Transient),
    ),
    no_candles=7,
    longest_tag=20,
    dies_at="06:00",
    order_route_of_reader=("POST", "/orders/regular"),
    orders_socket=False,
    login_answers={"request_token=wrong": SessionExpired, "": ConfigError, "status=error": ConfigError},
)  # fmt: skip


def _angel(code: str, text: str, order: type[BrokerError], read: type[BrokerError], status: int = 200) -> Refusal:
    return _refusal(f"{code} {text}", status, code, text, order, read)


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
    ),
    products=_products("INTRADAY", "DELIVERY", "CARRYFORWARD"),
    ladder=_ladder("validation pending", "validation pending", "open pending", "open", "trigger pending", "modify pending",
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
    ),
    refusals=(
        _angel("AG8001", "Invalid Token", SessionExpired, SessionExpired),
        _angel("AG8002", "Token Expired", SessionExpired, SessionExpired),
        _angel("AG8003", "Token missing", SessionExpired, SessionExpired),
        _angel("AB1010", "AMX Session Expired", SessionExpired, SessionExpired),
        _angel("AB1011", "Client not login", SessionExpired, SessionExpired),
        _angel("AG7002", "Access denied: not the registered static IP", Rejected, Rejected),
        _angel("AB1006", "Client Is Blocked For Trading", Rejected, Rejected),
        _angel("AB1008", "Invalid Order Variety", Rejected, Rejected),
        _angel("AB1009", "Symbol Not Found", Rejected, Rejected),
        _angel("AB1012", "Invalid Product Type", Rejected, Rejected),
        _angel("AB4008", "ordertag length should be less than 20 characters", Rejected, Rejected),
        _angel("AB4036", "The scrip is under surveillance", Rejected, Rejected),
        _angel("AB1004", "Something Went Wrong, Please Try After Sometime", Unknown, Transient),
        _angel("AB1007", "AMX Error", Unknown, Transient),
        _angel("AB2000", "Error not specified", Unknown, Transient),
        _angel("AB2001", "Internal Error, Please Try After Sometime", Unknown, Transient),
        _angel("AB9999", "A code that is in no table", Unknown, Transient),
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
    login_answers={"000000": LoginRefused, "12345": ConfigError, "http://127.0.0.1/?code=1": ConfigError},
)  # fmt: skip


def _upstox(code: str, text: str, order: type[BrokerError], read: type[BrokerError], status: int = 400) -> Refusal:
    return _refusal(f"{code} {text}", status, code, text, order, read)


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
    ),
    products=_products("I", "D", "D"),
    ladder=_ladder("validation pending", "validation pending", "open pending", "open", "trigger pending", "modify validation pending",
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
    ),
    refusals=(
        _upstox("UDAPI100050", "Invalid token used to access API", SessionExpired, SessionExpired, 401),
        _upstox("UDAPI1154", "Not a registered static IP", Rejected, Rejected, 403),
        _upstox("UDAPI100067", "The token may only read", Rejected, Rejected, 403),
        _upstox("UDAPI100049", "Access to this API has been restricted", Rejected, Rejected, 403),
        _upstox("UDAPI100010", "Order not found", Rejected, Rejected),
        _upstox("UDAPI100011", "Invalid Instrument key", Rejected, Rejected),
        _upstox("UDAPI100036", "Invalid Input", Rejected, Rejected),
        _upstox("UDAPI100041", "The order is already cancelled", Rejected, Rejected),
        _upstox("UDAPI100057", "The market is closed", Rejected, Rejected),
        _upstox("UDAPI1052", "The quantity cannot be zero", Rejected, Rejected),
        _upstox("UDAPI1158", "A market order without protection", Rejected, Rejected),
        _upstox("UDAPI100500", "Insufficient funds in the order system", Rejected, Transient),
        _upstox("UDAPI100500", "Something went wrong", Unknown, Transient),
        _upstox("UDAPI100073", "Your 'client_id' is inactive", Unknown, Transient, 500),
        _upstox("UDAPI999999", "A code that is in no table", Unknown, Transient),
        _upstox("UDAPI100074", "Service closed (HTTP 423)", Rejected, Rejected, 423),
    ),
    no_candles=301,
    longest_tag=40,
    dies_at="03:30",
    order_route_of_reader=("POST", "/v3/order/place"),
    login_answers={"wrong1": BrokerError, "": ConfigError, "http://127.0.0.1/?error=denied": ConfigError},
)  # fmt: skip


KITS: Mapping[str, Kit] = {kit.name: kit for kit in (ZERODHA, ANGELONE, UPSTOX, ICICI, GROWW)}
