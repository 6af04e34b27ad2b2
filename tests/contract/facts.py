"""The head of docs/brokers.md: what each broker's Spec says of login, products, limits and capacity, brokers beside each other."""

from collections.abc import Callable, Mapping
from datetime import date

from brokers import registry
from brokers.spec import Spec
from core.types import Horizon, Instrument, Kind

_SHARE = Instrument("NSE:SBIN", "NSE", "SBIN", Kind.EQUITY, "SBIN")
_SLOW = Instrument("NSE:SLOW-BE", "NSE", "SLOW-BE", Kind.EQUITY, "SLOW-BE")
_FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 11, 24))
_GOLD = Instrument("MCX:GOLD26DECFUT", "MCX", "GOLD26DECFUT", Kind.FUTURE, "GOLD", 1, 1.0, date(2026, 12, 4))


def _product(horizon: Horizon, instrument: Instrument) -> Callable[[Spec], str]:
    return lambda spec: "refused" if spec.objection(horizon, instrument) else spec.product(horizon, instrument)


def _limits(spec: Spec) -> str:
    return "; ".join(f"{one.name}: {one.count} in {one.seconds:g} s" for one in spec.limits)


def _candles(spec: Spec) -> str:
    days: dict[int, list[int]] = {}
    for minutes, most in spec.historical_caps.items():
        days.setdefault(most, []).append(minutes)
    return "; ".join(f"{', '.join(map(str, sorted(minutes)))} min: {most} days" for most, minutes in sorted(days.items()))


ROWS: Mapping[str, Callable[[Spec], str]] = {
    "name in settings.yaml": lambda spec: spec.name,
    "login of the day": lambda spec: "a code, or by itself" if spec.login == "code" else "the broker's page, and its redirect",
    "secrets it needs": lambda spec: ", ".join(f"`{name}`" for name in spec.secrets),
    "a share, intraday / carried": lambda spec: f"{_product(Horizon.INTRADAY, _SHARE)(spec)} / {_product(Horizon.CARRY, _SHARE)(spec)}",
    "a future, intraday / carried": lambda spec: f"{_product(Horizon.INTRADAY, _FUTURE)(spec)} / {_product(Horizon.CARRY, _FUTURE)(spec)}",
    "a trade-to-trade share, intraday": _product(Horizon.INTRADAY, _SLOW),
    "an MCX future, intraday": _product(Horizon.INTRADAY, _GOLD),
    "our tag in its order book": lambda spec: f"{spec.tag_length} characters" if spec.echoes_tags else "not given back",
    "a stop over the night": lambda spec: "its trigger (GTT)" if spec.guards_nights else "none: its triggers are not used",
    "modifications of one order": lambda spec: str(spec.modifications_per_order),
    "instruments of the feed": lambda spec: f"{spec.streams} x {spec.instruments_per_stream}",
    "books are read every": lambda spec: f"{spec.pace.books_s:g} s",
    "candles in one request": _candles,
    "what the client keeps to (the broker allows more)": _limits,
}


def table() -> str:
    """The section, as it should be."""
    specs = [registry.get(name) for name in registry.names()]
    lines = [f"| | {' | '.join(spec.title for spec in specs)} |", f"|---|{'---|' * len(specs)}"]
    lines += [f"| {name} | {' | '.join(tell(spec) for spec in specs)} |" for name, tell in ROWS.items()]
    return "## What each is asked for\n\nFrom the `SPEC` of each folder in `brokers/`.\n\n" + "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    print(table())
