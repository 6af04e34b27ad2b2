"""Kite's refusals: the error envelope (Kite Connect v3, Exceptions and errors) and which HTTP status goes with which sort."""

from simulators.orders import OrderRefused, Why
from simulators.wire import Response, dump

BAD_TOKEN = "Incorrect `api_key` or `access_token`."  # noqa: S105 - a text, not a secret
NO_PERMISSION = "Insufficient permission for that call."
TIMED_OUT = "Order request timed out. Please check the order book and confirm before placing again."
NO_SUCH_ORDER = "Couldn't find that `order_id`."

_REFUSALS = {
    Why.INPUT: (400, "InputException"),
    Why.ORDER: (400, "OrderException"),
    Why.MARGIN: (400, "MarginException"),
    Why.HOLDING: (428, "HoldingException"),
    Why.HALTED: (400, "OrderException"),
}


class ApiError(Exception):
    """A refusal that ends the request; `str()` is the broker's text."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type


def refused(error: OrderRefused) -> ApiError:
    """The broker's envelope for what the exchange refused at the door."""
    status, error_type = _REFUSALS[error.why]
    return ApiError(status, error_type, str(error))


def bad_input(message: str) -> ApiError:
    return ApiError(400, "InputException", message)


def bad_token(message: str = BAD_TOKEN) -> ApiError:
    return ApiError(403, "TokenException", message)


def too_many() -> ApiError:
    return ApiError(429, "NetworkException", "Too many requests")


def success(data: object) -> Response:
    return Response(200, dump({"status": "success", "data": data}))


def failure(status: int, error_type: str, message: str) -> Response:
    return Response(status, dump({"status": "error", "message": message, "data": None, "error_type": error_type}))
