"""The crowd of benchmarks/load.py: open pages as browsers hold them (the page's own socket), and requests of the API, so many a second.

`python -m benchmarks.load_clients ADDRESS PAGES REQUESTS` signs in as the first user and obeys lines on standard input: `go` opens the
pages, begins to ask, and answers `ready` once every page is connected; `stop` ends both and answers one line of JSON; `orders` answers how
many orders the API shows; the end of input ends it.

Every answer is read and judged: what it is made of, and how old it is. `as_of` is the engine's own clock, which runs as ours does: the
answer that lagged least gives the difference of the two, every other one its age beyond that.
"""

import ast
import asyncio
import json
import re
import sys
import uuid
from datetime import datetime
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import aiohttp
import socketio  # type: ignore[import-untyped]  # untyped library

USER, PASSWORD = "load@example.in", "a-password-for-a-measure"
PATHS = (  # what a front end asks for; the field that each row, or the document, has to have
    ("/api/v1/status", "trading_state"),
    ("/api/v1/dashboard/dashboard", "portfolio_overview"),
    ("/api/v1/orders", "broker_order_id"),
    ("/api/v1/positions", "unrealised"),
    ("/api/v1/strategies", "ranges"),
    ("/api/v1/journal?limit=50", "seq"),
    ("/api/v1/signals", "target"),
    ("/api/v1/fills", "charges"),
    ("/api/v1/journal?limit=100&kind=intent", "seq"),
    ("/metrics", ""),
)
SETTLE_S = 0.08  # for each page: its first figures come after its socket, and nobody opens fifty pages at one moment
_QUERY = re.compile(r"query: (\{'client_id'.*?\}),")


class Crowd:
    """Everybody who looks at one web process."""

    def __init__(self, address: str, pages: int, requests: int) -> None:
        self._address = address
        self._pages = pages
        self._requests = requests
        self._sockets: list[socketio.AsyncClient] = []
        self._asking: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self.updates = 0
        self.taken: list[float] = []
        self.failures: list[str] = []
        self.lags: list[float] = []  # seconds of our clock less `as_of`
        self.unanswered = 0  # asked when `stop` came, and not answered yet

    async def sign_in(self, http: aiohttp.ClientSession) -> None:
        """As the first owner, who registers at the first start; the page's cookie and the API's token."""
        given = {"username": USER, "password": PASSWORD}
        await http.post(f"{self._address}/api/v1/auth/register", json=given)
        async with http.post(f"{self._address}/api/v1/auth/login", json=given) as reply:
            self._token = str((await reply.json())["access_token"])
        origin = {"Origin": self._address}
        async with http.post(f"{self._address}/session/in", data=given, headers=origin, allow_redirects=False) as reply:
            self._cookie = reply.headers["Set-Cookie"].partition(";")[0]

    async def go(self, http: aiohttp.ClientSession) -> None:
        self._stopping.clear()
        door = asyncio.Semaphore(5)  # people do not come at one moment
        await asyncio.gather(*(self._open(http, door) for _ in range(self._pages)))
        await asyncio.sleep(self._pages * SETTLE_S)
        self.updates, self.taken, self.failures, self.lags, self._began = 0, [], [], [], perf_counter()
        self._asking = [asyncio.create_task(self._ask(http))]

    async def stop(self) -> dict[str, Any]:
        self._stopping.set()
        await asyncio.gather(*self._asking)
        await asyncio.gather(*(one.disconnect() for one in self._sockets))
        told = {"pages": len(self._sockets), "updates": self.updates, "requests": len(self.taken), "failures": self.failures[:5]}
        told |= {"failed": len(self.failures), "unanswered": self.unanswered, "seconds": round(perf_counter() - self._began, 1)}
        told["oldest_s"] = round(max(self.lags) - min(self.lags), 2) if self.lags else None
        told["p99_ms"] = round(quantiles(self.taken, n=100)[98] * 1e3, 2) if len(self.taken) > 1 else None
        told["p50_ms"] = round(median(self.taken) * 1e3, 2) if self.taken else None
        self._sockets = []
        return told

    async def _open(self, http: aiohttp.ClientSession, door: asyncio.Semaphore) -> None:
        """One page: its document, then its socket, over which it is told of every change."""
        async with door:
            await self._enter(http)

    async def _enter(self, http: aiohttp.ClientSession) -> None:
        cookie = {"Cookie": self._cookie}
        async with http.get(f"{self._address}/", headers=cookie) as reply:
            text = await reply.text()
        found = _QUERY.search(text)
        assert found is not None, f"a page came without a socket: {reply.status} at {reply.url}, {text[:300]}"
        query = {**ast.literal_eval(found[1]), "document_id": str(uuid.uuid4()), "tab_id": str(uuid.uuid4())}
        words = "&".join(f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in query.items())
        client = socketio.AsyncClient(reconnection=False)
        client.on("*", self._told)
        headers = {**cookie, "Origin": self._address}
        path = "_nicegui_ws/socket.io"
        await client.connect(f"{self._address}?{words}", headers=headers, transports=["websocket"], socketio_path=path, wait_timeout=30)
        self._sockets.append(client)

    async def _told(self, event: str, *data: Any) -> None:
        self.updates += event == "update"

    async def _ask(self, http: aiohttp.ClientSession) -> None:
        """Requests at an even pace; one that is late is sent at once, none is left out."""
        began, number = perf_counter(), 0
        under_way: set[asyncio.Task[None]] = set()
        while not self._stopping.is_set():
            due = began + number / self._requests
            await asyncio.sleep(max(0.0, due - perf_counter()))
            task = asyncio.create_task(self._request(http, *PATHS[number % len(PATHS)]))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
        self.unanswered = len(under_way)
        for task in list(under_way):
            task.cancel()

    async def orders(self, http: aiohttp.ClientSession) -> int:
        async with http.get(f"{self._address}/api/v1/orders", headers={"Authorization": f"Bearer {self._token}"}) as reply:
            return len(await reply.json())

    def _judge(self, path: str, field: str, reply: aiohttp.ClientResponse, text: bytes) -> str:
        """What is wrong with an answer; nothing for a right one."""
        if reply.status != 200:
            return str(reply.status)
        if not field:
            return "" if b"niyam_daemon_running 1.0" in text else "no daemon in it"
        found = json.loads(text)
        if any(field not in row for row in (found if isinstance(found, list) else [found])):
            return f"no {field} in it"
        as_of = found["as_of"] if path.endswith("/status") else reply.headers.get("x-niyam-as-of")
        if as_of is not None:
            self.lags.append(perf_counter() - datetime.fromisoformat(as_of).timestamp())
        return ""

    async def _request(self, http: aiohttp.ClientSession, path: str, field: str) -> None:
        began = perf_counter()
        try:
            async with http.get(f"{self._address}{path}", headers={"Authorization": f"Bearer {self._token}"}) as reply:
                if wrong := self._judge(path, field, reply, await reply.read()):
                    self.failures.append(f"{path}: {wrong}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures.append(f"{path}: {type(error).__name__}")
        self.taken.append(perf_counter() - began)


async def main(address: str, pages: int, requests: int) -> None:
    crowd = Crowd(address, pages, requests)
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    jar = aiohttp.DummyCookieJar()  # each page sends the cookie by itself
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100), cookie_jar=jar, timeout=timeout) as http:
        await crowd.sign_in(http)
        print("signed in", flush=True)
        while line := await lines.get():
            if line.strip() == "go":
                await crowd.go(http)
                print("ready", flush=True)
            elif line.strip() == "orders":
                print(await crowd.orders(http), flush=True)
            else:
                print(json.dumps(await crowd.stop()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
