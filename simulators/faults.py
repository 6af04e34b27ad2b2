"""Faults by script: what shall go wrong, where, when and how often; the same script gives the same faults in every run.

A fault is a mapping with a `fault` (its kind, see KINDS), an optional `match` and its own values. It strikes each time everything in
`match` holds, passes over the first `skip` times, and is spent after `count` strikes (default 1; 0 = never spent):

    - {fault: drop_reply, match: {route: "POST /orders/*", after: "10:00"}, count: 2}
    - {fault: delay, match: {route: "GET /orders", lane: "practice/reads"}, seconds: 8}
    - {fault: drop_socket, match: {after: "11:30"}}

match keys: `route` ("METHOD /path", with * and ?), `lane` (the X-Grant lane of the request or of the socket's handshake), `after` and
`before` (market time, "HH:MM[:SS]" of any day or ISO for one moment), `order` (an order id, or its number in the order of placing,
from 1), `tag`, `symbol` (EXCHANGE:SYMBOL, with * and ?), `side` (BUY or SELL), `status` (of an order update). Where several brokers
stand in front of one exchange, `broker` beside `fault` says whose it is; without it, it is each one's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

REQUEST, STREAM, UPDATE, ORDER, MARKET = "request", "stream", "update", "order", "market"

KINDS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    # kind: (where it strikes, its values with defaults, what it does)
    "drop_request": (REQUEST, {"seconds": 0.0}, "the connection is reset before anything is booked"),
    "drop_reply": (REQUEST, {"seconds": 0.0}, "the request is carried out, then the connection is reset instead of a reply"),
    "delay": (REQUEST, {"seconds": 8.0}, "the request is carried out at once, its reply comes `seconds` of market time later"),
    "rate_limit": (REQUEST, {}, "429 Too many requests; nothing is booked"),
    "server_error": (
        REQUEST,
        {"status": 502, "booked": False},
        "a proxy's HTML error page; `booked` = carried out first",
    ),
    "empty_body": (REQUEST, {"status": 200, "booked": True}, "a JSON reply without content"),
    "broken_json": (REQUEST, {"status": 200, "booked": True}, "a JSON reply that is cut in the middle"),
    "error": (
        REQUEST,
        {"status": 400, "error_type": "OrderException", "message": "", "booked": False},
        "the broker's error envelope with these words; `booked` = carried out all the same",
    ),
    "timed_out": (REQUEST, {"status": 504, "booked": True}, "the OMS text that says neither yes nor no"),
    "ip_not_allowed": (REQUEST, {"ip": "203.0.113.7"}, "403 PermissionException of the static-IP rule on an order route"),
    "no_permission": (REQUEST, {}, "403 PermissionException: the plan lacks this call"),
    "lagging_book": (REQUEST, {"seconds": 5.0}, "orders and trades are answered as they stood `seconds` ago"),
    "relabel": (REQUEST, {"label": "SOMETHING NEW"}, "every order of the answered order book has `label` as its status"),
    "truncated_dump": (REQUEST, {"fraction": 0.5}, "the instrument file ends in the middle of a row"),
    "short_history": (REQUEST, {"candles": 100}, "candles end after so many, without a word"),
    "kill_token": (
        REQUEST,
        {},
        "every access token dies before this request is looked at (without a `route`: at the first moment that matches)",
    ),
    "drop_socket": (STREAM, {"reset": False}, "the socket is closed without a close frame (`reset`: by RST)"),
    "mute_socket": (STREAM, {"seconds": 30.0}, "nothing at all is sent on the socket for `seconds`; what was due is lost"),
    "garbage_frame": (STREAM, {"hex": "00030008ffff"}, "these bytes come as a binary message"),
    "truncated_frame": (STREAM, {}, "a tick message loses its last 7 bytes"),
    "unknown_token": (STREAM, {"token": 999_999_937}, "a well-formed LTP packet of a token nobody knows"),
    "bad_price": (STREAM, {"price": 0.0, "symbol": ""}, "an LTP packet of a subscribed token with an impossible price"),
    "duplicate_update": (UPDATE, {}, "the order message is sent twice"),
    "late_update": (UPDATE, {"seconds": 5.0}, "the order message is held back `seconds`: newer ones overtake it"),
    "drop_update": (UPDATE, {}, "the order message is never sent"),
    "reject": (ORDER, {"message": "RMS:Blocked for testing by fault script"}, "the order gets an id and is then refused by RMS"),
    "partial": (ORDER, {"quantity": 0}, "the order never fills beyond `quantity` units (0: half of it, in whole lots)"),
    "circuit": (MARKET, {"symbol": "", "lock": "upper", "seconds": 600.0}, "`symbol` is locked at its `upper` or `lower` circuit"),
    "halt": (MARKET, {"seconds": 300.0}, "the whole market stands still: no prints, no fills, new orders are refused"),
}

_COMMON = {"fault", "match", "skip", "count"}
_MATCH = {"route", "lane", "after", "before", "order", "tag", "symbol", "side", "status"}


class FaultError(ValueError):
    """A fault script that cannot be meant as it stands; the text names the entry, the value and what would be right."""


@dataclass(slots=True)
class Fault:
    """One entry of a script, with what it has done so far."""

    kind: str
    values: dict[str, Any]
    match: dict[str, Any]
    skip: int = 0
    count: int = 1
    seen: int = 0
    struck: list[str] = field(default_factory=list)  # market times of its strikes, ISO

    @property
    def spent(self) -> bool:
        return self.count > 0 and len(self.struck) >= self.count

    @property
    def place(self) -> str:
        return MARKET if self.kind == "kill_token" and "route" not in self.match else KINDS[self.kind][0]

    def describe(self) -> dict[str, Any]:
        return {
            "fault": self.kind,
            **self.values,
            "match": self.match,
            "skip": self.skip,
            "count": self.count,
            "seen": self.seen,
            "struck": list(self.struck),
        }


class Faults:
    """All faults of one simulator, in the order they were given; every look-up is a pure function of what happened before."""

    def __init__(self, entries: Iterable[Mapping[str, Any]] = ()) -> None:
        self.entries: list[Fault] = []
        self.add(entries)

    def add(self, entries: Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> None:
        """Take one fault or a list of them; raises FaultError and takes none if any is wrong."""
        listed = [entries] if isinstance(entries, Mapping) else list(entries)
        self.entries.extend([_parse(entry, number) for number, entry in enumerate(listed, 1)])

    def describe(self) -> list[dict[str, Any]]:
        return [fault.describe() for fault in self.entries]

    def waiting(self, place: str) -> bool:
        """Whether any fault of `place` may still strike."""
        return any(fault.place == place and not fault.spent for fault in self.entries)

    def strike(self, place: str, now: datetime, facts: Mapping[str, Any]) -> list[Fault]:
        """The faults of `place` that strike now; each is counted as a strike. `facts` holds the words that `match` may ask for."""
        if not self.entries:
            return []
        return [fault for fault in self.entries if fault.place == place and self._strikes(fault, now, facts)]

    def _strikes(self, fault: Fault, now: datetime, facts: Mapping[str, Any]) -> bool:
        if fault.spent or not _matches(fault.match, now, facts):
            return False
        fault.seen += 1
        if fault.seen <= fault.skip:
            return False
        fault.struck.append(now.isoformat())
        return True


def load(path: Path) -> list[dict[str, Any]]:
    """The entries of a YAML or JSON fault script; raises FaultError with the file's name."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FaultError(f"cannot read the fault script {path}: {error.strerror or error}") from error
    if path.suffix == ".json":
        import json

        try:
            entries = json.loads(text)
        except ValueError as error:
            raise FaultError(f"{path}: not JSON ({error})") from error
    else:
        import yaml  # slow to import, and most runs have no script

        try:
            entries = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise FaultError(f"{path}: not YAML ({error})") from error
    entries = [] if entries is None else [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list):
        raise FaultError(f"{path}: a fault script is a list of faults, found {type(entries).__name__}")
    try:
        Faults([_without_broker(one) for one in entries])
    except FaultError as error:
        raise FaultError(f"{path}: {error}") from error
    return entries


def faults_of(broker: str, brokers: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries of a script that are this broker's, where several stand in front of one exchange: those that name it by `broker`, and
    those that name none; raises FaultError for a name that is not among `brokers`."""
    found = []
    for entry in entries:
        named = entry.get("broker") if isinstance(entry, Mapping) else None
        if named is not None and named not in brokers:
            raise FaultError(f"a fault names the broker {named!r}; there is {', '.join(brokers)}")
        if named in (None, broker):
            found.append(_without_broker(entry))
    return found


def _without_broker(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is no mapping stays as it is, to be refused where entries are read."""
    return {name: value for name, value in entry.items() if name != "broker"} if isinstance(entry, Mapping) else entry


def _parse(entry: object, number: int) -> Fault:
    if not isinstance(entry, Mapping):
        raise FaultError(f"fault {number}: expected a mapping with a `fault` key, found {entry!r}")
    kind = str(entry.get("fault"))
    if kind not in KINDS:
        raise FaultError(f"fault {number}: unknown fault {kind!r}; known are: {', '.join(KINDS)}")
    defaults = KINDS[kind][1]
    unknown = set(entry) - _COMMON - set(defaults)
    if unknown:
        raise FaultError(
            f"fault {number} ({kind}): unknown key {sorted(unknown)[0]!r}; it takes: {', '.join([*sorted(_COMMON), *defaults])}"
        )
    match = entry.get("match") or {}
    if not isinstance(match, Mapping) or set(match) - _MATCH:
        raise FaultError(f"fault {number} ({kind}): match takes {', '.join(sorted(_MATCH))}; found {match!r}")
    for word in ("after", "before"):
        if word in match:
            try:
                _moment(match[word])
            except ValueError as error:
                raise FaultError(f'fault {number} ({kind}): match.{word} is "HH:MM[:SS]" or ISO, found {match[word]!r}') from error
    values = {name: entry.get(name, default) for name, default in defaults.items()}
    skip, count = entry.get("skip", 0), entry.get("count", 1)
    if not isinstance(skip, int) or not isinstance(count, int) or skip < 0 or count < 0:
        raise FaultError(f"fault {number} ({kind}): skip and count are whole numbers from 0, found {skip!r} and {count!r}")
    return Fault(kind, values, dict(match), skip, count)


def _matches(match: Mapping[str, Any], now: datetime, facts: Mapping[str, Any]) -> bool:
    for word, wanted in match.items():
        if word == "after":
            if _compare(now, wanted) < 0:
                return False
        elif word == "before":
            if _compare(now, wanted) >= 0:
                return False
        elif word == "order":
            if str(wanted) not in (str(facts.get("order_id")), str(facts.get("order_number"))):
                return False
        elif not fnmatchcase(str(facts.get(word, "")), str(wanted)):
            return False
    return True


def _compare(now: datetime, wanted: object) -> int:
    moment = _moment(wanted)
    present = now.time() if isinstance(moment, time) else now
    return (present > moment) - (present < moment)  # type: ignore[operator]  # both are of one kind


def _moment(value: object) -> time | datetime:
    """A time of day, or an aware moment; YAML reads an unquoted 10:00 as the sexagesimal number 600."""
    if isinstance(value, int):
        hours, minutes = divmod(value, 60) if value < 24 * 60 else divmod(value // 60, 60)
        return time(hours, minutes, 0 if value < 24 * 60 else value % 60)
    text = str(value)
    if len(text) <= 8:
        return time.fromisoformat(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment needs its offset, e.g. 2026-11-20T10:00:00+05:30")
    return moment
