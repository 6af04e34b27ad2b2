"""What happens when the ledger cannot be written: entries are off and a person is told; exits go on, their intents kept aside.

While its space is short the disk's reserve is given to the ledger, and entries stay off until the reserve could be taken again.
"""

from datetime import datetime

from core.errors import StoreError
from core.ports import Emergency
from execution_engine.order_manager import Alert
from execution_engine.world import World

LEDGER, RESERVE = "ledger", "reserve"
LOOK_S = 5  # seconds between two looks whether there is room again


class LedgerWatch:
    """Keeps the world's word on it. `failed` and `written` are told of each commit that did or did not work."""

    def __init__(self, world: World, alert: Alert, emergency: Emergency | None) -> None:
        self._world = world
        self._alert = alert
        self._emergency = emergency

    def failed(self, error: StoreError) -> None:
        reason = f"ledger not writable: {error}"
        if self._world.blinded.get(LEDGER) == reason:
            return
        self._world.blinded[LEDGER] = reason
        if self._emergency is not None and self._emergency.free():
            self._world.blinded[RESERVE] = "the disk was full, and the ledger lives on its reserve: free some disk space"
        self._alert("page", "Entries are off", f"{reason}; exits go on")

    def written(self) -> None:
        """All that waited is in the ledger."""
        if self._world.blinded.pop(LEDGER, None) is None:
            return
        if self._emergency is not None:
            try:
                self._emergency.clear()
            except StoreError as error:
                self._alert("warn", "The emergency journal stays", f"{error}; the next start finds its orders in the ledger")
        self._alert("info", "The ledger is written again", "nothing that waited is lost")

    def each_second(self, now: datetime) -> None:
        if RESERVE in self._world.blinded and now.second % LOOK_S == 0 and self._emergency is not None and self._emergency.reserve():
            del self._world.blinded[RESERVE]
            self._alert("info", "The disk has room again", "its reserve is kept back again, entries are on")
