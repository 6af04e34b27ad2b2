"""Strategies: what each does and may do next, its switch, and its parameters with their ranges; a change is judged before it counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from api.dashboard.parts import DASH, Figure, card, clock, gain, rupees, set_badge
from api.dashboard.visit import Board, Refused, Visit

_TONES = {"running": "good", "locked": "warn", "stopped": "bad", "disabled": "calm", "waiting": "calm", "left out": "warn"}
_LIMITS = (  # field of the file, what it is
    ("risk.max_loss", "Most loss a day, ₹"),
    ("risk.max_trades", "Most trades a day"),
    ("risk.stop_pct", "Stop, % of entry"),
    ("risk.take_profit_pct", "Target, % of entry"),
    ("window.entry_from", "Entries from"),
    ("window.entry_until", "Entries until"),
)
_SECTIONS: Mapping[str, Mapping[str, Any]] = {  # limits of two fields: what the second is where it is not given
    "risk.lock_profit": {"at": None, "keep": 100.0},
    "risk.cooldown": {"minutes": None, "after": "loss"},
}
_SIZES = {"lots": "Lots", "quantity": "Quantity", "capital": "Capital, ₹", "risk": "Risk a trade, ₹"}


async def show(visit: Visit) -> None:
    await _Strategies(visit).begin()


def next_actions(row: Mapping[str, Any], status: Mapping[str, Any]) -> list[str]:
    """What a strategy will or may do next today, in the order of the clock where it is known."""
    if row.get("state") != "running":
        return [f"nothing: {row.get('why') or row.get('state')}"]
    if not status.get("running"):
        return ["nothing: the engine is not running"]
    market, window = status.get("market") or {}, row.get("window") or {}
    now = clock(market.get("now"))[:5]
    opens, until = window.get("entry_from"), window.get("entry_until")
    may = status.get("trading_state") == "ACTIVE"
    found = []
    if not may:
        found.append(f"no entry: trading is {status.get('trading_state')}; exits go on")
    elif opens and now < opens:
        found.append(f"entries from {opens} on")
    elif until and now >= until:
        found.append(f"no entry: its window ended at {until}")
    else:
        found.append(f"decides at the close of each bar of {row.get('interval')}" + (f", entries until {until}" if until else ""))
    found += [
        f"rolls {one.get('old', '')} into {one.get('new', '')}" for one in status.get("rolls") or () if one.get("strategy") == row["name"]
    ]
    if row.get("horizon") == "intraday" and market.get("square_off_at"):
        found.append(f"square-off at {clock(market['square_off_at'])[:5]}")
    return found


def section_changes(section: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """What `retune` has to set so that a limit of two fields is `now` (None: empty). ValueError says what is missing."""
    usual = _SECTIONS[section]
    first, second = usual
    if now[first] is None:
        if now[second] not in (None, usual[second], (before or {}).get(second)):
            raise ValueError(f"{section}: give {first} too, or leave both empty")
        return {} if before is None else {section: None}
    whole = {name: usual[name] if now[name] is None else now[name] for name in usual}
    if before is None:
        return {section: whole}
    return {f"{section}.{name}": value for name, value in whole.items() if value != before.get(name)}


class _Strategies:
    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._cards: dict[str, _Card] = {}
        self._note = ui.label("").classes("note")
        self._place = ui.element("div").classes("grid")

    async def begin(self) -> None:
        await self._build()
        self._visit.on_live(self._follow)

    async def _build(self) -> None:
        try:
            rows = await self._visit.api.get("/api/v1/strategies")
        except Refused as no:
            self._note.set_text(no.text)
            return
        self._note.set_text("" if rows else "this account has no strategies: config/strategies has one file for each")
        self._place.clear()
        with self._place:
            self._cards = {row["name"]: _Card(self._visit, row, self._build) for row in rows}
        self._follow(self._visit.boards.look())

    def _follow(self, board: Board) -> None:
        rows: Sequence[Mapping[str, Any]] = board.status.get("strategies") or ()
        if {row["name"] for row in rows} - set(self._cards):
            ui.timer(0.1, self._build, once=True)
            return
        for row in rows:
            self._cards[row["name"]].update(row, board.status)


class _Card:
    """One strategy. `rebuild` makes all anew after a change of its file."""

    def __init__(self, visit: Visit, row: Mapping[str, Any], rebuild: Any) -> None:
        self._visit = visit
        self._name = str(row["name"])
        self._rebuild = rebuild
        self._inputs: dict[str, tuple[Any, Any]] = {}  # field of the file -> (its input, what stands there)
        with card(name=f"strategy-{self._name}").classes("half"):
            with ui.row().classes("head"):
                ui.label(self._name).classes("title")
                self._state = ui.label("").classes("badge").props(f"data-testid=state-{self._name}")
                ui.space()
                if visit.may("trader"):
                    self._switch = ui.switch(value=bool(row.get("enabled")), on_change=self._toggle)
                    self._switch.props(f'data-testid=switch-{self._name} aria-label="{self._name} on or off"')
            self._what = ui.label("").classes("note")
            with ui.row().classes("figures live-figures"):
                self._net = Figure("Net today")
                self._held = Figure("Holds")
                self._trades = Figure("Trades today")
            ui.label("Next").classes("caption")
            self._next = ui.column().classes("list")
            self._shown: list[str] = []
            self._refused = ui.label("").classes("note")
            if visit.may("trader"):
                with ui.expansion("Parameters and limits", icon="tune").classes("tuner").props(f"dense data-testid=tune-{self._name}"):
                    self._tuner(row)
        self.update(row, visit.boards.look().status)

    def update(self, row: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        state = str(row.get("state"))
        set_badge(self._state, state, _TONES.get(state, ""))
        contracts = ", ".join(key or logical for logical, key in (row.get("instruments") or {}).items())
        self._what.set_text(f"{row.get('class')} on {contracts}, {row.get('interval')} bars, {row.get('horizon')}")
        net = row.get("pnl")
        self._net.show(rupees(net, sign=True), "", gain(net))
        held = row.get("position") or {}
        self._held.show(", ".join(f"{quantity:+d} {key.partition(':')[2]}" for key, quantity in held.items()) or "flat", "", "wrap")
        self._trades.show(str(row.get("trades", DASH)))
        if (actions := next_actions(row, status)) != self._shown:
            self._shown = actions
            self._next.clear()
            with self._next:
                for action in actions:
                    ui.label(action)
        refused = [one for one in status.get("refusals") or () if one.get("strategy") == self._name]
        told = "; ".join(f"{one['name']} {one['count']} × {one['rule']} ({one['reason']})" for one in refused)
        self._refused.set_text(f"refused today: {told}" if told else "")
        if self._visit.may("trader") and self._switch.value is not bool(row.get("enabled")):
            self._switch.set_value(bool(row.get("enabled")))

    # --- acting ---------------------------------------------------------------------------------------------------------------------

    async def _toggle(self, event: Any) -> None:
        rows = self._visit.boards.look().status.get("strategies") or ()
        known = next((bool(row.get("enabled")) for row in rows if row["name"] == self._name), None)
        if event.value is known:
            return  # it follows the daemon's word
        word = "enable" if event.value else "disable"
        if await self._visit.act(self._visit.api.post(f"/api/v1/strategies/{self._name}/{word}")) is None and known is not None:
            self._switch.set_value(known)

    def _tuner(self, row: Mapping[str, Any]) -> None:
        params = row.get("params") or {}
        with ui.element("div").classes("fields"):
            for one in row.get("ranges") or ():
                self._field(f"params.{one['name']}", one["name"], params.get(one["name"], one["default"]), _range(one), one["type"])
            for name, value in (row.get("size") or {}).items():
                self._field(f"size.{name}", _SIZES.get(name, name), value, "", "float" if name in ("capital", "risk") else "int")
            for field, label in _LIMITS:
                above, _, name = field.partition(".")
                kind = "str" if above == "window" else "int" if name == "max_trades" else "float"
                self._field(field, label, (row.get(above) or {}).get(name), "empty: none" if kind != "str" else "HH:MM, empty: any", kind)
            self._sections(row.get("risk") or {})
        ui.label("Parameters make it anew, warmed up; what it holds stays until it wants something else. Limits count at once.").classes(
            "note"
        )
        self._wrong = ui.label("").classes("refused").props(f"data-testid=wrong-{self._name} role=alert")
        self._wrong.set_visibility(False)
        ui.button("Apply", icon="done", on_click=self._apply).props(f"unelevated no-caps color=primary data-testid=apply-{self._name}")

    def _sections(self, risk: Mapping[str, Any]) -> None:
        """Limits of two fields: a profit that is defended, and a pause after a trade."""
        lock, pause = risk.get("lock_profit"), risk.get("cooldown")
        numbers = {
            "risk.lock_profit.at": ("Lock profit at, ₹", (lock or {}).get("at"), "empty: none"),
            "risk.lock_profit.keep": ("Keep, % of best", (lock or {}).get("keep"), "100: the day ends there"),
            "risk.cooldown.minutes": ("Pause, minutes", (pause or {}).get("minutes"), "empty: none"),
        }
        made: dict[str, Any] = {}
        for field, (label, value, hint) in numbers.items():
            made[field] = ui.number(label, value=value).props(f'dense outlined hint="{hint}" data-testid={self._name}-{field}')
        after = ui.select({"loss": "a loss", "exit": "any exit"}, label="Pause after", value=(pause or {}).get("after", "loss"))
        made["risk.cooldown.after"] = after.props(f"dense outlined options-dense data-testid={self._name}-risk.cooldown.after")
        self._limits = [(section, before, {name: made[f"{section}.{name}"] for name in _SECTIONS[section]})
                        for section, before in (("risk.lock_profit", lock), ("risk.cooldown", pause))]  # fmt: skip

    def _field(self, field: str, label: str, value: Any, hint: str, kind: str) -> None:
        made: Any
        if kind == "bool":
            made = ui.switch(label, value=bool(value))
        elif kind == "str":
            made = ui.input(label, value="" if value is None else str(value)).props(f'dense outlined hint="{hint}"')
        else:
            made = ui.number(label, value=value, step=1 if kind == "int" else None).props(f'dense outlined hint="{hint}"')
        made.props(f"data-testid={self._name}-{field}")
        self._inputs[field] = (made, value)

    async def _apply(self) -> None:
        values: dict[str, Any] = {}
        for field, (made, before) in self._inputs.items():
            now = made.value
            if isinstance(now, float) and now.is_integer() and not isinstance(before, float):
                now = int(now)  # a number field gives 5.0 for 5
            now = None if now == "" else now
            if now != before:
                values[field] = now
        self._wrong.set_visibility(False)
        try:
            for section, present, inputs in self._limits:
                values |= section_changes(section, present, {name: one.value if one.value != "" else None for name, one in inputs.items()})
        except ValueError as error:
            self._refuse(str(error))
            return
        if not values:
            ui.notify("nothing was changed")
            return
        try:
            answer = await self._visit.api.post(f"/api/v1/strategies/{self._name}/retune", {"values": values})
            wrong = "" if answer["ok"] else str(answer["text"])
        except Refused as no:
            wrong = no.text
        if wrong:
            self._refuse(wrong)
            return
        ui.notify(str(answer["text"]), type="positive", multi_line=True)
        await self._rebuild()

    def _refuse(self, text: str) -> None:
        self._wrong.set_text(text)
        self._wrong.set_visibility(True)


def _range(one: Mapping[str, Any]) -> str:
    """`1 to 500, usually 9`."""
    bounds = f"{one['low']} to {one['high']}, " if one["low"] is not None else ""
    return f"{bounds}usually {one['default']}"
