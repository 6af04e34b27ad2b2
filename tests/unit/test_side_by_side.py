"""Accounts side by side: what they share goes to whom it concerns, and what cannot be traded by one process is refused at the start."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from brokers.spec import Announce
from core.clock import ManualClock
from core.errors import ConfigError, DataError, NiyamError
from core.events import Event, FeedStatus, OrderUpdate, SessionStatus
from core.types import AccountKind, Instrument, OrderState, SessionState, Side, Snapshot, Tick
from data_ingestion.shared_feed import Put, Seat, SharedFeed
from runtime import commands, daemon, manual_order
from runtime.control_socket import ControlSocket
from runtime.lines import Lines
from runtime.options import RunOptions
from runtime.state_folder import Lock, RunFolder, account_folder, current, currents, enter, ledger_url, of_account, show
from tests.builders import NIFTY, T0
from tests.harness import SHARE
from utils.config_loader import load
from utils.control import Answer

ROOT = Path(__file__).resolve().parents[2]


class OneFeed:
    """A feed that remembers what it was told, and says what the test makes it say."""

    def __init__(self, put: Put) -> None:
        self.put = put
        self.wanted: set[str] = set()
        self.started = self.stopped = 0
        self.counts = {"truncated frame": 1}
        self.texts = ("hello",)
        self.silent_for = 0.5

    def start(self) -> None:
        self.started += 1

    def stop(self) -> None:
        self.stopped += 1

    def subscribe(self, instruments: Iterable[Instrument]) -> None:
        self.wanted |= {one.key for one in instruments}

    def unsubscribe(self, instruments: Iterable[Instrument]) -> None:
        self.wanted -= {one.key for one in instruments}

    def reconnect(self, reason: str) -> None:
        self.put([FeedStatus(T0, False, reason)], "feed")

    @property
    def desired(self) -> frozenset[str]:
        return frozenset(self.wanted)

    @property
    def confirmed(self) -> frozenset[str]:
        return frozenset(self.wanted)


class Floor:
    """One shared feed, and what each account heard of it."""

    def __init__(self) -> None:
        self.shared = SharedFeed(ManualClock(T0))
        self.made: list[OneFeed] = []
        self.heard: dict[str, list[Event]] = {}

    def seat(self, account: str, *, trades: bool = False, translation: "Renamed | None" = None) -> Seat:
        heard = self.heard.setdefault(account, [])

        def put(events: Sequence[Event], origin: str) -> None:
            heard.extend(events)

        def make(put: Put) -> OneFeed:
            self.made.append(OneFeed(put))
            return self.made[-1]

        return self.shared.seat(put, make, trades=trades, translation=None if translation is None else lambda: translation)

    def say(self, *events: Event) -> None:
        for heard in self.heard.values():
            heard.clear()
        self.made[-1].put(events, "feed")


class Renamed:
    """The feed's broker calls NIFTY's future otherwise, and does not list the share."""

    OTHER = Instrument("NFO:NIFTYNOVFUT", "NFO", "NIFTYNOVFUT", NIFTY.kind, "NIFTY", NIFTY.lot, NIFTY.tick_size, NIFTY.expiry)

    def theirs(self, instrument: Instrument) -> Instrument:
        if instrument.key != NIFTY.key:
            raise DataError(f"{instrument.key} is not listed there")
        return self.OTHER

    def ours(self, instrument: Instrument) -> Instrument | None:
        return NIFTY if instrument.key == self.OTHER.key else None


def tick(instrument: Instrument, price: float = 100.0) -> Tick:
    return Tick(instrument, T0, price)


def update() -> OrderUpdate:
    return OrderUpdate(T0, "stream", "1", NIFTY, Side.BUY, 65, OrderState.WORKING, 0, 0.0)


def test_one_feed_serves_them_all_and_each_hears_what_it_asked_for() -> None:
    floor = Floor()
    live, paper = floor.seat("live", trades=True), floor.seat("paper")
    live.subscribe([NIFTY])
    paper.subscribe([NIFTY, SHARE])
    live.start()
    paper.start()
    [feed] = floor.made
    assert (feed.started, feed.wanted) == (1, {NIFTY.key, SHARE.key})
    floor.say(FeedStatus(T0, True), tick(NIFTY), tick(SHARE), update())
    assert [type(event) for event in floor.heard["live"]] == [FeedStatus, Tick, OrderUpdate]
    assert floor.heard["paper"] == [FeedStatus(T0, True), tick(NIFTY), tick(SHARE)], "the orders are not its"
    assert live.desired == {NIFTY.key}
    assert paper.confirmed == {NIFTY.key, SHARE.key}


def test_an_instrument_stays_subscribed_while_anyone_wants_it_and_the_last_ends_the_feed() -> None:
    floor = Floor()
    first, second = floor.seat("first"), floor.seat("second")
    for seat in (first, second):
        seat.start()
        seat.subscribe([NIFTY])
    [feed] = floor.made
    first.unsubscribe([NIFTY])
    assert feed.wanted == {NIFTY.key}
    floor.say(tick(NIFTY))
    assert floor.heard["first"] == []
    first.stop()
    assert floor.heard["first"][-1:] == [FeedStatus(T0, False, "stopped")]
    assert feed.stopped == 0
    second.stop()
    second.stop()
    assert (feed.stopped, feed.wanted) == (1, set())


def test_one_that_joins_later_is_told_how_the_feed_stands() -> None:
    floor = Floor()
    floor.seat("early").start()
    floor.say(FeedStatus(T0, True, "", 2))
    late = floor.seat("late")
    late.start()
    assert floor.heard["late"] == [FeedStatus(T0, True, "", 2)]
    late.reconnect("mute")
    assert floor.heard["early"][-1] == FeedStatus(T0, False, "mute")


def test_prices_for_orders_elsewhere_come_in_the_orders_words() -> None:
    floor = Floor()
    seat = floor.seat("split", translation=Renamed())
    seat.subscribe([NIFTY, SHARE])
    seat.start()
    assert floor.made[0].wanted == {Renamed.OTHER.key}
    floor.say(tick(Renamed.OTHER, 25_000.0))
    assert floor.heard["split"] == [tick(NIFTY, 25_000.0)]
    assert seat.confirmed == {NIFTY.key}
    assert seat.counts["not listed where prices come from"] == 1


class Keys:
    def __init__(self, key: str) -> None:
        self.key = key

    def get_secret(self, name: str) -> str:
        if not self.key:
            raise ConfigError(f"{name} is not set")
        return self.key


def test_one_app_is_one_login_and_everyone_who_uses_it_hears_of_it() -> None:
    lines, clock = Lines(), ManualClock(T0)
    line = lines.line("zerodha", Keys("a"), clock)
    assert lines.line("zerodha", Keys("a"), clock) is line
    assert lines.line("zerodha", Keys("b"), clock) is not line
    assert lines.line("upstox", Keys("a"), clock) is not line
    assert lines.line("zerodha", Keys(""), clock) is not line
    told: dict[str, list[Event]] = {"live": [], "paper": []}
    made: list[Announce] = []

    class Login:
        pass

    def make(announce: Announce) -> Login:
        made.append(announce)
        return Login()

    sessions = [line.session(make, heard.append) for heard in told.values()]  # type: ignore[arg-type]
    assert sessions[0] is sessions[1]
    dead = SessionStatus(T0, "live", SessionState.LOGIN_REQUIRED)
    [announce] = made
    announce(dead)
    assert told == {"live": [dead], "paper": [dead]}


def test_one_account_logs_in_and_the_others_wait_for_it() -> None:
    line = Lines().line("upstox", Keys("a"), ManualClock(T0))
    assert [line.claim(), line.claim()] == [True, False]
    line.release()
    line.wait()
    assert line.claim()


# --- folders and read-outs --------------------------------------------------------------------------------------------------------------


def entered(state: Path, *names: str) -> list[RunFolder]:
    folders = [enter(state, name, AccountKind.PRACTICE, T0)[0] for name in names]
    show(state, folders)
    return folders


def test_read_outs_show_every_account_of_the_last_process_the_one_in_use_first(tmp_path: Path) -> None:
    [old] = entered(tmp_path, "old")
    kite, angel = entered(tmp_path, "kite", "angel")
    assert currents(tmp_path) == [kite, angel]
    assert current(tmp_path) == kite
    assert of_account(tmp_path, "angel") == angel
    assert of_account(tmp_path, "old") == old
    with pytest.raises(NiyamError, match=r"'nobody' has never run in .*; there are angel, kite, old"):
        of_account(tmp_path, "nobody")


def test_rows_of_several_accounts_say_whose_they_are() -> None:
    rows = {"kite": [{"seq": 1}], "angel": [{"seq": 1, "account": "angel"}]}
    assert commands._together(rows) == [{"account": "kite", "seq": 1}, {"account": "angel", "seq": 1}]
    reports = {"kite": {"day": "D", "net": 1}, "angel": {"day": "D", "net": 2}}
    assert commands._together(reports) == {"day": "D", "net": 1, "accounts": [{"day": "D", "net": 1}, {"day": "D", "net": 2}]}
    assert commands._together({"kite": {"day": "D"}}) == {"day": "D"}, "one account's document is as ever"


def test_an_order_by_hand_goes_to_the_account_at_its_broker(tmp_path: Path) -> None:
    kinds = {"paper": ("zerodha", "practice"), "kite": ("zerodha", "practice-live"), "angel": ("angelone", "practice-live")}
    asked: list[str] = []

    def serve(folder: RunFolder, name: str) -> ControlSocket:
        broker, kind = kinds[name]

        def submit(command: str, arguments: Mapping[str, Any]) -> Answer:
            asked.append(name)
            return Answer(ok=True, data={"success": True, "status": "PENDING"})

        made = ControlSocket(folder.control_socket, lambda: Snapshot(status={"account": name, "broker": broker, "kind": kind}), submit)
        made.start()
        return made

    servers = [serve(folder, name) for folder, name in zip(entered(tmp_path, *kinds), kinds, strict=True)]
    try:
        with Lock(tmp_path):  # a daemon runs
            for broker, live in (("angelone", True), ("zerodha", True), ("zerodha", False), ("upstox", True)):
                last = manual_order.place({"broker": broker, "symbol": "RELIANCE", "live": live}, state=tmp_path)
            for account in ("kite", "angel", "nobody"):
                order = {"broker": "zerodha", "symbol": "RELIANCE", "live": False, "account": account}
                named = manual_order.place(order, state=tmp_path)
                assert named["success"] is (account == "kite"), named
    finally:
        for server in servers:
            server.stop()
    assert asked == ["angel", "kite", "paper", "kite"], "the account that is named is the one, or none"
    assert last["status"] == "REJECTED"
    assert last["error"].startswith("the running daemon has no account at upstox; there is paper at zerodha, kite at zerodha, angel")


def test_each_account_has_a_ledger_of_its_own(tmp_path: Path) -> None:
    url = "postgresql://niyam@host/{account}"
    folder = account_folder(tmp_path, "mine")
    assert ledger_url(folder, AccountKind.LIVE, url, Keys("secret")) == "postgresql+psycopg://niyam:secret@host/mine"


# --- what is refused at the start -------------------------------------------------------------------------------------------------------

ACCOUNTS = """\
  kite: {kind: practice-live, broker: zerodha, capital: 1000000}
  kite-two: {kind: practice-live, broker: zerodha, capital: 1000000}
  paper: {kind: paper, broker: zerodha, capital: 1000000}
  angel-paper: {kind: paper, broker: angelone, capital: 1000000}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    shutil.copytree(ROOT / "config", folder)
    settings = folder / "settings.yaml"
    settings.write_text(settings.read_text().replace("accounts:\n", "accounts:\n" + ACCOUNTS, 1))
    return folder


@pytest.mark.parametrize(
    ("accounts", "more", "why"),
    [
        (("practice", "practice"), {}, "named twice"),
        (("practice", "kite"), {"broker": "upstox"}, "--broker is for a run of one account"),
        (("practice", "paper"), {}, "no time in common: practice is practice, paper is paper"),
        (("kite", "kite-two"), {}, "kite and kite-two are one account at zerodha: a simulator has one client"),
        (("practice", "kite"), {}, "no enabled strategy names the account 'kite'"),
    ],
)
def test_accounts_that_cannot_be_traded_by_one_process_are_refused(
    config: Path, tmp_path: Path, accounts: tuple[str, ...], more: dict[str, str], why: str
) -> None:
    first, *beside = accounts
    with pytest.raises(ConfigError, match=why):
        daemon.run(RunOptions(config, tmp_path / "state", account=first, beside=tuple(beside), api=False, **more))  # type: ignore[arg-type]
    assert not (tmp_path / "state").exists(), "nothing had begun"


def test_one_database_cannot_hold_two_ledgers(config: Path, tmp_path: Path) -> None:
    settings = config / "settings.yaml"
    settings.write_text(settings.read_text().replace("url: sqlite", f"url: sqlite:///{tmp_path}/one.sqlite", 1))
    with pytest.raises(ConfigError, match=r"one ledger for 2 accounts; put \{account\} in it"):
        daemon.run(RunOptions(config, tmp_path / "state", account="paper", beside=("angel-paper",), api=False))


@pytest.mark.parametrize(
    ("name", "why"), [("papre", r"beside: 'papre' is not in accounts; .*paper"), ("practice", "is the account in use already")]
)
def test_an_account_beside_must_be_another_that_there_is(config: Path, name: str, why: str) -> None:
    settings = config / "settings.yaml"
    settings.write_text(settings.read_text().replace("account: practice\n", f"account: practice\nbeside: [{name}]\n", 1))
    with pytest.raises(ConfigError, match=why):
        load(config)
