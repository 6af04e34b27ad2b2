"""What a person may tell the engine, and the words in which it says what came of it.

pause, reduce-only, resume change the trading state. square-off and kill flatten what our ledger owns and answer when it is flat (or
say what is not). kill halts, and the halt survives restarts until `resume --confirm`. acknowledge, or `resume --confirm`, thaws what an
anomaly froze, and lets entries pass after errors before the open. absent says that the broker does not have an order of unknown fate
(execution_engine/absence.py). watch subscribes one more instrument, or gives up one so watched. reload, retune, enable and disable change
what the day goes by (runtime/reload.py) and answer when that is done. signal is an outside alert for a strategy of `class:
outside_alerts`: what it says is taken as if the strategy had said it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from core.errors import DataError
from core.events import Command
from core.types import Instrument, Signal, TradingState
from execution_engine.arming import Arming
from execution_engine.engine import Engine
from execution_engine.manual_orders import ManualOrders
from execution_engine.portfolio import EXTERNAL

PATIENCE = timedelta(seconds=60)
Answer = Callable[[str, bool, str, Any], None]  # command id, ok, text, data


class Market(Protocol):
    """What today's names mean, and which instruments tick."""

    def resolve(self, name: str) -> Instrument: ...
    def watch(self, instrument: Instrument) -> None: ...
    def unwatch(self, instrument: Instrument) -> None: ...


class Changes(Protocol):
    """Who takes up changed files, fields and toggles; it answers by itself."""

    def take(self, engine: Engine, command: Command) -> None: ...
    def toggle(self, engine: Engine, command: Command) -> None: ...
    def check(self, engine: Engine) -> None: ...


class _Waiting(msgspec.Struct):
    """A command whose outcome is not known yet."""

    id: str
    name: str
    until: datetime
    whole_account: bool = False


class Control:
    """Handles Command events; `check` is called after each batch and answers what has become true."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._waiting: list[_Waiting] = []
        self.by_hand: ManualOrders | None = None  # None: no orders by hand are taken
        self.market: Market | None = None  # None: nothing can be watched
        self.arming: Arming | None = None  # None: errors before the open bar nothing
        self.changes: Changes | None = None  # None: nothing is changed while it runs

    def handle(self, engine: Engine, command: Command) -> None:
        handlers: Mapping[str, Callable[[Engine, Command], None]] = {
            "pause": self._pause,
            "reduce-only": self._pause,
            "resume": self._resume,
            "square-off": self._square_off,
            "kill": self._kill,
            "acknowledge": self._acknowledge,
            "absent": self._absent,
            "signal": self._signal,
        }
        if self.by_hand is not None:
            handlers = {**handlers, "order": self.by_hand.take}
        if self.market is not None:
            handlers = {**handlers, "watch": self._watch}
        if self.changes is not None:
            take, toggle = self.changes.take, self.changes.toggle
            handlers = {**handlers, "reload": take, "retune": take, "enable": toggle, "disable": toggle}
        handler = handlers.get(command.name)
        if handler is None:
            self._answer(command.id, False, f"the engine knows no command {command.name!r}; there are {', '.join(handlers)}", None)
            return
        engine.store.journal(command.at, "command", {"name": command.name, "arguments": dict(command.arguments)})
        handler(engine, command)

    def check(self, engine: Engine) -> None:
        """Answer the commands whose outcome is known now."""
        if self.by_hand is not None:
            self.by_hand.check(engine)
        if self.changes is not None:
            self.changes.check(engine)
        if not self._waiting:
            return
        now, state = engine.clock.now(), engine.world.state
        held = [position for position in engine.portfolio.positions() if position.quantity]
        alive = len(engine.desk.live()) + len(engine.desk.unbooked())  # what the broker filled and no price has told is not flat either
        for waiting in list(self._waiting):
            left = [position for position in held if waiting.whole_account or position.strategy != EXTERNAL]
            done = not left and not alive
            if not done and now < waiting.until:
                continue
            self._waiting.remove(waiting)
            if done:
                self._answer(waiting.id, True, f"{waiting.name}: flat, no order alive; trading state {state}", {"flat": True})
            else:
                what = ", ".join(f"{p.quantity} {p.instrument.key}" for p in left) or f"{alive} orders alive"
                text = f"{waiting.name}: not flat after {PATIENCE.seconds} s: {what}; it goes on trying; trading state {state}"
                self._answer(waiting.id, False, text, {"flat": False})

    def _pause(self, engine: Engine, command: Command) -> None:
        engine.set_state(TradingState.REDUCE_ONLY, f"{command.name} by command")
        self._answer(command.id, True, "entries are off; exits and the square-off go on (`resume` turns entries on)", None)

    def _resume(self, engine: Engine, command: Command) -> None:
        if engine.world.state is TradingState.HALTED and not command.arguments.get("confirm"):
            text = "trading is HALTED (a kill or a broken cap): look at the journal, then `resume --confirm`"
            self._answer(command.id, False, text, None)
            return
        if command.arguments.get("confirm"):
            engine.desk.thaw()
            engine.reconciliation.looked_at()
            if self.arming is not None:
                self.arming.acknowledge()
        engine.set_state(TradingState.ACTIVE, "resume by command")
        text = "trading state ACTIVE; what a stop or a command has closed waits for a different target of its strategy"
        self._answer(command.id, True, text, None)

    def _square_off(self, engine: Engine, command: Command) -> None:
        engine.square_off.now_all("square-off by command", engine.clock.now())
        self._wait(engine, command)

    def _kill(self, engine: Engine, command: Command) -> None:
        whole = command.arguments.get("whole_account")
        if whole is not None and whole != engine.account.name:
            text = f"--whole-account {whole!r} is not this daemon's account {engine.account.name!r}: type it exactly"
            self._answer(command.id, False, text, None)
            return
        engine.set_state(TradingState.HALTED, "kill by command")
        engine.settle()
        engine.square_off.now_all("kill by command", engine.clock.now(), whole_account=whole is not None)
        self._wait(engine, command, whole_account=whole is not None)

    def _acknowledge(self, engine: Engine, command: Command) -> None:
        thawed = engine.desk.thaw()
        engine.reconciliation.looked_at()
        errors = self.arming.acknowledge() if self.arming is not None else []
        what = "; ".join([*thawed, *errors])
        self._answer(command.id, True, f"acknowledged: {what or 'there was nothing to acknowledge'}", {"thawed": thawed, "errors": errors})

    def _absent(self, engine: Engine, command: Command) -> None:
        tag = str(command.arguments.get("tag"))
        if not command.arguments.get("confirm"):
            text = f"look at the broker's terminal first; if {tag} is not in its order book: `absent {tag} --confirm`"
            self._answer(command.id, False, text, None)
            return
        objection = engine.reconciliation.absence.say(tag, command.at)
        if not objection:
            engine.executor.read_books(positions=True, urgent=True)
        text = f"noted; {tag} is closed as NOT_FOUND once the books, read for two minutes, do not show it either"
        self._answer(command.id, not objection, objection or text, {"tag": tag})

    def _watch(self, engine: Engine, command: Command) -> None:
        assert self.market is not None
        name, stop = str(command.arguments.get("name")), bool(command.arguments.get("stop"))
        try:
            instrument = self.market.resolve(name)
        except DataError as error:
            self._answer(command.id, False, str(error), None)
            return
        (self.market.unwatch if stop else self.market.watch)(instrument)
        text = f"{instrument.key} is no longer watched by hand" if stop else f"{instrument.key} is watched for the rest of the day"
        self._answer(command.id, True, f"{text}; strategies keep what is theirs", {"instrument": instrument.key})

    def _signal(self, engine: Engine, command: Command) -> None:
        given = command.arguments
        strategy, name = str(given.get("strategy")), str(given.get("name"))
        run = next((one for one in engine.runs if one.strategy.name == strategy and name in one.instruments), None)
        if run is None or run.stopped:
            why = run.stopped if run is not None else "it does not trade that today"
            self._answer(command.id, False, f"{strategy} takes no signal for {name}: {why}", None)
            return
        if not run.strategy.by_alert:
            self._answer(command.id, False, f"{strategy} decides by itself; signals are for `class: outside_alerts`", None)
            return
        target, stop, take_profit = given.get("target"), given.get("stop"), given.get("take_profit")
        why = str(given.get("why") or "")
        signal = Signal(strategy, name, run.instruments[name], target, command.at, stop, take_profit, why)  # type: ignore[arg-type]  # judged next
        if nonsense := run.nonsense(signal):
            self._answer(command.id, False, nonsense, None)
            return
        engine.take_signal(run, signal)
        self._answer(command.id, True, f"{strategy} {name}: target {target:g} is taken; risk and orders are as for any signal", None)

    def _wait(self, engine: Engine, command: Command, *, whole_account: bool = False) -> None:
        self._waiting.append(_Waiting(command.id, command.name, engine.clock.now() + PATIENCE, whole_account))
        self.check(engine)
