"""The pages, in the order of the navigation; one file for each (see the folder above for how they are made)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from api.dashboard.pages import backtests, brokers, charts, check, cockpit, journal, people, setup, strategies
from api.dashboard.visit import Visit


@dataclass(frozen=True, slots=True)
class Page:
    """`icon` is a name of Material Icons. Without an icon a page is not in the navigation."""

    path: str
    title: str
    icon: str
    show: Callable[[Visit], Awaitable[None]]
    role: str = "viewer"


PAGES: tuple[Page, ...] = (
    Page("/", "Cockpit", "monitor_heart", cockpit.show),
    Page("/charts", "Charts", "candlestick_chart", charts.show),
    Page("/strategies", "Strategies", "tune", strategies.show),
    Page("/backtests", "Backtests", "history", backtests.show),
    Page("/journal", "Journal", "menu_book", journal.show),
    Page("/brokers", "Brokers", "account_balance", brokers.show),
    Page("/people", "People", "group", people.show, "owner"),
    Page("/check", "Check", "checklist", check.show),
    Page("/setup", "Set up a broker", "", setup.show, "trader"),
)
