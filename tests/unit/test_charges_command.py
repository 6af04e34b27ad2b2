"""`main.py charges` explains a trade line by line: every worked example of charges.yaml, sources and status, and what nobody knows."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import main
from execution_engine.charges import Charges
from utils.config_loader import load_charges

FACTS = load_charges()
EXAMPLES: dict[str, dict[str, Any]] = FACTS["worked_examples"]

# what each example says in words, as the command is asked for it
ASKED: dict[str, str] = {
    "K1": "--instrument NSE:SBIN --product carry --side BUY --quantity 1 --price 560 --on 2023-07-10",
    "K2": "--instrument MCX:GOLDPETAL23JULFUT --product carry --side SELL --quantity 1 --price 5862 --on 2023-07-10",
    "K3": "--instrument NFO:NIFTY2371317900PE --product carry --side BUY --quantity 100 --price 1.5 --on 2023-07-10",
    "I1": "--broker icici --plan ivalue --kind equity --quantity 1000 --buy-price 500 --sell-price 600 --on 2022-09-01",
    "I2": "--broker icici --plan ivalue --kind option --quantity 1000 --buy-price 500 --sell-price 600 --on 2022-09-01",
    "I3": "--broker icici --plan ivalue --kind future --quantity 1000 --buy-price 500 --sell-price 600 --on 2022-09-01",
    "Z2": "--kind equity --quantity 100 --buy-price 100 --sell-price 101 --on 2023-07-10",
    "P1": "--kind equity --quantity 1000 --buy-price 100 --sell-price 100 --on 2026-10-08",
    "C1": "--kind future --quantity 65 --buy-price 24000 --sell-price 24100 --on 2026-11-20",
    "C2": "--kind option --quantity 65 --buy-price 120 --sell-price 140 --on 2026-11-20",
    "C3": "--kind option --exchange BSE --quantity 20 --buy-price 250 --sell-price 300 --on 2026-11-20",
    "C4": "--kind equity --product carry --quantity 10 --buy-price 1400 --sell-price 1400 --on 2026-11-20",
    "C6 old": "--instrument NFO:BANKNIFTY26APRFUT --side SELL --quantity 30 --price 56000 --on 2026-03-31",
    "C6": "--instrument NFO:BANKNIFTY26APRFUT --side SELL --quantity 30 --price 56000 --on 2026-04-01",
}
ELSEWHERE = {"Z1", "A1"}  # a day's tax over several trades, and a fact about notes: tests/unit/test_charges.py


def explained(capsys: pytest.CaptureFixture[str], asked: str, tmp_path: Path) -> dict[str, Any]:
    code = main.main(["charges", *asked.split(), "--json", "--state", str(tmp_path)])
    out = capsys.readouterr()
    assert code == 0, out.err
    found = json.loads(out.out)
    assert isinstance(found, dict)
    return found


def refused(capsys: pytest.CaptureFixture[str], asked: str, tmp_path: Path) -> str:
    code = main.main(["charges", *asked.split(), "--state", str(tmp_path)])
    out = capsys.readouterr()
    assert (code, out.out) == (2, "")
    return out.err


def test_every_worked_example_is_shown() -> None:
    assert {name.partition(" ")[0] for name in ASKED} | ELSEWHERE == set(EXAMPLES)


@pytest.mark.parametrize("name", ["K1", "K2", "K3"])
def test_what_kite_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    totals, expected = explained(capsys, ASKED[name], tmp_path)["totals"], EXAMPLES[name]
    exchange = expected["exch_incl_ipft"] if "exch_incl_ipft" in expected else expected["exch"]
    assert totals["txn"] + totals["ipft"] == pytest.approx(exchange)
    assert totals["stt"] == pytest.approx(expected.get("stt", expected.get("ctt")))
    assert (totals["brokerage"], totals["sebi"], totals["gst"]) == pytest.approx([expected[line] for line in ("brokerage", "sebi", "gst")])
    assert totals["total"] - totals["stamp"] == pytest.approx(expected["total"])  # Kite shows stamp duty in whole rupees: none


@pytest.mark.parametrize(("name", "lines"), [("I1", ("brokerage", "sebi", "gst", "stt", "stamp", "total")),
                                             ("I2", ("brokerage", "sebi", "gst", "stt", "stamp", "total")),
                                             ("I3", ("sebi", "stt"))])  # fmt: skip
def test_what_icici_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, lines: tuple[str, ...]) -> None:
    totals, expected = explained(capsys, ASKED[name], tmp_path)["totals"], EXAMPLES[name]
    assert [totals[line] for line in lines] == pytest.approx([expected[line] for line in lines], abs=0.015)
    assert totals["txn"] == pytest.approx(expected["exch"], abs=0.005)


@pytest.mark.parametrize("name", ["C1", "C2", "C3", "C4"])
def test_what_was_computed_by_the_formula(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    found, expected = explained(capsys, ASKED[name], tmp_path), EXAMPLES[name]
    totals = found["totals"]
    for line in ("brokerage", "stt", "sebi", "stamp", "gst", "total"):
        if line in expected:
            assert totals[line] == pytest.approx(expected[line], abs=0.0051), line
    assert totals["txn"] + totals["ipft"] == pytest.approx(expected["txn"], abs=0.0051)
    if name == "C4":
        assert (found["depository"], found["total"]) == pytest.approx((expected["plus_dp"], expected["total_with_dp"]), abs=0.0051)
        assert found["net"] == pytest.approx(-expected["total_with_dp"], abs=0.0051)
    else:
        assert found["gross"] - found["net"] == pytest.approx(expected["total"], abs=0.0051)


def test_rounded_and_raw_figures_of_the_other_examples(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shares = explained(capsys, ASKED["Z2"], tmp_path)
    assert (shares["totals"]["stt"], shares["contract_note"]["stt"]) == (
        pytest.approx(EXAMPLES["Z2"]["stt_raw"]),
        EXAMPLES["Z2"]["stt_shown"],
    )
    lakh = explained(capsys, ASKED["P1"], tmp_path)["totals"]
    assert lakh["total"] == pytest.approx(EXAMPLES["P1"]["computed"]["total"], abs=0.0051)
    assert round(lakh["total"]) == EXAMPLES["P1"]["approx_total"]
    old, new = (explained(capsys, ASKED[name], tmp_path)["total"] for name in ("C6 old", "C6"))
    assert (old, new) == pytest.approx((EXAMPLES["C6"]["total_2026_03_31"], EXAMPLES["C6"]["total_2026_04_01"]), abs=0.0051)


def test_each_line_has_its_base_rate_date_source_and_status_and_they_add_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for asked in ASKED.values():
        found = explained(capsys, asked, tmp_path)
        assert len(found["lines"]) == 7 * len(found["orders"])
        assert sum(line["amount"] for line in found["lines"]) == pytest.approx(found["totals"]["total"])
        for line in found["lines"]:
            assert line["base"], line
            assert line["rate"], line
            assert line["status"] in ("confirmed", "single_source", "unconfirmed", "assumed"), line
            assert line["name"] == "GST" or date.fromisoformat(line["since"]) <= date.fromisoformat(found["on"]), line
            assert set(line["source"]) <= set(FACTS["sources"]), line
        assert all(found["sources"].values())
        assert "whole rupees" in found["rounding"]
        assert found["contract_note"]["stt"] == int(found["contract_note"]["stt"])


def test_the_table_names_rate_date_source_and_status(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main.main(["charges", *ASKED["C1"].split(), "--state", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    tax = next(line for line in text.splitlines() if line.startswith("SELL") and "transaction tax" in line)
    assert tax.split() == ["SELL", "transaction", "tax", "1566500.00", "0.05", "%", "783.2500", "2026-04-01", "FATAX73524", "confirmed"]
    assert "charges 932.85, as a contract note 932.40" in text
    assert "gross 6500.00, net 5567.15" in text
    assert "FATAX73524: NSE/FATAX/73524 STT rates" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_what_is_not_confirmed_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = "--broker upstox --kind future --side BUY --quantity 65 --price 24000 --on"
    status = {line["name"]: line["status"] for line in explained(capsys, f"{asked} 2026-11-20", tmp_path)["lines"]}
    assert (status["brokerage"], status["stamp duty"]) == ("single_source", "confirmed")
    early = explained(capsys, f"{asked} 2024-05-02", tmp_path)
    status = {line["name"]: line["status"] for line in early["lines"]}
    assert (status["brokerage"], status["exchange charge"]) == ("assumed", "unconfirmed")
    assert early["totals"]["assumed"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("--kind future --exchange MCX --underlying COTTONCNDY --side SELL --quantity 1 --price 100", "is not known"),
        (
            "--broker upstox --kind future --exchange MCX --side BUY --quantity 1 --price 100",
            "no brokerage of upstox for commodity_futures",
        ),
        ("--broker icici --plan ivalue --kind equity --product carry --side BUY --quantity 1 --price 100", "is no formula"),
        ("--broker icici --kind equity --side BUY --quantity 1 --price 100", "choose one of ivalue, prime_9999"),
        ("--broker nobody --kind equity --side BUY --quantity 1 --price 100", "no brokerage plan of 'nobody'"),
        ("--kind future --exchange BCD --side BUY --quantity 1 --price 80", "no exchange charge of BSE for currency_futures"),
        ("--side BUY --quantity 1 --price 80", "say what is traded"),
        ("--kind equity --instrument NSE:SBIN --side BUY --quantity 1 --price 80", "say what is traded"),
        ("--kind equity --exchange NFO --side BUY --quantity 1 --price 80", "no shares trade on NFO"),
        ("--kind equity --side BUY --price 80", "--quantity is missing"),
        ("--kind equity --quantity 1 --price 80", "one order wants --side and --price"),
        ("--kind equity --quantity 1 --buy-price 80", "a round trip wants --buy-price and --sell-price"),
        ("--instrument MCX:GOLD --side BUY --quantity 1 --price 80", "no future, option or share by its name"),
    ],
)
def test_what_is_not_known_or_asked_wrongly_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, asked: str, said: str) -> None:
    assert said in refused(capsys, f"{asked} --on 2026-11-20", tmp_path)


def test_an_unknown_depository_charge_is_told_and_left_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = "--broker icici --plan prime_9999 --kind equity --product carry --side SELL --quantity 10 --price 1400 --on 2026-11-20"
    found = explained(capsys, asked, tmp_path)
    assert (found["depository"], found["total"]) == (None, found["totals"]["total"])
    assert main.main(["charges", *asked.split(), "--state", str(tmp_path)]) == 0
    assert "depository charge: not known" in capsys.readouterr().out


def test_a_logical_name_and_a_plan_by_the_lot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    near = explained(capsys, "--instrument NIFTY_FUT --side BUY --quantity 65 --price 24000 --on 2026-11-20", tmp_path)
    assert near["instrument"] == "NFO:NIFTY26NOVFUT"
    asked = "--broker icici --plan prime_9999 --kind option --side BUY --quantity 130 --price 100 --on 2026-11-20"
    by_lot = explained(capsys, asked, tmp_path)
    assert by_lot["totals"]["brokerage"] == 18.0  # two lots of 65
    assert explained(capsys, f"{asked} --lot 130", tmp_path)["totals"]["brokerage"] == 9.0


# --- the table of rates as a whole --------------------------------------------------------------------------------------------------


COVERED = [
    ("equity", "NSE", "intraday"), ("equity", "NSE", "carry"), ("equity", "BSE", "intraday"), ("equity", "BSE", "carry"),
    ("future", "NSE", "intraday"), ("option", "NSE", "intraday"), ("future", "BSE", "intraday"), ("option", "BSE", "intraday"),
    ("future", "CDS", "intraday"), ("option", "CDS", "intraday"), ("future", "MCX", "intraday"), ("option", "MCX", "intraday"),
]  # fmt: skip
UNKNOWN = {
    # broker (plan): kinds of trade whose brokerage nobody has found; asked for, they are refused
    "zerodha": set(),
    "upstox": {"CDS", "MCX"},
    "angelone": {"CDS", "MCX"},
    "groww": {"CDS"},
    "icici ivalue": {"CDS", "MCX", "equity carry"},
    "icici prime_9999": {"CDS"},
}


@pytest.mark.parametrize("who", UNKNOWN)
@pytest.mark.parametrize(
    "day", ["2020-01-01", "2021-06-01", "2023-07-10", "2024-05-20", "2024-10-01", "2026-03-31", "2026-11-20", "2027-12-31"]
)
def test_each_brokers_plan_is_complete_or_says_what_it_lacks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, who: str, day: str
) -> None:
    broker, _, plan = who.partition(" ")
    for kind, exchange, product in COVERED:
        asked = (
            f"--broker {broker} --kind {kind} --exchange {exchange} --product {product} --side SELL --quantity 100 --price 100 --on {day}"
        )
        asked += f" --plan {plan}" if plan else ""
        if UNKNOWN[who] & {exchange, f"{kind} {product}"}:
            assert "config/market/charges.yaml" in refused(capsys, asked, tmp_path)
        else:
            assert explained(capsys, asked, tmp_path)["totals"]["total"] > 0


def test_every_broker_of_the_file_is_in_that_table() -> None:
    listed = {f"{name} {plan.get('plan', '')}".strip() for name, plans in FACTS["brokers"].items() for plan in plans}
    assert listed == set(UNKNOWN)


def test_an_exercised_option_bears_its_tax_on_the_intrinsic_value() -> None:
    charges = Charges(FACTS, "zerodha")
    assert charges.exercise_tax(65 * 100.0, date(2026, 3, 30)) == pytest.approx(8.125)
    assert charges.exercise_tax(65 * 100.0, date(2026, 4, 7)) == pytest.approx(9.75)
