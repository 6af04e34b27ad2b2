"""Who holds an account's stops, and whether a live account's positions would stand protected: what is missing is a reason not to start.

Stops at the broker outlive this process; the engine's own go when it dies, and a live account must ask for that in so many words. Either
way every strategy of it must have a stop to hold.
"""

from core.errors import ConfigError
from core.types import Account, AccountKind
from execution_engine.protection import Protect
from utils.config_loader import Config

NO_GUARDS = "{} is not asked for triggers that outlive the day, and its stops end with it"


def at_broker(config: Config, account: Account) -> Protect | None:
    """How this account's stops stand at the broker; None: the engine holds them."""
    protect = config.settings.protect
    wanted = protect.by == "broker" or (protect.by == "auto" and account.kind is AccountKind.LIVE)
    return Protect(protect.limit_pct) if wanted else None


def unprotected(config: Config, account: Account) -> list[tuple[str, str]]:
    """(what is missing, what to do) for each reason; empty for an account that is not live."""
    if account.kind is not AccountKind.LIVE:
        return []
    protect, found = config.settings.protect, list[tuple[str, str]]()
    for name, strategy in config.strategies.items():
        ours = strategy.enabled and strategy.account in (None, account.name)
        if ours and strategy.risk.stop_pct is None and protect.distance_pct is None:
            text = f"strategy {name} has no stop for a signal that brings none"
            found.append((text, f"set risk.stop_pct in strategies/{name}.yaml, or protect.distance_pct in settings.yaml"))
    return found


def refuse_unprotected(config: Config, account: Account) -> None:
    """Raise ConfigError with all that `unprotected` finds."""
    found = unprotected(config, account)
    if found:
        raise ConfigError(
            f"account {account.name!r} is live and not protected: " + "; ".join(f"{text} - {remedy}" for text, remedy in found)
        )
