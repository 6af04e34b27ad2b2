"""What the documents and the service unit say is true of the program: links lead somewhere, commands parse, flags and files exist."""

import argparse
import configparser
import functools
import re
import shlex
from pathlib import Path

import pytest

import main as cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
TO_COME = {"strategies/momentum.py", "config/strategies/nifty_momentum.yaml", "config/secrets.env"}  # what a reader makes
COMMAND = re.compile(r"`(?:niyam|(?:\.venv/bin/python )?main\.py) ([a-z][^`\n]*)`")


def parsed(arguments: str) -> str:
    """The command that a line of arguments names; SystemExit where the parser refuses it."""
    words = shlex.split(arguments)
    return str(cli.build_parser(words[0]).parse_args(words).command)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def anchors(document: Path) -> set[str]:
    """The places in a document that a link may name, spelled as the usual viewers do."""
    headings = re.findall(r"(?m)^#+ (.*)$", document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", heading).strip().lower()).replace(" ", "-") for heading in headings}


def test_every_place_that_a_link_names_is_a_heading() -> None:
    links = [
        (document, path, anchor)
        for document in DOCUMENTS
        for path, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]*)\)", document.read_text(encoding="utf-8"))
        if "://" not in path
    ]
    assert len(links) >= 3
    lost = [
        (document.name, path, anchor)
        for document, path, anchor in links
        if anchor not in anchors(document.parent / path if path else document)
    ]
    assert lost == []


@functools.cache
def flags_of(command: str) -> set[str] | None:
    """The flags of a command, None where there is no such command."""
    choices = next(action.choices for action in cli.build_parser(command)._actions if isinstance(action, argparse._SubParsersAction))
    return {flag for action in choices[command]._actions for flag in action.option_strings} if command in choices else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_has_the_flags_that_the_text_gives_it(document: Path) -> None:
    """In code blocks, too, where names stand for values and the line would not parse."""
    wrong = []
    for command, rest in re.findall(r"(?:main\.py|\bniyam) ([a-z][a-z-]+)([^`\n]*)", document.read_text(encoding="utf-8")):
        known = flags_of(command)
        if known is None:
            wrong.append(command)
        else:
            wrong += [f"{command} {flag}" for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest.split(" #")[0]) if flag not in known]
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_ours_that_the_text_names_is_there(document: Path) -> None:
    packages = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    named = re.findall(rf"`((?:{packages})/[\w./-]+\.(?:py|yaml|md|txt|json|env|service))`", document.read_text(encoding="utf-8"))
    assert [name for name in named if name not in TO_COME and "NAME" not in name and not (ROOT / name).exists()] == []


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


def test_the_commands_in_the_texts_are_found() -> None:
    assert sum(len(COMMAND.findall(document.read_text(encoding="utf-8"))) for document in DOCUMENTS) > 50


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
