"""Breeze's envelope: Success, Status and Error in one object, whatever became of the request; the rate limits in their two HTTP dresses."""

from simulators.wire import Response, dump

INVALID_SESSION, EXPIRED_SESSION, NO_APP = "Invalid session.", "Resource not available.", "Public Key does not exist."
BAD_CHECKSUM, SKEWED = "Invalid checksum.", "Invalid timestamp."
PER_MINUTE = "Limit exceed: API call per minute:Try after some time"
PER_DAY = "Limit exceed: API call per day: "
BAD_IP = "Request is not allowed from this IP address. Kindly register your static IP."


class ApiError(Exception):
    """A refusal that ends the request; `str()` is the broker's text, `status` what the envelope says, `http` what the reply says."""

    def __init__(self, message: str, status: int = 500, *, http: int = 200) -> None:
        super().__init__(message)
        self.status = status
        self.http = http


def bad_session(text: str = INVALID_SESSION) -> ApiError:
    return ApiError(text, 401, http=401)


def success(data: object) -> Response:
    return Response(200, dump({"Success": data, "Status": 200, "Error": None}))


def failure(error: ApiError) -> Response:
    return Response(error.http, dump({"Success": None, "Status": error.status, "Error": str(error)}))


def throttled(text: str, *, unauthorized: bool = False) -> Response:
    """Status 5; `unauthorized`: under HTTP 401, which looks like a dead session."""
    return Response(401 if unauthorized else 200, dump({"Success": None, "Status": 5, "Error": text}))
