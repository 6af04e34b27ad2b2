"""Ban and surveillance lists: what they cover on a day, what is refused because of them, and lists that cannot be read."""

from datetime import date
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.types import Approved, Instrument, Kind, Refused, Side
from risk.gate import Gate
from risk.settings import RiskSettings
from tests.harness import FUTURE, SHARE, Harness
from tests.unit.risk_fakes import FakeBook, entry, held, leave
from utils import restricted

DAY = date(2026, 11, 20)
STOCK_FUTURE = Instrument("NFO:RELIANCE26DECFUT", "NFO", "RELIANCE26DECFUT", Kind.FUTURE, "RELIANCE", 500, expiry=date(2026, 12, 29))
BAN = "Securities in Ban For Trade Date 20-NOV-2026:\n1,RELIANCE\n2,SAIL\n"
OWN = "symbol,scope,why,from,to\nRELIANCE,eq,long-term surveillance,2026-11-01,2026-11-30\nYESBANK,all,not mine,2026-01-01,\n"


def lists(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def covered(folder: Path, instrument: Instrument, on: date = DAY) -> list[str]:
    return [one.why for one in restricted.read(folder, on).get(instrument.underlying, []) if one.covers(instrument)]


def test_the_exchanges_ban_file_covers_derivatives_on_its_day_alone(tmp_path: Path) -> None:
    folder = lists(tmp_path, fo_secban=BAN)
    assert covered(folder, STOCK_FUTURE) == ["in the derivatives ban of 2026-11-20 (fo_secban.csv)"]
    assert covered(folder, SHARE) == []
    assert covered(folder, FUTURE) == []
    assert covered(folder, STOCK_FUTURE, date(2026, 11, 23)) == []
    assert set(restricted.read(folder, DAY)) == {"RELIANCE", "SAIL"}


def test_lists_of_ones_own_have_a_scope_and_dates(tmp_path: Path) -> None:
    folder = lists(tmp_path, mine=OWN, fo_secban=BAN)
    assert covered(folder, SHARE) == ["long-term surveillance (mine.csv)"]
    assert len(covered(folder, STOCK_FUTURE)) == 1
    assert covered(folder, SHARE, date(2026, 12, 1)) == []
    assert "YESBANK" in restricted.read(folder, date(2027, 6, 1))


def test_no_folder_restricts_nothing(tmp_path: Path) -> None:
    assert restricted.read(tmp_path / "none", DAY) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected the columns symbol,scope,why,from,to"),
        ("symbol,why\nRELIANCE,x\n", "expected the columns"),
        ("symbol,scope,why,from,to\nRELIANCE,cash,x,2026-11-01,\n", "bad.csv:2: scope 'cash' is none of fo, eq, all"),
        ("symbol,scope,why,from,to\nRELIANCE,eq,x,01-11-2026,\n", "bad.csv:2: '01-11-2026' is no date"),
        ("symbol,scope,why,from,to\nRELIANCE,eq\n", "bad.csv:2: expected 5 values"),
        ("Securities in Ban For Trade Date 20-XXX-2026:\n1,SAIL\n", "'20-XXX-2026' is no date"),
        ("Securities in Ban For Trade Date 20-NOV-2026:\nSAIL\n", "bad.csv:2: expected NUMBER,SYMBOL"),
    ],
)
def test_a_list_that_cannot_be_read_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        restricted.read(lists(tmp_path, bad=text), DAY)
    assert said in str(caught.value)


def test_the_gate_refuses_entries_and_lets_exits_pass() -> None:
    gate, why = Gate(RiskSettings()), "in the derivatives ban"
    refused = gate.review(entry(), FakeBook(banned={"NIFTY": why}))
    assert isinstance(refused, Refused)
    assert (refused.rule, refused.permanent) == ("restricted", True)
    assert why in refused.reason
    assert isinstance(gate.review(leave(), held(banned={"NIFTY": why})), Approved)


def test_the_engine_closes_what_it_holds_in_a_security_that_was_banned_and_opens_nothing() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.world.restricted = lambda instrument: "in the derivatives ban" if instrument.underlying == "NIFTY" else None
    it.want(0)
    it.complete()
    assert it.held == 0
    orders = len(it.executor.placed)
    it.want(1)
    assert len(it.executor.placed) == orders
    assert [entry["rule"] for entry in it.journal("refused")] == ["restricted"]
    assert it.executor.placed[-1].side is Side.SELL
