"""SmartAPI's refusals in its two dialects: the application's envelope (HTTP 200, `status` false) and the gateway's (`success` false)."""

from collections.abc import Mapping

from simulators.wire import Response, dump

THROTTLED = "Access denied because of exceeding access rate"
MESSAGES: Mapping[str, str] = {
    "AG8001": "Invalid Token",
    "AG8002": "Token Expired",
    "AG8003": "Token missing",
    "AG7002": "Access denied: the request did not come from the registered static IP",
    "AB8050": "Invalid Refresh Token",
    "AB8051": "Refresh Token Expired",
    "AB1000": "Invalid Email Or Password",
    "AB1004": "Something Went Wrong, Please Try After Sometime",
    "AB1006": "Client Is Blocked For Trading",
    "AB1007": "AMX Error",
    "AB1008": "Invalid Order Variety",
    "AB1009": "Symbol Not Found",
    "AB1012": "Invalid Product Type",
    "AB1013": "Order not found",
    "AB1016": "Position not found",
    "AB1017": "Position conversion failed",
    "AB1050": "Invalid totp",
    "AB2000": "Error not specified",
    "AB2001": "Internal Error, Please Try After Sometime",
    "AB2002": "ROBO Order Block",
    "AB4008": "ordertag length should be less than 20 characters",
    "AB4018": "Symbol token is empty",
    "AB9001": "Invalid Parameters",
    "AB9013": "Invalid Rule ID",
}
_GATEWAY = frozenset({"AG8001", "AG8002", "AG8003"})


class ApiError(Exception):
    """A refusal that ends the request: the broker's code and, where it differs from the table's, its text."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or MESSAGES[code])
        self.code = code


def success(data: object) -> Response:
    return Response(200, dump({"status": True, "message": "SUCCESS", "errorcode": "", "data": data}))


def failure(code: str, message: str = "", status: int = 200) -> Response:
    """The refusal in the dialect its code belongs to."""
    text = message or MESSAGES.get(code, "Error not specified")
    if code in _GATEWAY:
        return Response(status, dump({"success": False, "message": text, "errorCode": code, "data": ""}))
    return Response(status, dump({"status": False, "message": text, "errorcode": code, "data": None}))


def throttled() -> Response:
    """Too many requests: the gateway answers in plain text."""
    return Response(403, THROTTLED.encode(), "text/plain")
