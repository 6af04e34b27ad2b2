"""A broker's wire simulator behind real sockets on a thread of this process, so that a test can reach behind its desk."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import date, time
from typing import Any, TypeVar

from simulators.server import Options, Server

T = TypeVar("T")


class Served:
    """The simulator of one broker, whose time moves by hand. `run` does something on the thread that owns it."""

    def __init__(self, broker: str, day: date, start: time) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"simulator {broker}", daemon=True)
        self._thread.start()
        self._server = self._wait(self._made(Options(broker, speed=0.0, seed=5, date=day, start=start)))
        self.simulator: Any = self._server.simulator
        self.told = self.run(self._server.describe)

    @property
    def exchange(self) -> Any:
        return self.simulator.world.exchange

    def run(self, work: Callable[..., T], *arguments: Any, **more: Any) -> T:
        async def doing() -> T:
            return work(*arguments, **more)

        return self._wait(doing())

    def move(self, seconds: float) -> None:
        self.run(self._server.move, seconds)

    def stop(self) -> None:
        self._wait(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _made(self, options: Options) -> Server:
        server = Server(options)
        await server.start()
        return server

    def _wait(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(60)
