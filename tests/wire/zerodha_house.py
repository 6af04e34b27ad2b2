"""A Zerodha session, client and their surroundings against a scripted server, for tests."""

from pathlib import Path

from brokers.zerodha import SPEC
from brokers.zerodha.client import ZerodhaBroker, ZerodhaData
from brokers.zerodha.session import ZerodhaSession
from tests.builders import NIFTY, RELIANCE
from tests.wire.house import Secrets, Surroundings

TOKEN = "tokenOfTheDay123456"
SECRET = "theApiSecretNobodySees"
KEY = "apikey42"
_LOGIN = {"access_token": TOKEN, "expires_at": "2026-11-21T06:00:00+05:30"}


def credentials() -> Secrets:
    return Secrets(ZERODHA_API_KEY=KEY, ZERODHA_API_SECRET=SECRET)


class House(Surroundings):
    """Everything around one account, logged in unless told otherwise."""

    def __init__(self, url: str, folder: Path, *, logged_in: bool = True) -> None:
        listed = {738561: RELIANCE, 12345602: NIFTY}
        super().__init__(url, folder, "zerodha", f"{url}/connect/login", listed, SPEC.limits, **(_LOGIN if logged_in else {}))
        self.credentials = credentials()
        self.session = ZerodhaSession("live", self.credentials, self.clock, self.token_file, self.endpoints, self.events.append)

    def broker(self) -> ZerodhaBroker:
        return ZerodhaBroker(self.session, *self.around)

    def data(self) -> ZerodhaData:
        return ZerodhaData(self.session, *self.around)
