"""Backtest runs: started here, done by a child process, looked at while they run."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request

from api.auth import Has, Trader, Viewer
from api.backtests import Backtests, Run
from api.schemas import Backtest, BacktestReply, Message

router = APIRouter(prefix="/api/v1/backtests", tags=["backtests"])


def _queue(request: Request) -> Backtests:
    queue: Backtests = request.app.state.backtests
    return queue


Queue = Annotated[Backtests, Depends(_queue)]


@router.post("", status_code=202)
def start(given: Backtest, user: Trader, parts: Has, queue: Queue) -> BacktestReply:
    """Queue one run of a strategy over data of the data folder."""
    strategy = parts.config / "strategies" / f"{given.strategy}.yaml"
    folder = Path(parts.settings.data or parts.state / "backtest-data").resolve()
    data = (folder / given.data).resolve()
    if not strategy.is_file():
        raise HTTPException(404, f"there is no strategy {given.strategy!r} in {parts.config / 'strategies'}")
    if not data.is_relative_to(folder) or not data.exists():
        raise HTTPException(404, f"there is no {given.data!r} in the data folder {folder}")
    flags = (("--from", given.start), ("--to", given.end), ("--instrument", given.instrument))
    more = [word for flag, value in flags if value is not None for word in (flag, value)]
    run = queue.add(user.id, strategy, data, given.data, more)
    if run is None:
        raise HTTPException(429, "eight runs wait already; let them end first")
    return _reply(run)


@router.get("")
def listed(user: Viewer, queue: Queue) -> list[BacktestReply]:
    return [_reply(run, brief=True) for run in queue.of(user.id)]


@router.get("/{run_id}")
def one(run_id: str, user: Viewer, queue: Queue) -> BacktestReply:
    return _reply(_own(queue, user.id, run_id))


@router.delete("/{run_id}")
def cancel(run_id: str, user: Trader, queue: Queue) -> Message:
    queue.cancel(_own(queue, user.id, run_id))
    return Message(message="the run is ended")


def _own(queue: Backtests, user_id: int, run_id: str) -> Run:
    run = queue.get(user_id, run_id)
    if run is None:
        raise HTTPException(404, "you have no such run")
    return run


def _reply(run: Run, *, brief: bool = False) -> BacktestReply:
    result = None if brief else run.result
    return BacktestReply(id=run.id, strategy=run.strategy, data=run.data, state=run.state, error=run.error, result=result)
