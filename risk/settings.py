"""The caps as plain numbers: config/risk.yaml maps onto these fields one to one. Money is rupees, times are seconds."""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec


def _positive(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name}: expected a number above zero, got {value!r}")


class MarginSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pre-trade margin approximation, as fractions of value (see risk/margin.py). `model` is recorded with results."""

    model: str = "approximation-2026-11"
    equity_intraday: float = 0.20
    equity_intraday_restricted: float = 0.25
    restricted_below_price: float = 50.0
    equity_carry: float = 1.0
    index_future: float = 0.13
    stock_future: float = 0.20
    short_index_option: float = 0.11
    short_index_option_floor: float = 0.07
    short_stock_option: float = 0.20
    short_stock_option_floor: float = 0.10
    expiry_day_addition: float = 0.02
    stock_option_expiry_week_factor: float = 1.5

    def __post_init__(self) -> None:
        for name in self.__struct_fields__[1:]:
            _positive(f"margin.{name}", getattr(self, name))


class StrategyLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One strategy's own limits for a day; None: no such limit. They hold entries back; exits always pass."""

    max_loss: float | None = None
    """Rupees of its net loss (realised, unrealised, charges) that lock its entries."""
    lock_at: float | None = None
    """Rupees of net profit from which on the profit is defended; see `lock_keep`."""
    lock_keep: float = 100.0
    """Per cent of the day's best net result: falling back to it locks entries and closes what is held. 100: at `lock_at` itself."""
    max_trades: int | None = None
    """Trades begun in a day (risk/strategy_rules.py says what one is)."""
    cooldown_minutes: float | None = None
    """Minutes without a new trade after one that ended."""
    cooldown_after: Literal["loss", "exit"] = "loss"
    """Which end of a trade begins the pause: one with a net loss, or any."""

    def __post_init__(self) -> None:
        for name in ("max_loss", "lock_at", "lock_keep", "max_trades", "cooldown_minutes"):
            value = getattr(self, name)
            if value is not None:
                _positive(name, value)
        if self.lock_keep > 100:
            raise ValueError(f"lock_keep: {self.lock_keep!r} per cent of the best result is more than all of it")


NO_LIMITS = StrategyLimits()


class RiskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every cap of one account. A cap is the largest value allowed: reaching it passes, exceeding it does not.

    The loss limits are the exception: a loss that reaches the limit has used it up, and locks.
    """

    max_order_value: float = 3_000_000.0
    """Rupees in one entry order: price x quantity x multiplier (a written option counts at its strike)."""
    max_order_quantity: int = 10_000
    """Units in one entry order."""
    max_instrument_value: float = 6_000_000.0
    """Rupees on either side of one instrument over all strategies and EXTERNAL, working entries included."""
    max_strategy_exposure: float = 6_000_000.0
    """Rupees gross that one strategy may hold, working entries included."""
    max_gross_exposure: float = 10_000_000.0
    """Rupees gross over the whole account, EXTERNAL positions and working entries included."""

    orders_per_second: int = 8
    """Order requests (place, modify, cancel) in one second, for entries; the exchange allows 10."""
    orders_per_minute: int = 200
    orders_per_day: int = 2_000
    runaway_factor: float = 2.0
    """Entries attempted in one second beyond `orders_per_second` times this are a runaway and halt. Exits may use rates up to this
    multiple: the paced budget queues them, and a square-off of many positions must not be refused."""

    max_daily_loss: float = 25_000.0
    """Rupees of the account's net loss (realised, unrealised and charges) today; entries are then locked for the day."""
    max_strategy_loss: float | None = None
    """The same for each strategy that has no `max_loss` of its own; None: no limit."""
    strategies: Mapping[str, StrategyLimits] = {}
    """By strategy name: `risk` of each config/strategies/*.yaml."""
    flatten_on_loss: bool = True
    """Whether a loss lock also asks to close what the account (or the strategy) holds."""

    stale_after: float = 5.0
    """An instrument whose last tick was received longer ago than this takes no entries."""
    exchange_stale_after: float = 15.0
    """The same by the exchange's own time of that tick, where the packet carries one."""

    price_band_pct: float = 3.0
    """How far, in per cent of the last price, an entry's limit or trigger may lie from it."""
    exit_band_pct: float = 20.0
    """How far beyond the last price an exit may chase it, in per cent."""

    duplicate_window: float = 2.0
    """The same strategy, instrument, side, quantity and price again within this many seconds is a duplicate."""

    margin: MarginSettings = MarginSettings()
    check_margin: bool = True

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name not in ("flatten_on_loss", "check_margin", "margin", "strategies") and not (
                name == "max_strategy_loss" and value is None
            ):
                _positive(name, value)
        if self.runaway_factor < 1:
            raise ValueError(f"runaway_factor: {self.runaway_factor!r} is below 1; exits may not have less room than entries")

    @property
    def strategies_limited(self) -> bool:
        """Whether any strategy has limits of its own."""
        return self.max_strategy_loss is not None or bool(self.strategies)

    @property
    def profits_defended(self) -> bool:
        """Whether some strategy's best result of the day is to be known: then every result is to be looked at, not only losses."""
        return any(limits.lock_at is not None for limits in self.strategies.values())

    def loss_limit(self, strategy: str) -> float | None:
        """The strategy's own loss limit in rupees, None where it has none."""
        own = self.strategies.get(strategy, NO_LIMITS).max_loss
        return self.max_strategy_loss if own is None else own

    def of(self, strategy: str) -> StrategyLimits:
        """The strategy's own limits."""
        return self.strategies.get(strategy, NO_LIMITS)
