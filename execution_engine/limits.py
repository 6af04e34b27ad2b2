"""The limits that a strategy's file sets, as the gate takes them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from risk.settings import MarginSettings, RiskSettings, StrategyLimits

if TYPE_CHECKING:
    from utils.config_loader import Config
    from utils.config_schema import StrategySettings


def strategy_limits(strategies: Mapping[str, "StrategySettings"]) -> dict[str, StrategyLimits]:
    """By strategy name, for RiskSettings.strategies and Gate.take_limits."""
    return {name: _limits(one) for name, one in strategies.items()}


def _limits(settings: "StrategySettings") -> StrategyLimits:
    risk = settings.risk
    lock, pause = risk.lock_profit, risk.cooldown
    return StrategyLimits(
        max_loss=risk.max_loss,
        lock_at=lock.at if lock is not None else None,
        lock_keep=lock.keep if lock is not None else 100.0,
        max_trades=risk.max_trades,
        cooldown_minutes=pause.minutes if pause is not None else None,
        cooldown_after=pause.after if pause is not None else "loss",
    )


def risk_settings(config: "Config") -> RiskSettings:
    """The gate's caps of a whole configuration: risk.yaml, and each strategy's own limits."""
    given = config.risk.model_dump()
    return RiskSettings(**{**given, "margin": MarginSettings(**given["margin"]), "strategies": strategy_limits(config.strategies)})
