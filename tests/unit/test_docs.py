"""What the documents and the service unit say is true of the program: links lead somewhere, commands parse, flags exist."""

import configparser
import re
import shlex
from pathlib import Path

import pytest

import main as cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
COMMAND = re.compile(r"`(?:niyam|(?:\.venv/bin/python )?main\.py) ([a-z][^`\n]*)`")


def parsed(arguments: str) -> str:
    """The command that a line of arguments names; SystemExit where the parser refuses it."""
    words = shlex.split(arguments)
    return str(cli.build_parser(words[0]).parse_args(words).command)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_the_text_parses(document: Path) -> None:
    text = (
        document.read_text(encoding="utf-8")
        .replace(" D ", " 2026-11-20 ")
        .replace(" D`", " 2026-11-20`")
        .replace("D --json", "2026-11-20 --json")
    )
    for arguments in COMMAND.findall(text):
        assert parsed(arguments) in arguments


def test_every_make_run_in_the_readme_parses() -> None:
    lines = re.findall(r'make run ARGS="([^"]*)"', (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(lines) >= 4
    assert {parsed(f"run {line}") for line in lines} == {"run"}


def test_the_service_runs_the_daemon_with_flags_that_exist_and_is_watched() -> None:
    unit = configparser.RawConfigParser(strict=False, allow_no_value=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy" / "niyam.service")
    service = unit["Service"]
    words = shlex.split(service["ExecStart"])
    assert words[1] == "main.py"
    assert parsed(shlex.join(words[2:])) == "run"
    assert (service["Type"], service["Restart"], service["RestartPreventExitStatus"]) == ("notify", "on-failure", "2")
    assert int(service["WatchdogSec"]) >= 30
    assert service["NoNewPrivileges"] == service["PrivateTmp"] == "yes"
    assert service["ProtectSystem"] == "strict"


def test_each_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text(encoding="utf-8")
    pages = sorted(path.name for path in folder.glob("0*.md"))
    assert len(pages) >= 7
    assert all(f"({page})" in index for page in pages)
    assert all((folder / page).read_text(encoding="utf-8").startswith(f"# {page[:4]}. ") for page in pages)
