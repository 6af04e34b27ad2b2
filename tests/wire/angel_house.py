"""An Angel One session, client and their surroundings against a scripted server, for tests."""

from pathlib import Path

from brokers.angelone.client import AngelBroker, AngelData
from brokers.angelone.facts import LIMITS
from brokers.angelone.session import AngelSession
from tests.builders import NIFTY, RELIANCE
from tests.wire.house import Secrets, Surroundings

TOKEN = "jwtOfTheDay.123456.signature"
REFRESH, FEED = "refreshOfTheDay.1.x", "feedOfTheDay.1.x"
SECRETS = {"ANGELONE_API_KEY": "apikey42", "ANGELONE_CLIENT_CODE": "A123456", "ANGELONE_MPIN": "9173"}
TOTP_SECRET = "JBSWY3DPEHPK3PXP"
_LOGIN = {"access_token": TOKEN, "refresh_token": REFRESH, "feed_token": FEED, "user_id": "A123456"}
_LOGIN |= {"expires_at": "2026-11-21T00:00:00+05:30"}


def credentials(**more: str) -> Secrets:
    return Secrets(**SECRETS, **more)


class House(Surroundings):
    """Everything around one account, logged in unless told otherwise, with its credentials and these secrets."""

    def __init__(self, url: str, folder: Path, *, logged_in: bool = True, **secrets: str) -> None:
        listed = {"NSE|2885|RELIANCE-EQ": RELIANCE, "NFO|63657|NIFTY24NOV26FUT": NIFTY}
        super().__init__(url, folder, "angelone", f"{url}/publisher-login", listed, LIMITS, **(_LOGIN if logged_in else {}))
        self.credentials = credentials(**secrets)
        self.session = AngelSession("live", self.credentials, self.clock, self.token_file, self.endpoints, self.events.append)

    def broker(self) -> AngelBroker:
        return AngelBroker(self.session, *self.around)

    def data(self) -> AngelData:
        return AngelData(self.session, *self.around)
