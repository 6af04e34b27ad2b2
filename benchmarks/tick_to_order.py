"""From a frame on the stream to the first byte of its order request, over loopback without TLS, against the official path.

This process is the broker: it stamps the moment before a frame of ten full-mode packets leaves and the moment the first byte of an order
request arrives. Ours is a whole house (Stream, Inbox, Engine with the shipped risk limits, ledger with synchronous=FULL, audit,
BrokerWorker, ZerodhaBroker); the official path is KiteTicker's callback calling kite.place_order. Both decide by one EMA step, both run
all the time, frames go to them in turn.
"""

import base64
import hashlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

from benchmarks.house import MORNING, MorningClock
from benchmarks.kite_frames import frame, packet, token_of
from benchmarks.rounds import Line
from benchmarks.starts import ROOT

PACKETS = 10
SPACING_S = 0.16  # between frames of the two sides: each side stays below the shipped 200 orders a minute
ORDERS = 100
WARM_UP = 10
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _Wire:
    """One accepted connection and what has come of the present request."""

    def __init__(self, wire: socket.socket, side: str) -> None:
        self.wire = wire
        self.side = side
        self.data = b""


class Broker:
    """Both ends of one side's broker on loopback: the stream it ticks on, and the REST server its orders reach."""

    def __init__(self, side: str, clock: MorningClock, selector: selectors.DefaultSelector) -> None:
        self.side = side
        self.clock = clock
        self._selector = selector
        self.stream: socket.socket | None = None
        self.subscribed = False
        self.order_at: float | None = None  # when the first byte of an order request was seen
        self.orders: list[dict[str, str]] = []
        self._listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in ("stream", "rest")}
        for name, listener in self._listeners.items():
            selector.register(listener, selectors.EVENT_READ, (self._accept, name))

    def port(self, name: str) -> int:
        return int(self._listeners[name].getsockname()[1])

    def tick(self, number: int) -> float:
        """Send one frame; returns the moment before it left."""
        epoch = int(self.clock.now().timestamp())
        made = [packet(token_of(one), 100_000 + 5 * (number % 40) + 100 * one, epoch, 1_000 + number) for one in range(PACKETS)]
        message = frame(made)
        assert self.stream is not None
        self.order_at = None
        began = perf_counter()
        self.stream.sendall(b"\x82\x7e" + len(message).to_bytes(2, "big") + message)
        return began

    def told_filled(self) -> None:
        """The order update of the last order, as the stream brings it: complete."""
        text = json.dumps({"type": "order", "data": self._row(len(self.orders))}).encode()
        assert self.stream is not None
        self.stream.sendall(b"\x81\x7e" + len(text).to_bytes(2, "big") + text)

    def _row(self, number: int) -> dict[str, Any]:
        """The order book's row of the n-th order: every order is filled at its limit."""
        sent, now = self.orders[number - 1], f"{self.clock.now():%Y-%m-%d %H:%M:%S}"
        return {**sent, "order_id": str(number), "status": "COMPLETE", "quantity": int(sent["quantity"]),
                "filled_quantity": int(sent["quantity"]), "average_price": float(sent["price"]), "price": float(sent["price"]),
                "exchange_update_timestamp": now, "exchange_timestamp": now}  # fmt: skip

    def _books(self, path: str) -> Any:
        """What a read of the books shows (the trade book lags for ever: rows tell their fills)."""
        if path == "/orders":
            return [self._row(number) for number in range(1, len(self.orders) + 1)]
        if path == "/portfolio/positions" and self.orders:
            first = self.orders[0]
            held = {"tradingsymbol": first["tradingsymbol"], "exchange": first["exchange"], "product": first["product"],
                    "quantity": len(self.orders), "average_price": float(first["price"]), "last_price": float(first["price"])}  # fmt: skip
            return {"net": [held], "day": []}
        return {"net": [], "day": []} if path == "/portfolio/positions" else []

    def close(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        if self.stream is not None:
            self.stream.close()

    def _accept(self, name: str, listener: socket.socket) -> None:
        wire, _ = listener.accept()
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held = _Wire(wire, self.side)
        self._selector.register(wire, selectors.EVENT_READ, (self._on_stream if name == "stream" else self._on_rest, held))

    def _on_stream(self, held: _Wire, wire: socket.socket) -> None:
        data = wire.recv(65_536)
        if not data:
            self._forget(wire)
            return
        if self.stream is wire:
            self.subscribed = True  # a masked text; what it says is fixed here
            return
        held.data += data
        if b"\r\n\r\n" not in held.data:
            return
        fields = dict(line.split(": ", 1) for line in held.data.decode().split("\r\n")[1:] if ": " in line)
        key = next(value for name, value in fields.items() if name.lower() == "sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()
        head = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}", "", "")
        wire.sendall("\r\n".join(head).encode())
        self.stream = wire

    def _on_rest(self, held: _Wire, wire: socket.socket) -> None:
        data = wire.recv(65_536)
        arrived = perf_counter()
        if not data:
            self._forget(wire)
            return
        if not held.data and data.startswith(b"POST /orders/regular"):
            self.order_at = arrived
        held.data += data
        head, separator, body = held.data.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next((int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")), 0)
        if len(body) < length:
            return
        held.data = b""
        if head.startswith(b"POST /orders/regular"):
            self.orders.append({name: values[0] for name, values in parse_qs(body.decode()).items()})
            self._answer(wire, "200 OK", {"status": "success", "data": {"order_id": str(len(self.orders))}})
        else:
            path = head.split(b" ", 2)[1].decode().partition("?")[0]
            self._answer(wire, "200 OK", {"status": "success", "data": self._books(path)})

    @staticmethod
    def _answer(wire: socket.socket, status: str, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        wire.sendall(head.encode() + body)

    def _forget(self, wire: socket.socket) -> None:
        self._selector.unregister(wire)
        wire.close()


class _Fair:
    """Both brokers on one selector, and the two client processes."""

    def __init__(self, folder: Path) -> None:
        self._selector = selectors.DefaultSelector()
        self.clock = MorningClock(MORNING)
        self.brokers = {side: Broker(side, self.clock, self._selector) for side in ("ours", "official")}
        self._clients = []
        for side, broker in self.brokers.items():
            stream, rest = broker.port("stream"), broker.port("rest")
            arguments = [sys.executable, "-m", f"benchmarks.{side}_client", str(stream), str(rest), str(folder / side)]
            self._clients.append(subprocess.Popen([*arguments, self.clock.now().isoformat()], cwd=ROOT))

    def serve(self, seconds: float, until: Any = lambda: False) -> None:
        """Serve both brokers for so long, or until that is so."""
        end = perf_counter() + seconds
        while (left := end - perf_counter()) > 0 and not until():
            for key, _ in self._selector.select(left):
                handle, held = key.data
                handle(held, key.fileobj)

    def close(self) -> None:
        for client in self._clients:
            client.terminate()
        for client in self._clients:
            client.wait(20)
        for broker in self.brokers.values():
            broker.close()


def measure(rounds: int) -> list[Line]:
    """Microseconds at the median and, ungated, at the 99th percentile."""
    taken: dict[str, list[float]] = {"ours": [], "official": [], "disk": []}
    with tempfile.TemporaryDirectory() as name:
        fair = _Fair(Path(name))
        try:
            fair.serve(30.0, lambda: all(broker.subscribed for broker in fair.brokers.values()))
            assert all(broker.subscribed for broker in fair.brokers.values()), "a client did not subscribe within 30 s"
            fair.serve(1.0)
            for number in range(WARM_UP + ORDERS):
                for side, broker in fair.brokers.items():
                    began = broker.tick(number)
                    fair.serve(5.0, lambda broker=broker, number=number: len(broker.orders) > number)
                    assert broker.order_at is not None, f"{side}: frame {number} brought no order within 5 s"
                    if number >= WARM_UP:
                        taken[side].append((broker.order_at - began) * 1e6)
                    broker.told_filled()
                    fair.serve(SPACING_S)
                taken["disk"].append(_durable_append(Path(name) / "append.log"))
        finally:
            fair.close()
        _same_orders(fair)
        intents = _committed(Path(name) / "ours")
        assert intents == WARM_UP + ORDERS, f"{intents} intents are in the ledger for {WARM_UP + ORDERS} orders"
    p99 = {side: quantiles(values, n=100)[98] for side, values in taken.items()}
    ours, official, disk = median(taken["ours"]), median(taken["official"]), median(taken["disk"])
    note = (
        f"{ORDERS} orders a side in turn; the intent (WAL FULL) is on disk before ours leaves, at {disk:.0f} us for a bare append + "
        f"fdatasync meanwhile: no engine that writes the intent first can be faster; p99 {p99['ours']:.0f} and {p99['official']:.0f} us"
    )
    return [
        Line("tick to order, p50", "us", ours, official, "KiteTicker + place_order", ours / official, 0.5, False, note=note),
        Line("… less one bare append", "us", ours - disk, official, "KiteTicker + place_order", (ours - disk) / official, None, False),
    ]


def _durable_append(path: Path) -> float:
    """Microseconds of one bare append + fdatasync, for the reader to set beside the wait for the disk that our side has inside."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        began = perf_counter()
        os.write(log, b"x" * 199 + b"\n")
        os.fdatasync(log)
        return (perf_counter() - began) * 1e6
    finally:
        os.close(log)


def _same_orders(fair: _Fair) -> None:
    """Both sides asked for the same: as many orders, one unit each, of the same instrument and side."""
    facts = {
        side: [(one["tradingsymbol"], one["transaction_type"], one["quantity"], one["order_type"]) for one in broker.orders]
        for side, broker in fair.brokers.items()
    }
    assert facts["ours"] == facts["official"], "the two sides did not send the same orders"


def _committed(folder: Path) -> int:
    from storage.store import open_reader

    reader = open_reader(f"sqlite:///{folder / 'ledger.sqlite'}")
    try:
        return len(reader.read_journal(kind="intent"))
    finally:
        reader.close()
