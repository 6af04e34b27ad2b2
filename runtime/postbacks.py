"""Order updates that the broker posts to the web process: judged on a control thread, heard by the engine like its order socket's."""

from collections.abc import Mapping
from typing import Any

from core.errors import NiyamError
from core.ports import CredentialStore
from runtime.wiring import House
from utils.control import Answer


class Postbacks:
    """Answers the control request `postback`."""

    def __init__(self, house: House, credentials: CredentialStore) -> None:
        self._house = house
        self._credentials = credentials

    def answer(self, given: Mapping[str, Any]) -> Answer:
        """`broker`, and `body` as it was posted."""
        house = self._house
        broker, read = str(given.get("broker")), house.spec.postback
        if broker != house.spec.name:
            return Answer(
                ok=False, text=f"the account {house.account.name} is at {house.spec.title}; name the account that is at {broker:.40}"
            )
        if read is None:
            return Answer(ok=False, text=f"{house.spec.title} posts no order updates; they come by its order socket and the order book")
        if house.broker is None:
            return Answer(ok=False, text=f"the account {house.account.name} fills on paper; no order of it is at {house.spec.title}")
        try:
            update = read(str(given.get("body")).encode(), self._credentials, house.clock.now(), house.lookup())
        except NiyamError as error:
            return Answer(ok=False, text=str(error))
        house.inbox.put([update], "postback")
        house.pump.poke()
        return Answer(ok=True, text=f"{update.broker_order_id}: {update.label}")
