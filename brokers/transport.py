"""The pooled HTTP session of every broker's client: a small object with the `request` of requests.Session over kept connections.

Each request passes the clock (granted time counts it), the allow-list of a paper account, and the audit, in that order; at the wire it
waits for its departure (utils/departure.py). Nothing is ever sent twice, no redirect is followed, TLS is always verified, and IPv4 is
used because brokers whitelist one address.
"""

import json as json_codec
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from brokers.http_wire import Origin
from brokers.spec import Audit
from core.errors import Rejected
from core.ports import Clock
from utils.departure import NeverSent, mine

_GUARD = 3600.0  # seconds of wall time; under granted time the simulator ends a request that should time out
_FULL_BODY = 65_536  # characters of an order-related reply kept in the audit; downloads are cut to _DOWNLOAD_BODY
_SECONDS = 7.0  # for a call that says nothing of its own
_DOWNLOAD_BODY = 512
_MASKED = re.compile(r'("(?:access_token|public_token|refresh_token|enctoken|request_token|api_secret|checksum)"\s*:\s*")[^"]*(")')
_SECRET_PARAMS = frozenset({"access_token", "request_token", "refresh_token", "checksum", "api_secret", "client_secret", "code"})

Allow = Callable[[str, str], bool]


class ServerFault(Exception):
    """A 5xx: the server failed at an unknown point of its work, whatever its body says."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


class Response:
    """What our clients and Zerodha's SDK read of a reply: status_code, headers (case-insensitive), content, json()."""

    __slots__ = ("content", "headers", "status_code")

    def __init__(self, status_code: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content

    def json(self) -> Any:
        return json_codec.loads(self.content)

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class PooledSession:
    """A requests.Session as far as our clients and Zerodha's SDK use one. Safe to share between threads.

    `allow` (method, path) -> bool is the read allow-list of a session that may not trade; whatever it does not name is refused before
    anything leaves. `downloads` tells by its path which reply is too long to audit in full. `last` is this thread's latest reply.
    """

    def __init__(
        self,
        clock: Clock,
        audit: Audit | None = None,
        *,
        allow: Allow | None = None,
        downloads: Callable[[str], bool] = lambda path: False,
    ) -> None:
        self._clock = clock
        self._audit = audit
        self._allow = allow
        self._downloads = downloads
        self._origins: dict[str, Origin] = {}  # by "scheme://host:port": a broker has two or three
        self._local = threading.local()

    @property
    def last(self) -> Response | None:
        """The latest reply this thread received; None if its latest request ended without one."""
        reply: Response | None = getattr(self._local, "last", None)
        return reply

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **ignored: Any,
    ) -> Response:
        """Send one request and read its whole reply. `verify`, `proxies` and redirects asked for by an SDK are ignored on purpose.

        Raises Rejected (not on the allow-list, nothing sent), ServerFault (5xx), and urllib3's HTTPError for everything in transit.
        """
        self._local.last = None
        parts = urlsplit(url)
        path = parts.path
        if self._allow is not None and not self._allow(method, path):
            raise Rejected(f"this account may only read: {method} {path} is not on its allow-list, nothing was sent; use a live account")
        body, kind = _encode(data, json)
        target = f"{path}?{parts.query}" if parts.query else path
        if params:
            query = urlencode(list(_pairs(params)))
            target = f"{path}?{query}" if query else path
        sent = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "niyam", **kind}
        for name, value in (headers or {}).items():
            sent.pop(name.lower(), None)
            sent[name] = value
        # only the house's edge threads (`ACCOUNT/orders`) take part in granted time; a login from a plain thread does not
        lane = threading.current_thread().name
        call: AbstractContextManager[Mapping[str, str]] = self._clock.call(lane) if "/" in lane else nullcontext({})
        departure, audit, number = mine(), self._audit, 0
        if audit is not None:
            number = audit.request(lane, method, path, _masked(params, data, json))

        over = limit = _GUARD

        def leave() -> None:
            nonlocal over
            if departure is not None and not departure.allowed():
                raise NeverSent("called off before its first byte left")
            over = self._clock.monotonic() + limit  # from its first byte on, however long it waited for that

        status, text = 0, ""
        try:
            with call as grant:
                limit = _GUARD if grant else (timeout or _SECONDS)
                left = None if grant or self._downloads(path) else lambda: over - self._clock.monotonic()
                came = self._origin(parts).exchange(method, target, {**sent, **grant}, body, limit, before=leave, left=left)
            reply = Response(*came)
            status, text = reply.status_code, _audited(reply, self._downloads(path))
            self._local.last = reply
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            raise
        finally:
            if audit is not None:
                audit.reply(number, status, text)
        if reply.status_code >= 500:
            raise ServerFault(reply.status_code, reply.text[:200])
        return reply

    def close(self) -> None:
        for origin in self._origins.values():
            origin.close()

    def _origin(self, parts: SplitResult) -> Origin:
        key = f"{parts.scheme}://{parts.netloc}"
        if key not in self._origins:
            self._origins[key] = Origin(parts.scheme, parts.hostname or "", parts.port)
        return self._origins[key]


def compact(json: Any) -> str:
    """The text that goes out for a JSON body, for brokers who want it signed."""
    return json_codec.dumps(json, separators=(",", ":"))


def _encode(data: Mapping[str, Any] | None, json: Any) -> tuple[bytes | None, dict[str, str]]:
    if json is not None:
        return compact(json).encode(), {"content-type": "application/json"}
    if data is not None:
        return urlencode(list(_pairs(data))).encode(), {"content-type": "application/x-www-form-urlencoded"}
    return None, {}


def _pairs(params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Form pairs as requests makes them: lists repeat their key, None is left out."""
    for key, value in params.items():
        values = value if isinstance(value, list | tuple) else (value,)
        yield from ((key, one) for one in values if one is not None)


def _masked(params: Mapping[str, Any] | None, data: Mapping[str, Any] | None, json: Any) -> dict[str, Any]:
    both = {**(params or {}), **(data or {})}
    shown = {key: "***" if key in _SECRET_PARAMS else value for key, value in both.items()}
    return {**shown, "json": json} if json is not None else shown


def _audited(reply: Response, download: bool) -> str:
    limit = _DOWNLOAD_BODY if download else _FULL_BODY
    text = _MASKED.sub(r"\1***\2", reply.content[: 4 * limit].decode("utf-8", "replace"))
    return text if len(text) <= limit else f"{text[:limit]}… ({len(reply.content)} bytes)"
