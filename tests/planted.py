"""For tests: a backtest whose strategies are classes of the test's own, on the shipped configuration with caps so wide that none is met."""

import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import msgspec

from backtesting.market import BacktestMarket
from backtesting.run import Backtest, Outcome
from core.types import Account, AccountKind, Instrument
from data_ingestion.prepare import prepare
from execution_engine.paper_rules import FillRules
from execution_engine.runs import Run
from strategies.base import Params, Strategy
from utils.config_loader import Config, load

ROOT = Path(__file__).resolve().parents[1]
CHANGED = (
    ("settings.yaml", "cap_pct: 0.3", "cap_pct: 2.5"),
    ("settings.yaml", "steps: 3", "steps: 1"),
    ("settings.yaml", "distance_pct: 1.0", "distance_pct: null"),
    ("risk.yaml", "max_daily_loss: 25000", "max_daily_loss: 100000000"),
)


def wide(
    folder: Path,
    instrument: str = "ABC",
    size: str = "{quantity: 10}",
    interval: int = 1,
    horizon: str = "intraday",
    square_off: str = "15:20",
) -> Config:
    """A copy of the shipped configuration in `folder`, its caps wide, with one strategy; `planted` puts another class in its place."""
    shutil.copytree(ROOT / "config", folder)
    for file, old, new in (*CHANGED, ("settings.yaml", 'time: "15:20"', f'time: "{square_off}"')):
        path = folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, (file, old)
        path.write_text(text.replace(old, new), encoding="utf-8")
    strategy = folder / "proof.yaml"
    strategy.write_text(
        f"class: sma_cross\ninstruments: [{instrument}]\ninterval: {interval}m\nparams: {{fast: 2, slow: 3}}\nsize: {size}\n"
        f"horizon: {horizon}\n"
    )
    return load(folder, strategy=strategy)


def planted(kind: type[Strategy], config: Config, account: Account, market: BacktestMarket, fills: FillRules | None = None) -> Outcome:
    """The outcome of `kind` in place of the configured strategy's class."""

    class Planting(Backtest):
        def _begin(self, day: date, names: Mapping[str, Instrument]) -> list[Run]:
            for run in super()._begin(day, names):
                if not isinstance(run.strategy, kind):
                    spec = msgspec.structs.replace(run.strategy.spec, params=Params())
                    run.strategy = kind(spec, run.strategy.logical)
                    run.strategy.start()
                    run.strategy.begin(day)
            return [run for made in self._runs.values() for run in made]

    return Planting(config, account, market, config.strategies, fills or FillRules()).run()


def market_of(file: Path, folder: Path, config: Config) -> BacktestMarket:
    """The file prepared in `folder`."""
    calendar = config.calendar(AccountKind.PRACTICE)
    return BacktestMarket(prepare(file, folder, calendar), calendar)
