"""The caps as plain numbers: config/risk.yaml maps onto these fields one to one. Money is rupees, times are seconds."""

import math
from collections.abc import Mapping

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


class RiskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every cap of one account. A cap is the largest value allowed: reaching it passes, exceeding it does not.

    The loss limits are the exception: a loss that reaches the limit has used it up, and locks.
    """

    max_order_value: float = 3_000_000.0
    """Rupees in one entry order: price x quantity x multiplier (a written option counts at its strike)."""
    max_order_quantity: int = 10_000
    """Units in one entry order."""
    max_instrument_value: float = 6_000_000.0
    """Rupees net in one instrument over all strategies, working entries included."""
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
    """The same for each strategy that `strategy_max_loss` does not name; None: no limit of its own."""
    strategy_max_loss: Mapping[str, float] = {}
    """By strategy name: `risk.max_loss` of each config/strategies/*.yaml."""
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
            if name == "strategy_max_loss":
                for strategy, loss in value.items():
                    _positive(f"strategy_max_loss.{strategy}", loss)
            elif name not in ("flatten_on_loss", "check_margin", "margin") and not (name == "max_strategy_loss" and value is None):
                _positive(name, value)
        if self.runaway_factor < 1:
            raise ValueError(f"runaway_factor: {self.runaway_factor!r} is below 1; exits may not have less room than entries")

    def loss_limit(self, strategy: str) -> float | None:
        """The strategy's own loss limit in rupees, None where it has none."""
        return self.strategy_max_loss.get(strategy, self.max_strategy_loss)
