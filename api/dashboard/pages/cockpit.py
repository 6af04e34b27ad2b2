"""The cockpit: what the engine is doing now and how it stands, and the switches that stop it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from api.dashboard.accounts import WORDS, rows
from api.dashboard.curve import Curve
from api.dashboard.order_form import OrderForm
from api.dashboard.parts import (
    Column,
    Figure,
    Table,
    age,
    ask,
    badge,
    card,
    clock,
    gain,
    moment,
    named,
    price,
    rupees,
    set_badge,
    short,
    tone,
)
from api.dashboard.portfolio import Portfolio
from api.dashboard.visit import Board, Visit

MOST_SIGNALS = 30
_SWITCHES = (  # (what the API calls it, the button, its icon, the question before it or none)
    ("pause", "Pause", "pause", ""),
    ("reduce-only", "Reduce only", "south_east", ""),
    ("square-off", "Square off", "exit_to_app", "Every position of the engine is closed now; strategies may enter again afterwards."),
)
_ABSENT = (
    "Only if you have looked for it in the order book and the positions of the broker's terminal: then it counts as never sent, and what "
    "it was for is done again. If it is there after all, an exit is doubled."
)
_KILL = "All working orders of its engine are cancelled, its positions are closed, and it is halted until somebody resumes it."
_KILL_ALL = "Working orders are cancelled, positions closed, and trading halted until somebody resumes it, in each of: "


async def show(visit: Visit) -> None:
    with ui.element("div").classes("grid"):
        _state(visit)
        with ui.element("div").classes("two-thirds stack"):
            _result(visit)
            _positions(visit)
        with ui.element("div").classes("third stack"):
            if visit.may("trader"):
                OrderForm(visit)
            _alerts(visit)
        _orders(visit)
        _signals(visit)
        _refusals(visit)
        Portfolio(visit)


# --- state and switches -------------------------------------------------------------------------------------------------------


def _state(visit: Visit) -> None:
    with card().classes("live-figures"):
        with ui.row().classes("head-row wrap"):
            with ui.row().classes("figures"):
                phase, square_off = Figure("Market", "phase"), Figure("Square-off")
                session, feed, flat, late = (
                    Figure("Session", "session"),
                    Figure("Feed", "feed"),
                    Figure("Book", "flat"),
                    Figure("Late events"),
                )
            ui.space()
            if visit.may("trader"):
                _switches(visit)
        with ui.row().classes("doubts") as doubtful:
            doubts = [badge("") for _ in range(4)]

    def update(board: Board) -> None:
        status = board.status
        market, market_feed = status.get("market") or {}, status.get("feed") or {}
        phase.show(str(market.get("phase", "closed")).replace("_", " "), clock(market.get("now")))
        square_off.show(clock(market.get("square_off_at")))
        session.show(str(status.get("session", "–")), colour=tone(status.get("session")))
        connected = bool(market_feed.get("connected"))
        silent = ", ".join(short(key) for key in market_feed.get("stale") or [])
        feed.show(
            ("connected" if connected else "disconnected") if market_feed else "–",
            f"last tick {age(market_feed.get('age_s'))} ago" + (f" · silent: {silent}" if silent else ""),
            "good" if connected and not silent else "warn" if connected else "bad",
        )
        flat.show("flat" if status.get("flat", True) else "not flat")
        late.show(str(status.get("late_events", 0)))
        texts = [str(status["blind"])] if status.get("blind") else []
        texts += [f"{name}: {why}" for name, why in (status.get("frozen") or {}).items()]
        texts += [f"roll of {roll.get('name', roll.get('instrument', ''))}" for roll in status.get("rolls") or []]
        for label, text in zip(doubts, [*texts, "", "", "", ""], strict=False):
            set_badge(label, text, "warn")
            label.set_visibility(bool(text))
        doubtful.set_visibility(bool(texts))

    visit.on_live(update)


def _switches(visit: Visit) -> None:
    def whose() -> str:
        """The account that a switch means, as the question names it."""
        status = visit.boards.look().status
        return f"{status.get('account', 'the account')} ({WORDS.get(str(status.get('kind')), '?')})"

    def command(name: str, question: str = "", **more: Any) -> Callable[[], Awaitable[None]]:
        async def say() -> None:
            text = name.replace("-", " ").capitalize()
            if question and not await ask(f"{text} {whose()}?", question, text):
                return
            await visit.act(visit.api.post("/api/v1/commands", {"name": name, **more}))

        return say

    async def kill_all() -> None:
        names = [f"{row['account']} ({WORDS.get(str(row['kind']), '?')})" for row in rows(visit.boards.look())]
        if await ask(f"Kill all {len(names)} accounts?", _KILL_ALL + ", ".join(names) + ".", "Kill all"):
            await visit.act(visit.api.post("/api/v1/commands/kill-all"))

    with ui.row().classes("switches"):
        for name, text, icon, question in _SWITCHES:
            named(ui.button(text, icon=icon, on_click=command(name, question)).props("outline dense no-caps"), name)
        resume = named(ui.button("Resume", icon="play_arrow").props("outline dense no-caps"), "resume")
        kill = named(
            ui.button("KILL", icon="dangerous", on_click=command("kill", _KILL)).props("unelevated dense no-caps color=negative"), "kill"
        )
        every = named(ui.button("KILL ALL", icon="dangerous", on_click=kill_all).props("outline dense no-caps color=negative"), "kill-all")

    async def again() -> None:
        halted = visit.boards.look().status.get("trading_state") == "HALTED"
        question = "Trading was halted. Look at positions and alerts first; strategies may enter again from now on." if halted else ""
        await command("resume", question, **({"confirm": True} if halted else {}))()

    resume.on_click(again)

    def update(board: Board) -> None:
        several = bool(rows(board))
        kill.set_text(f"KILL {board.status.get('account')}" if several else "KILL")
        every.set_visibility(several)

    visit.on_live(update)


# --- the day's result ---------------------------------------------------------------------------------------------------------


def _result(visit: Visit) -> None:
    with card("Result of the day").classes("live-figures"):
        with ui.row().classes("figures"):
            net, realised = Figure("Net", "net"), Figure("Realised")
            unrealised, charges = Figure("Unrealised"), Figure("Charges")
        Curve(visit)

    def update(board: Board) -> None:
        pnl: Mapping[str, float] = board.status.get("pnl") or {}
        for figure, name in ((net, "net"), (realised, "realised"), (unrealised, "unrealised")):
            figure.show(rupees(pnl.get(name), sign=True), colour=gain(pnl.get(name)))
        charges.show(rupees(pnl.get("charges")))

    visit.on_live(update)


def _positions(visit: Visit) -> None:
    with card("Positions").classes("live-figures"):
        table = Table(
            [
                Column("instrument", "Instrument", short),
                Column("strategy", "Strategy", phone=False),
                Column("product", "Product", phone=False),
                Column("quantity", "Quantity", lambda value: f"{value:,d}", right=True),
                Column("average_price", "Average", price, right=True, phone=False),
                Column("last_price", "Last", price, right=True),
                Column("unrealised", "Unrealised", lambda value: rupees(value, sign=True), right=True, colour=gain),
                Column("realised", "Realised", lambda value: rupees(value, sign=True), right=True, phone=False, colour=gain),
            ],
            empty="no position today",
            name="positions",
        )

    def update(board: Board) -> None:
        table.show(sorted(board.positions, key=lambda row: (not row["quantity"], row["instrument"])))

    visit.on_live(update, lambda board: board.positions)


# --- orders -------------------------------------------------------------------------------------------------------------------


def _orders(visit: Visit) -> None:
    async def absent(row: Mapping[str, Any]) -> None:
        """A person has looked for an order of unknown fate."""
        if await ask(f"Is {row['tag']} not at the broker?", _ABSENT, "It is not there"):
            await visit.act(visit.api.post("/api/v1/commands", {"name": "absent", "tag": row["tag"], "confirm": True}))

    async def life(row: Mapping[str, Any]) -> None:
        """Every state that this order went through, with its time, from the journal."""
        entries = await visit.act(visit.api.get("/api/v1/journal", text=row["id"], day=str(row["created_at"])[:10]))
        with ui.dialog() as dialog, ui.card().classes("dialog wide"):
            ui.label(f"{row['side']} {row['quantity']} {short(row['instrument'])}").classes("headline")
            ui.label(f"{row['id']} · at the broker {row['broker_order_id'] or '–'} · {row['strategy']}").classes("mono")
            told = Table(
                [
                    Column("at", "Time", clock),
                    Column("kind", "What"),
                    Column("state", "State", colour=tone),
                    Column("filled", "Filled", right=True),
                    Column("price", "Price", price, right=True),
                    Column("source", "By", phone=False),
                    Column("reason", "Why"),
                ],
                name="life",
            )
            mine = [entry for entry in entries or [] if entry.get("order") == row["id"]]
            told.show([_step(entry) for entry in mine])
            if row["state"] == "UNKNOWN" and visit.may("trader"):
                named(ui.button("Not at the broker", on_click=lambda: absent(row)).props("outline dense no-caps"), "absent")
        dialog.on("hide", dialog.delete)
        dialog.open()

    with card("Orders").classes("live-figures"):
        table = Table(
            [
                Column("created_at", "Time", clock),
                Column("updated_at", "Changed", clock, phone=False),
                Column("instrument", "Instrument", short),
                Column("side", "Side", colour=lambda value: "buy" if value == "BUY" else "sell"),
                Column("done", "Filled", right=True),
                Column("average_price", "Average", price, right=True, phone=False),
                Column("limit_price", "Limit", price, right=True, phone=False),
                Column("state", "State", colour=tone),
                Column("strategy", "Strategy", phone=False),
                Column("reason", "Why", phone=False),
            ],
            empty="no order today",
            name="orders",
            rows=12,
            on_row=life,
        )

    def update(board: Board) -> None:
        table.show(visit.boards.once("orders", board.orders, lambda: _newest_first(board.orders)))

    visit.on_live(update, lambda board: board.orders)


def _step(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the journal as a step of an order's life."""
    filled = f"+{entry.get('quantity')}" if entry["kind"] == "fill" else entry.get("filled")
    return {**entry, "filled": filled, "price": entry.get("price") or entry.get("average_price") or entry.get("limit_price")}


def _newest_first(orders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    newest = sorted(orders, key=lambda row: (str(row["created_at"]), row["id"]), reverse=True)
    return [{**row, "done": f"{row['filled']:,d} / {row['quantity']:,d}"} for row in newest]


# --- signals, refusals, alerts ------------------------------------------------------------------------------------------------


def _signals(visit: Visit) -> None:
    with card("Signals").classes("half live-figures"):
        table = Table(
            [
                Column("at", "Time", clock),
                Column("strategy", "Strategy"),
                Column("instrument", "Instrument", short),
                Column("target", "Target", lambda value: f"{value:+g}", right=True),
                Column("stop", "Stop", price, right=True, phone=False),
                Column("why", "Why", phone=False),
            ],
            empty="no signal yet",
            name="signals",
            rows=10,
        )

    def update(board: Board) -> None:
        today = str((board.status.get("market") or {}).get("now") or "")[:10]
        table.show([row for row in board.signals if str(row["at"])[:10] == today][-MOST_SIGNALS:][::-1])

    visit.on_live(update, lambda board: board.signals)


def _refusals(visit: Visit) -> None:
    with card("Refused by the gate").classes("half live-figures"):
        table = Table(
            [
                Column("strategy", "Strategy"),
                Column("name", "Name", short),
                Column("rule", "Rule"),
                Column("reason", "Reason"),
                Column("count", "Times", right=True),
            ],
            empty="nothing was refused",
            name="refusals",
        )
    visit.on_live(lambda board: table.show(list(board.status.get("refusals") or [])))


def _alerts(visit: Visit) -> None:
    with card("Alerts", "alerts"):
        place = ui.column().classes("list")
        if visit.may("trader"):
            seen = ui.button("Acknowledge", on_click=lambda: visit.act(visit.api.post("/api/v1/commands", {"name": "acknowledge"})))
            named(seen.props("flat dense no-caps"), "acknowledge")
    shown: list[Any] = [None]

    def update(board: Board) -> None:
        alerts = list(board.status.get("alerts") or [])
        if alerts == shown[0]:
            return
        shown[0] = alerts
        place.clear()
        with place:
            for one in reversed(alerts[-8:]):
                with ui.column().classes("alert"):
                    with ui.row().classes("items-center"):
                        badge(one["level"])
                        ui.label(one["title"]).classes("strong")
                        ui.label(moment(one["at"])).classes("note")
                    ui.label(one["text"]).classes("note clamp")
            if not alerts:
                ui.label("no alert").classes("empty")
        if visit.may("trader"):
            seen.set_visibility(bool(alerts))

    visit.on_live(update)
