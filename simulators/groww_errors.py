"""Groww's envelopes: a payload for a success, a code of its short table with a message for a failure."""

from simulators.orders import OrderRefused, Why
from simulators.wire import Response, dump

INTERNAL, BAD, BUSY, MISSING, FORBIDDEN, CANNOT, DUPLICATE = "GA000", "GA001", "GA003", "GA004", "GA005", "GA006", "GA007"

_REFUSALS = {Why.INPUT: BAD, Why.ORDER: CANNOT, Why.MARGIN: CANNOT, Why.HOLDING: CANNOT, Why.HALTED: CANNOT}


class ApiError(Exception):
    """A refusal that ends the request; `str()` is the broker's text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def bad(message: str) -> ApiError:
    return ApiError(400, BAD, message)


def missing(message: str) -> ApiError:
    return ApiError(404, MISSING, message)


def bad_token() -> ApiError:
    return ApiError(401, FORBIDDEN, "User not authorised to perform this operation: the access token is invalid or has expired")


def too_many() -> Response:
    """A refusal for rate; its body has no code."""
    return Response(429, dump({"message": "Rate limit exceeded"}))


def refused(error: OrderRefused) -> ApiError:
    """The envelope for what the exchange refused at the door."""
    return ApiError(400, _REFUSALS[error.why], str(error))


def success(payload: object) -> Response:
    return Response(200, dump({"status": "SUCCESS", "payload": payload}))


def failure(error: ApiError) -> Response:
    return Response(error.status, dump({"status": "FAILURE", "error": {"code": error.code, "message": str(error), "metadata": None}}))
