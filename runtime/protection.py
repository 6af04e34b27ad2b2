"""Whether a live account's positions would stand protected: what is missing is a reason not to start.

This version holds stops in the engine: they go when the process dies. A live account must accept that in so many words, and every
strategy of it must have a stop to hold.
"""

from core.errors import ConfigError
from core.types import Account, AccountKind
from utils.config_loader import Config


def unprotected(config: Config, account: Account) -> list[tuple[str, str]]:
    """(what is missing, what to do) for each reason; empty for an account that is not live."""
    if account.kind is not AccountKind.LIVE:
        return []
    protect, found = config.settings.protect, []
    if protect.by != "engine":
        text = f"protect.by is {protect.by}: stops would have to stand at the broker, and this version cannot place them there yet"
        remedy = "write `protect: {by: engine}` in settings.yaml to accept stops that the engine holds, and that go when it dies"
        found.append((text, remedy))
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
