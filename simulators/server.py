"""The socket shell of a broker simulator: one process and one loop for REST, login page, stream, admin routes and the grants channel.

With `beside` further brokers have their wires in the same process, in front of the same exchange: an address each for REST, login page
and stream, one admin address and one grants channel for all. Everything listens on loopback. With `granted` time moves only by grants
to an attached client (simulators/grants.py); without it time runs by itself at `speed`, or, at speed 0, stands still until it is moved
(`Server.move`, POST /move). Clients that are not attached are answered at once.
"""

import argparse
import asyncio
import gc
import importlib
import json
import math
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from simulators.beside import OneMarket, SideBySide
from simulators.exchange import Exchange
from simulators.facts import Facts
from simulators.faults import FaultError, Faults, faults_of, load
from simulators.grants import Finish, Grants
from simulators.listing import Market
from simulators.market import SyntheticMarket
from simulators.sockets import GrantLink, StreamWire, hang_up
from simulators.wire import BrokerSimulator, Connection, Request, Response
from simulators.world import IST, World

HEADER = "X-Grant"
SIMULATORS = {name: f"simulators.{name}" for name in ("angelone", "groww", "icici", "upstox", "zerodha")}
"""Broker -> the module whose `build(world, faults, seed, redirect_url)` makes its simulator; imported when it is asked for."""
DEFAULT_DATE = date(2026, 11, 20)
DEFAULT_START = time(9, 15)
KEEP_ALIVE_S = 24 * 3600.0  # a client that stands still in granted time must find its connection alive
LONGEST_URL = 1 << 17  # a thousand instruments in one query
STEP_S = 0.1  # real seconds between two looks at a free-running clock


@dataclass(frozen=True, slots=True)
class Options:
    """What `simulate` was asked for. `data` is a folder normalised by data_ingestion/prepare.py.

    `speed` is market seconds per real second; None = as fast as it goes, 0 = time moves by hand. `port` is the first broker's.
    """

    broker: str = "zerodha"
    beside: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 0
    speed: float | None = 1.0
    data: Path | None = None
    seed: int = 1
    faults: Path | None = None
    date: "date | None" = None
    start: time = DEFAULT_START
    granted: bool = False
    json: bool = False
    redirect_url: str = "http://127.0.0.1:5000/"
    facts: Path | None = None

    @classmethod
    def of(cls, given: Any) -> "Options":
        """From a parsed command line; what it lacks or leaves None keeps its default, an infinite speed means as fast as it goes."""
        told = {one.name: value for one in fields(cls) if (value := getattr(given, one.name, None)) is not None}
        told["beside"] = tuple(told.get("beside", ()))
        for name in ("data", "faults", "facts"):
            if name in told:
                told[name] = Path(told[name])
        if getattr(given, "config", None) is not None and (Path(given.config) / "market").is_dir():
            told.setdefault("facts", Path(given.config) / "market")
        if math.isinf(told.get("speed", 0.0)):
            told["speed"] = None
        return cls(**told)


def run(given: Any) -> int:
    """Serve until SIGTERM, SIGINT or POST /shutdown; 0 done, 2 asked for something that cannot be served.

    `given` is an Options or a parsed command line with some of its names.
    """
    options = given if isinstance(given, Options) else Options.of(given)
    try:
        server = Server(options)
    except (FaultError, ValueError, OSError) as error:
        sys.stderr.write(f"simulate {options.broker}: {error}\n")
        return 2
    return asyncio.run(server.serve())


def build(options: Options) -> tuple[BrokerSimulator, datetime]:
    """The simulator of the first broker of these options and the moment its clock starts at."""
    simulators, start = build_all(options)
    return simulators[options.broker], start


def build_all(options: Options) -> tuple[dict[str, BrokerSimulator], datetime]:
    """The simulators of all brokers of these options, on one market, and the moment their clock starts at."""
    brokers = (options.broker, *options.beside)
    for broker in brokers:
        if broker not in SIMULATORS:
            raise ValueError(f"no simulator for {broker!r}; there is one for: {', '.join(SIMULATORS)}")
    if len(set(brokers)) < len(brokers):
        raise ValueError(f"each broker has one wire: {', '.join(brokers)} names one twice")
    facts = Facts.load(options.facts)
    market: Market
    if options.data is not None:
        from simulators.recorded import RecordedMarket  # pyarrow is slow to import, and only recorded days need it

        market = RecordedMarket(options.data, facts)
        told = json.loads((options.data / "manifest.json").read_text(encoding="utf-8"))
        first = date.fromisoformat(told.get("first_full_session", market.days[0].isoformat()))
        day = options.date if options.date is not None and options.date in market.days else first
    else:
        day = options.date or DEFAULT_DATE
        market = SyntheticMarket(options.seed, day, facts)
    start = datetime.combine(day, options.start, IST)
    market = OneMarket(market) if options.beside else market
    script = load(options.faults) if options.faults is not None else []
    return {broker: _simulator(broker, options, facts, market, start, faults_of(broker, brokers, script)) for broker in brokers}, start


def _simulator(
    broker: str, options: Options, facts: Facts, market: Market, start: datetime, faults: Sequence[Mapping[str, Any]]
) -> BrokerSimulator:
    world = World(market, Exchange(market, facts, options.seed, broker), start)
    made: BrokerSimulator = importlib.import_module(SIMULATORS[broker]).build(world, Faults(faults), options.seed, options.redirect_url)
    return made


class Server:
    """The sockets around one simulator, or around several in front of one exchange: `simulator` is the first."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.simulators, self._start = build_all(options)
        self.simulator = self.simulators[options.broker]
        self._beside = SideBySide(self.simulators) if options.beside else None
        self._moved = self._beside or self.simulator
        self._stopped = asyncio.Event()
        self._free: dict[str, tuple[Connection, StreamWire, BrokerSimulator]] = {}
        self._opened = 0
        self._addresses: dict[str, dict[str, str]] = {}
        self._channels: dict[str, str] = {}
        self._grants: Grants
        self._free_now = self._start
        self._listening: list[asyncio.Server] = []
        self._served: list[web.Server] = []
        self._running: asyncio.Task[None] | None = None

    @property
    def now(self) -> datetime:
        return self._grants.now if self.options.granted else self._free_now

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError, ValueError, RuntimeError):
                loop.add_signal_handler(number, self._stopped.set)
        await self.start()
        self._announce()
        gc.collect()
        gc.freeze()  # the day's prices live as long as the process: no collection need look at them
        await self._stopped.wait()
        await self.close()
        return 0

    async def start(self) -> None:
        """Listen, and let time run if it runs by itself."""
        loop, serving = asyncio.get_running_loop(), self.options
        self._grants = Grants(
            self._moved,
            seed=serving.seed,
            start=self._start,
            speed=serving.speed or None,
            wall=loop.time,
            later=loop.call_later,
            on_move=self._push,
        )
        spacing_s = self.simulator.world.market.spacing_s
        for name, simulator in self.simulators.items():
            answering = partial(self._on_request, simulator)
            on_request = web.Server(answering, access_log=None, keepalive_timeout=KEEP_ALIVE_S, max_line_size=LONGEST_URL)
            listening = await loop.create_server(on_request, serving.host, serving.port if name == serving.broker else 0)
            self._listening.append(listening)
            self._served.append(on_request)
            rest = self._address(listening)
            self._addresses[name] = {
                "rest": f"http://{rest}",
                "stream": f"ws://{rest}",
                "login": f"http://{rest}{simulator.login_path}",
            }
        on_admin = web.Server(self._on_admin, access_log=None)
        admin = await loop.create_server(on_admin, serving.host, 0)
        grants = await loop.create_server(lambda: GrantLink(self._grants, spacing_s, granted=serving.granted), serving.host, 0)
        self._listening += [admin, grants]
        self._served.append(on_admin)
        self._channels = {"admin": f"http://{self._address(admin)}"}
        if serving.granted:
            self._channels["grants"] = self._address(grants)
        elif serving.speed != 0:
            self._running = asyncio.create_task(self._run_free(loop))

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._running is not None:
            self._running.cancel()
        for server in self._listening:
            server.close()
        for _, wire, _ in list(self._free.values()):
            wire.close(reset=False)
        for served in self._served:
            await served.shutdown(0.1)

    def move(self, seconds: float) -> None:
        """Let market time pass, where it moves by hand: everything up to that moment happens, what is due on the streams is sent."""
        if self.options.speed != 0 or self.options.granted:
            raise ValueError("this simulator's time moves by itself or by grants; start it with --speed 0 to move it by hand")
        if seconds < 0:
            raise ValueError(f"time never goes back, asked to move by {seconds:g} s")
        self._to(self._free_now + timedelta(seconds=seconds))

    def _to(self, now: datetime) -> None:
        self._free_now = now
        self._moved.advance(now)
        self._push(now)

    def _address(self, server: asyncio.Server) -> str:
        host, port = server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def _announce(self) -> None:
        about = self.describe()
        if self.options.json:
            sys.stdout.write(json.dumps(about) + "\n")
        else:
            market = "invented (SYNTHETIC) prices" if about["synthetic"] else "recorded prices"
            lines = []
            for name, one in self.simulators.items():
                told = {**self._addresses[name], **one.describe()}
                keys = "  ".join(f"{key} {value}" for key, value in told["credentials"].items())
                lines += [f"{one.title} simulator, {told['date']}, {market}"]
                lines += [f"{key:8}{told[key]}" for key in ("rest", "stream", "login")]
                lines += [f"app     {keys}"]
            lines += [f"{key:8}{address}" for key, address in self._channels.items()]
            lines += [*_how_to_use(about), "stop with Ctrl-C"]
            sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    def describe(self) -> dict[str, Any]:
        """The JSON of `GET /` on the admin address: the first broker's own, and under `brokers` what is each one's."""
        return {
            **self._addresses[self.options.broker],
            **self._channels,
            **self.simulator.describe(),
            "now": self.now.isoformat(),
            "speed": self.options.speed,
            "attached": self._grants.attached is not None,
            "brokers": {
                name: {**self._addresses[name], "credentials": one.describe()["credentials"]} for name, one in self.simulators.items()
            },
        }

    # --- REST and login -----------------------------------------------------------------------------------------------------------

    async def _on_request(self, simulator: BrokerSimulator, raw: web.BaseRequest) -> web.StreamResponse:
        grant = raw.headers.get(HEADER, "")
        granted = bool(grant) and self._grants.counts(grant)
        request = Request(
            raw.method,
            raw.path,
            raw.rel_url.raw_query_string,
            {name.lower(): value for name, value in raw.headers.items()},
            await raw.read() if raw.can_read_body else b"",
            grant.rpartition("/")[0] if granted else "",
        )
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._on_stream(simulator, raw, request, grant if granted else "")
        if granted:
            answer: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
            self._grants.request(grant, lambda now: simulator.handle(request, now), _resolve(answer))
            response = await answer
            assert response is not None
        else:
            response = simulator.handle(request, self.now)
            await self._wait(response.delay_s)
        return _answer(raw, response, self.now)

    async def _wait(self, seconds: float) -> None:
        """Market time for a client that is not attached; in granted time it stands still, so nobody waits."""
        if seconds > 0 and not self.options.granted and self.options.speed:
            await asyncio.sleep(seconds / self.options.speed)

    # --- the stream ---------------------------------------------------------------------------------------------------------------

    async def _on_stream(self, simulator: BrokerSimulator, raw: web.BaseRequest, request: Request, grant: str) -> web.StreamResponse:
        self._opened += 1
        connection = Connection(grant or f"free/{self._opened}", request.lane)
        if self._beside is not None:
            self._beside.belongs(connection, simulator)
        if grant:
            answer: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
            wire = StreamWire(raw)

            def finish(refusal: Response | None) -> None:
                if refusal is None:
                    self._grants.opened(connection, wire)
                _resolve(answer)(refusal)

            self._grants.request(grant, lambda now: simulator.connect(request, connection, now), finish)
            refusal = await answer
        else:
            refusal = simulator.connect(request, connection, self.now)
            wire = StreamWire(raw)
        if refusal is not None:
            return _answer(raw, refusal, self.now)
        socket_ = web.WebSocketResponse(autoping=False, autoclose=False, compress=False, max_msg_size=1 << 20)
        await socket_.prepare(raw)
        wire.open()
        if not grant:
            self._free[connection.id] = (connection, wire, simulator)
            self._push_one(connection)  # a greeting needs no time
        try:
            await self._read(socket_, connection, grant, simulator)
        finally:
            self._free.pop(connection.id, None)
            if grant:
                self._grants.received(connection, None)
            else:
                simulator.disconnect(connection)
        return socket_

    async def _read(self, socket_: web.WebSocketResponse, connection: Connection, grant: str, simulator: BrokerSimulator) -> None:
        """Take what the client sends until either side closes."""
        while True:
            message = await socket_.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                if message.type is WSMsgType.CLOSE:
                    with suppress(ConnectionError, RuntimeError):
                        await socket_.close()
                return
            if message.type is WSMsgType.PING:
                await socket_.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                if grant:
                    self._grants.received(connection, message.data)
                elif not connection.ended:
                    simulator.receive(connection, message.data, self.now)
                    self._push_one(connection)

    def _push(self, now: datetime) -> None:
        """Frames for the connections that are not attached."""
        for connection, _, _ in list(self._free.values()):
            self._push_one(connection)

    def _push_one(self, connection: Connection) -> None:
        if connection.id not in self._free:
            return
        _, wire, simulator = self._free[connection.id]
        frames = simulator.frames(connection, self.now)
        if frames:
            wire.send(frames)
        if connection.ended:
            del self._free[connection.id]
            simulator.disconnect(connection)
            wire.close(reset=connection.reset)

    # --- a clock that runs by itself ----------------------------------------------------------------------------------------------

    async def _run_free(self, loop: asyncio.AbstractEventLoop) -> None:
        began, speed = loop.time(), self.options.speed
        while True:
            if speed is not None:
                await asyncio.sleep(STEP_S)
                now = self._start + timedelta(seconds=(loop.time() - began) * speed)
            else:
                await asyncio.sleep(0)
                following = self._moved.next_moment(self._free_now)
                if following is None:
                    return
                now = following
            self._to(now)

    # --- admin --------------------------------------------------------------------------------------------------------------------

    async def _on_admin(self, raw: web.BaseRequest) -> web.StreamResponse:
        body = await raw.read() if raw.can_read_body else b""
        broker = raw.query.get("broker", self.options.broker)
        if broker not in self.simulators:
            return _json({"error": f"no broker {broker!r} here; there is {', '.join(self.simulators)}"}, 404)
        named = self.simulators[broker]  # GET /accounts?broker=angelone; without it the first
        routes: dict[str, Callable[[bytes], Any]] = {
            "GET /": lambda _: self.describe(),
            "GET /faults": lambda _: self._faults(),
            "POST /faults": self._add_faults,
            "DELETE /faults": self._clear_faults,
            "GET /accounts": lambda _: named.accounts(),
            "GET /requests": lambda _: list(named.requests),
            "GET /messages": lambda _: named.messages(),
            "POST /move": self._move,
            "POST /pace": self._set_pace,
            "POST /redirect": self._redirect,
            "POST /shutdown": self._shutdown,
        }
        route = routes.get(f"{raw.method} {raw.path}")
        if route is None:
            return _json({"error": f"no admin route {raw.method} {raw.path}; there are: {', '.join(routes)}"}, 404)
        try:
            return _json(route(body))
        except (FaultError, ValueError, KeyError, TypeError) as error:
            return _json({"error": str(error)}, 400)

    def _faults(self) -> list[dict[str, Any]]:
        beside = bool(self.options.beside)
        return [{**fault, "broker": name} if beside else fault for name, one in self.simulators.items() for fault in one.faults.describe()]

    def _add_faults(self, body: bytes) -> Any:
        told = json.loads(body)
        for name, one in self.simulators.items():
            one.faults.add(faults_of(name, tuple(self.simulators), [told] if isinstance(told, Mapping) else told))
        return self._faults()

    def _clear_faults(self, body: bytes) -> Any:
        for one in self.simulators.values():
            one.faults.entries.clear()
        return []

    def _move(self, body: bytes) -> Any:
        self.move(float(json.loads(body)["seconds"]))
        return {"now": self.now.isoformat()}

    def _set_pace(self, body: bytes) -> Any:
        if not self.options.granted:
            raise ValueError("a pace is for granted time; this simulator's time moves by itself or by hand")
        until = json.loads(body)["until"]
        self._grants.pace(None if until is None else datetime.fromisoformat(until).astimezone(IST))
        return {"now": self.now.isoformat()}

    def _redirect(self, body: bytes) -> Any:
        for one in self.simulators.values():
            one.redirect_to(str(json.loads(body)["url"]))
        return self.describe()

    def _shutdown(self, body: bytes) -> Any:
        asyncio.get_running_loop().call_soon(self._stopped.set)
        return {"stopped": True}


def _how_to_use(about: Mapping[str, Any]) -> list[str]:
    """How our own commands and scripts are sent here."""
    if "grants" in about:
        return [f"use it  .venv/bin/python main.py run --simulator {about['admin']}"]
    return [
        f"use it  NIYAM_SIMULATOR={about['admin']} .venv/bin/python main.py login {about['broker']}   (also check, fetch, bare scripts)"
    ]


def _resolve(answer: "asyncio.Future[Response | None]") -> Finish:
    def finish(response: Response | None) -> None:
        if not answer.done():
            answer.set_result(response)

    return finish


def _answer(raw: web.BaseRequest, response: Response, now: datetime) -> web.StreamResponse:
    if response.dropped:
        hang_up(raw.transport, reset=True)
        return web.Response(status=500)  # goes nowhere: the connection is gone
    headers = {"Content-Type": response.content_type, "Date": format_datetime(now.astimezone(UTC), usegmt=True), "Server": "simulator"}
    return web.Response(status=response.status, body=response.body, headers={**headers, **response.headers})


def _json(value: object, status: int = 200) -> web.StreamResponse:
    return web.Response(status=status, body=json.dumps(value).encode(), content_type="application/json")


def main(arguments: list[str] | None = None) -> int:
    """The simulator without the rest of the command line: `python -m simulators.server --granted --json`."""
    parser = argparse.ArgumentParser(prog="simulators.server", description="A stand-alone wire simulator of a broker.")
    parser.add_argument("broker", nargs="?", default="zerodha")
    parser.add_argument("--beside", action="append", default=[])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--speed", default="1", help="market seconds per real second, max, or 0: by hand")
    parser.add_argument("--data", type=Path, help="a folder normalised by data_ingestion/prepare.py")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--date", type=date.fromisoformat)
    parser.add_argument("--start", type=time.fromisoformat, default=DEFAULT_START)
    parser.add_argument("--granted", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    given.speed = math.inf if given.speed == "max" else float(given.speed)
    return run(given)


if __name__ == "__main__":
    sys.exit(main())
