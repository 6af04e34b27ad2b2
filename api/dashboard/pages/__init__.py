"""The pages, in the order of the navigation; one file for each (see the folder above for how they are made)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from api.dashboard.pages import brokers, cockpit, people, setup
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
    Page("/brokers", "Brokers", "account_balance", brokers.show),
    Page("/people", "People", "group", people.show, "owner"),
    Page("/setup", "Set up a broker", "", setup.show, "trader"),
)
