"""Backtest runs: started here, done by a child process, looked at while they run, and their reports."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import FileResponse

from api.auth import Has, Trader, Viewer
from api.backtests import Backtests, Run, files
from api.brokerage import called
from api.ports import Parts
from api.ranges import ranges_of
from api.schemas import Backtest, BacktestChoices, BacktestReply, Message, StrategyChoice
from core.errors import ConfigError
from storage.users import User
from utils.yaml_file import read

router = APIRouter(prefix="/api/v1/backtests", tags=["backtests"])
REPORT_HEADERS = {
    # whatever a strategy's name or data says, the page can do nothing here: no cookie, no request, no parent
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'",
    "x-frame-options": "SAMEORIGIN",
}


def queue_of(request: Request) -> Backtests:
    queue: Backtests = request.app.state.backtests
    return queue


Queue = Annotated[Backtests, Depends(queue_of)]


@router.post("", status_code=202)
def start(given: Backtest, user: Trader, parts: Has, queue: Queue) -> BacktestReply:
    """Queue one run of a strategy over data of the data folder, with `params` in place of those of its file."""
    strategy = parts.config / "strategies" / f"{given.strategy}.yaml"
    folder = _folder(parts)
    data = (folder / given.data).resolve()
    if not strategy.is_file():
        raise HTTPException(404, f"there is no strategy {given.strategy!r} in {parts.config / 'strategies'}")
    if not data.is_relative_to(folder) or not data.exists():
        raise HTTPException(404, f"there is no {given.data!r} in the data folder {folder}")
    flags = (("--from", given.start), ("--to", given.end), ("--instrument", given.instrument))
    more = [word for flag, value in flags if value is not None for word in (flag, value)]
    run = called("", lambda: queue.add(user.id, strategy, data, given.data, more, parts.now(), given.params))
    if run is None:
        raise HTTPException(429, "eight runs wait already; let them end first")
    return _reply(run)


@router.get("")
def listed(user: Viewer, queue: Queue) -> list[BacktestReply]:
    """Your runs, the oldest first, without their results."""
    return [_reply(run, brief=True) for run in queue.of(user.id)]


@router.get("/choices")
def choices(user: Viewer, parts: Has) -> BacktestChoices:
    """What a run can be made of: the strategies' files, and what lies in the data folder."""
    folder = _folder(parts)
    strategies = [_choice(path) for path in sorted((parts.config / "strategies").glob("*.yaml"))]
    return BacktestChoices(strategies=strategies, data=files(folder) if folder.is_dir() else [], folder=str(folder))


@router.get("/{run_id}")
def one(run_id: str, user: Viewer, queue: Queue) -> BacktestReply:
    return _reply(own(queue, user, run_id))


@router.get("/{run_id}/report", response_class=FileResponse)
def report(run_id: str, user: Viewer, queue: Queue) -> FileResponse:
    """The report with charts: one HTML file that needs no network."""
    return report_of(own(queue, user, run_id))


@router.delete("/{run_id}")
def cancel(run_id: str, user: Trader, queue: Queue) -> Message:
    queue.cancel(own(queue, user, run_id))
    return Message(message="the run is ended")


def own(queue: Backtests, user: User, run_id: str) -> Run:
    """One of the user's runs; 404 for another's and for none alike."""
    run = queue.get(user.id, run_id)
    if run is None:
        raise HTTPException(404, "you have no such run")
    return run


def report_of(run: Run) -> FileResponse:
    """Its report, shut off from everything around it."""
    path = run.report
    if path is None:
        raise HTTPException(404, f"there is no report: the run is {run.state}")
    return FileResponse(path, media_type="text/html", headers=REPORT_HEADERS)


def _choice(path: Path) -> StrategyChoice:
    try:
        given = read(path).value
    except ConfigError:  # what is wrong with it, its run says
        given = None
    given = given if isinstance(given, dict) else {}
    name, params = str(given.get("class", "")), given.get("params")
    return StrategyChoice(name=path.stem, class_=name, params=params if isinstance(params, dict) else {}, ranges=ranges_of(name))


def _folder(parts: Parts) -> Path:
    return Path(parts.settings.data or parts.state / "backtest-data").resolve()


def _reply(run: Run, *, brief: bool = False) -> BacktestReply:
    return BacktestReply(
        id=run.id,
        strategy=run.strategy,
        data=run.data,
        params=run.params,
        begun_at=run.begun_at,
        state=run.state,
        progress=round(run.progress, 3),
        report=run.report is not None,
        error=run.error,
        result=None if brief else run.result(),
    )
