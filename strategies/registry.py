"""Strategy classes by the name that configuration uses. A new strategy is one file and one line here."""

from collections.abc import Mapping
from difflib import get_close_matches

from strategies.base import ParameterError, Params, Strategy, StrategySpec
from strategies.bollinger_breakout import BollingerBreakout
from strategies.donchian_trend import DonchianTrend
from strategies.ema_cross import EmaCross
from strategies.gap_fade import GapFade
from strategies.opening_range import OpeningRange
from strategies.outside_alerts import OutsideAlerts
from strategies.pairs import Pairs
from strategies.rsi_reversion import RsiReversion
from strategies.sma_cross import SmaCross
from strategies.supertrend import SupertrendFollower
from strategies.vwap_pullback import VwapPullback

_CLASSES: Mapping[str, type[Strategy]] = {
    "bollinger_breakout": BollingerBreakout,
    "donchian_trend": DonchianTrend,
    "ema_cross": EmaCross,
    "gap_fade": GapFade,
    "opening_range": OpeningRange,
    "outside_alerts": OutsideAlerts,
    "pairs": Pairs,
    "rsi_reversion": RsiReversion,
    "sma_cross": SmaCross,
    "supertrend": SupertrendFollower,
    "vwap_pullback": VwapPullback,
}


def names() -> tuple[str, ...]:
    """The names that `class:` may have in a strategy's YAML."""
    return tuple(_CLASSES)


def get(name: str) -> type[Strategy]:
    """The class of that name; raises ParameterError (a ValueError) with the nearest name."""
    if name not in _CLASSES:
        nearest = get_close_matches(name, _CLASSES, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(_CLASSES)}"
        raise ParameterError("class", f"no strategy class {name!r}; {hint}")
    return _CLASSES[name]


def params_of(name: str) -> type[Params]:
    """The parameter type of the class of that name: `params_of("sma_cross").parse({"fast": 5})`."""
    return get(name).params_type


def parse_params(name: str, values: Mapping[str, object]) -> Params:
    """The checked parameters of the class of that name; raises ParameterError (a ValueError with `.parameter`)."""
    return params_of(name).parse(values)


def build(class_name: str, spec: StrategySpec) -> tuple[Strategy, ...]:
    """The objects that serve this configuration: one for each logical instrument, or one for all of them; `start()` is done."""
    cls = get(class_name)
    made = (cls(spec),) if cls.multi_instrument else tuple(cls(spec, logical) for logical in spec.instruments)
    for one in made:
        one.start()
    return made
