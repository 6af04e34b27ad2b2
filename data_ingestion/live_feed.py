"""A live price for bare scripts: start, ask, stop."""

from typing import Any


class LiveDataFeed:
    """`feed = LiveDataFeed(["NIFTY_FUT"]); feed.start(); feed.get_latest_price()`."""

    def __init__(self, symbols: list[str] | str = "NIFTY_FUT", source: str = "zerodha") -> None:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def get_latest_price(self, symbol: str | None = None) -> float | None:
        raise NotImplementedError

    @property
    def latest_tick(self) -> dict[str, Any] | None:
        raise NotImplementedError
