"""Upstox's envelopes: a success with data, and the list of errors in both spellings of each field."""

from simulators.orders import OrderRefused, Why
from simulators.wire import Response, dump

BAD_TOKEN = ("UDAPI100050", "Invalid token used to access API")
TOO_MANY = ("UDAPI10005", "Too Many Request Sent")
NO_SUCH_ORDER = ("UDAPI100010", "Order not found")
NO_SUCH_KEY = ("UDAPI100011", "Invalid Instrument key")
STATIC_IP = ("UDAPI1154", "The request did not come from a static IP that is registered with the app")
OMS = "UDAPI100500"

_REFUSALS = {Why.INPUT: OMS, Why.ORDER: OMS, Why.MARGIN: OMS, Why.HOLDING: OMS, Why.HALTED: "UDAPI100057"}


class ApiError(Exception):
    """A refusal that ends the request; `str()` is the broker's text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def bad(code: str, message: str) -> ApiError:
    return ApiError(400, code, message)


def bad_token() -> ApiError:
    return ApiError(401, *BAD_TOKEN)


def too_many() -> ApiError:
    return ApiError(429, *TOO_MANY)


def refused(error: OrderRefused) -> ApiError:
    """The broker's envelope for what the exchange refused at the door."""
    return bad(_REFUSALS[error.why], str(error))


def error_row(code: str, message: str) -> dict[str, object]:
    """One error, each field in both spellings."""
    return {
        "errorCode": code,
        "message": message,
        "propertyPath": None,
        "invalidValue": None,
        "error_code": code,
        "property_path": None,
        "invalid_value": None,
    }


def success(data: object, *, latency: bool = False) -> Response:
    return Response(200, dump({"status": "success", "data": data, **({"metadata": {"latency": 30}} if latency else {})}))


def failure(error: ApiError) -> Response:
    return Response(error.status, dump({"status": "error", "errors": [error_row(error.code, str(error))]}))
