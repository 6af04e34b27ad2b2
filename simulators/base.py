"""What every broker simulator does alike: time, the log of requests, scripted faults around each answer, market faults, order messages.

A broker's simulator says how it answers, what its refusals look like and what its routes mean to a fault's `match`; the rest is here.
"""

import gzip
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from simulators.faults import MARKET, REQUEST, Fault, Faults
from simulators.streams import Streams
from simulators.wire import Connection, Request, Response, dump
from simulators.world import World

LOG_LENGTH = 100_000
STATUS_NAMES = frozenset({"status", "orderstatus", "order_status"})
ID_NAMES = frozenset({"order_id", "orderid", "groww_order_id"})
REFUSALS = frozenset({"rate_limit", "error", "timed_out", "ip_not_allowed", "no_permission"})


class Simulator:
    """A wire.BrokerSimulator without its broker: see there for what the public methods mean."""

    title = ""
    login_path = ""

    def __init__(self, world: World, faults: Faults, streams: Streams) -> None:
        self.world = world
        self.faults = faults
        self.streams = streams
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self._counted = 0
        self._locks: list[tuple[datetime, str]] = []  # circuit locks and halts ("" = halt) with their ends
        world.on_step = self._on_step

    # --- what a broker says ---------------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, now: datetime, lag: timedelta) -> Response:
        """The answer to a request; orders and trades as they stood `lag` ago. Never raises for anything a client may send."""
        raise NotImplementedError

    def _let_in(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        """A handshake: None sets `connection.state` and lets it in, otherwise the refusal."""
        raise NotImplementedError

    def _refusal(self, fault: Fault) -> Response:
        """What a fault of REFUSALS looks like in this broker's words."""
        raise NotImplementedError

    def _facts(self, request: Request) -> dict[str, Any]:
        """What a fault's `match` may ask about a request; more where an order is concerned (order_id, order_number, tag, symbol, side)."""
        return {"route": f"{request.method} {request.path}", "lane": request.lane}

    def _values(self, request: Request) -> dict[str, Any]:
        """What the log keeps of a request's words, secrets masked."""
        return {}

    def _kill_tokens(self) -> None:
        """Every session dies now."""
        raise NotImplementedError

    def _step(self, now: datetime) -> None:
        """At each second of the market: what the broker itself does (triggers, orders that run out)."""

    def _order_number(self, order_id: str) -> int:
        """Its number in the order of placing, from 1; 0 for an order that no client placed."""
        raise NotImplementedError

    # --- the shape of a broker simulator --------------------------------------------------------------------------------------------

    def advance(self, now: datetime) -> None:
        self.world.advance(now)
        self._tell(now)

    def next_event(self, now: datetime, connections: Sequence[Connection]) -> datetime | None:
        return self.streams.next_event(now, connections)

    def next_moment(self, now: datetime) -> datetime | None:
        moments = (self.world.next_second(now), self.world.next_day(), self.world.exchange.next_due())
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def last_moment(self) -> datetime:
        return self.world.last_moment

    def handle(self, request: Request, now: datetime) -> Response:
        self.advance(now)
        struck = self.faults.strike(REQUEST, now, self._facts(request))
        response = self._early(struck)
        if response is None:
            lag = max((float(fault.values["seconds"]) for fault in struck if fault.kind == "lagging_book"), default=0.0)
            response = self._answer(request, now, timedelta(seconds=lag))
            for fault in struck:
                response = self._after(fault, response)
        self._note(request, response, now, struck)
        self._tell(now)
        return response

    def connect(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        self.advance(now)
        struck = self.faults.strike(REQUEST, now, self._facts(request))
        response = self._early(struck)
        if response is None:
            response = self._let_in(request, connection, now)
        if response is None:
            self.streams.add(connection)
        self._note(request, response or Response(101), now, struck)
        return response

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None:
        self.streams.receive(connection, message, now)

    def frames(self, connection: Connection, now: datetime) -> list[bytes | str]:
        return self.streams.frames(connection, now)

    def disconnect(self, connection: Connection) -> None:
        self.streams.disconnect(connection)

    def messages(self) -> Any:
        return self.streams.received()

    def about(self) -> dict[str, Any]:
        """The part of `describe` that is the same for every broker."""
        return {
            "date": self.world.day.isoformat(),
            "now": self.world.now.isoformat(),
            "spacing_s": self.world.market.spacing_s,
            "synthetic": self.world.market.synthetic,
            "days": [day.isoformat() for day in self.world.market.days],
        }

    # --- faults of requests ---------------------------------------------------------------------------------------------------------

    def _early(self, struck: Sequence[Fault]) -> Response | None:
        return next((early for fault in struck if (early := self._before(fault)) is not None), None)

    def _before(self, fault: Fault) -> Response | None:
        """What a fault answers before anything is booked; None = go on."""
        values = fault.values
        if fault.kind == "kill_token":
            self._kill_tokens()
        if fault.kind == "drop_request":
            return Response(0, dropped=True, delay_s=float(values["seconds"]))
        if fault.kind in REFUSALS and not values.get("booked", False):
            return self._refusal(fault)
        if fault.kind in ("server_error", "empty_body", "broken_json") and not values["booked"]:
            return self._after(fault, Response(200, b'{"status":"success","data":null}'))
        return None

    def _after(self, fault: Fault, response: Response) -> Response:
        """What a fault makes of the answer to a request that was carried out."""
        values = fault.values
        match fault.kind:
            case "drop_reply":
                return replace(response, dropped=True, delay_s=response.delay_s + float(values["seconds"]))
            case "delay":
                return replace(response, delay_s=response.delay_s + float(values["seconds"]))
            case "server_error":
                return html(values["status"])
            case "empty_body":
                return Response(values["status"])
            case "broken_json":
                return Response(values["status"], response.body[: len(response.body) // 2])
            case "error" | "timed_out":
                return self._refusal(fault)
            case "relabel":
                return _relabelled(response, str(values["label"]))
            case "truncated_dump":
                body = gzip.decompress(response.body) if "Content-Encoding" in response.headers else response.body
                return Response(200, body[: int(len(body) * float(values["fraction"]))], response.content_type)
            case "short_history":
                return _shortened(response, int(values["candles"]))
        return response

    def _note(self, request: Request, response: Response, now: datetime, struck: Sequence[Fault]) -> None:
        self._counted += 1
        self.requests.append(
            {
                "number": self._counted,
                "at": now.isoformat(),
                "lane": request.lane,
                "method": request.method,
                "path": request.path,
                "values": self._values(request),
                "status": response.status,
                "dropped": response.dropped,
                "faults": [fault.kind for fault in struck],
            }
        )

    # --- time and faults of the market ----------------------------------------------------------------------------------------------

    def _on_step(self, now: datetime) -> None:
        self._step(now)
        for end, key in [lock for lock in self._locks if lock[0] <= now]:
            self._locks.remove((end, key))
            if key:
                self.world.exchange.lock_circuit(key, None)
            else:
                self.world.exchange.halt(False)
        for fault in self.faults.strike(MARKET, now, {}):
            if fault.kind == "kill_token":
                self._kill_tokens()
                continue
            key = fault.values.get("symbol", "")
            self._locks.append((now + timedelta(seconds=float(fault.values["seconds"])), key))
            if fault.kind == "circuit":
                self.world.exchange.lock_circuit(key, fault.values["lock"])
            else:
                self.world.exchange.halt(True)

    def _tell(self, now: datetime) -> None:
        changes = self.world.take_changes()
        if changes:
            self.streams.tell(changes, self._order_number, now)


def _shortened(response: Response, most: int) -> Response:
    """A candle answer with its first rows alone: its `data`, `Success` or `payload`, or the `candles` in it, is the list of them."""
    told = json.loads(response.body)
    name = next(name for name in ("data", "payload", "Success") if name in told)
    holder, name = (told[name], "candles") if isinstance(told.get(name), dict) else (told, name)
    if isinstance(holder.get(name), list):
        holder[name] = holder[name][:most]
    return replace(response, body=dump(told))


def _relabelled(response: Response, label: str) -> Response:
    """An order book whose rows all say `label`, by whichever name the broker tells an order's status."""

    def said(told: Any) -> Any:
        if isinstance(told, dict):
            row = bool(ID_NAMES & told.keys())
            return {name: label if row and name in STATUS_NAMES else said(value) for name, value in told.items()}
        return [said(one) for one in told] if isinstance(told, list) else told

    return replace(response, body=dump(said(json.loads(response.body))))


def html(status: int) -> Response:
    """What a proxy in front of a dead backend says."""
    page = f"<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center><hr><center>nginx</center></body></html>"
    return Response(status, page.encode(), "text/html")
