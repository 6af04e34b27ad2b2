"""docs/angel-one-smartapi.postman_collection.json: the guide's folders and variables, and every request run at the wire simulator."""

from datetime import datetime
from pathlib import Path

from simulators.totp import totp
from tests.wire.granted_client import admin, simulator
from tests.wire.postman import Collection

PATH = Path(__file__).resolve().parents[2] / "docs" / "angel-one-smartapi.postman_collection.json"
FOLDERS = {
    "Authentication": {"Login by MPIN", "Refresh Token", "Logout"},
    "User Profile": {"Get Profile"},
    "Orders": {"Place Order", "Modify Order", "Cancel Order", "Get Order Book", "Get Trade Book"},
    "Portfolio": {"Get Positions", "Get Holdings", "Get Funds"},
    "Market Data": {"Historical Candles", "Market Status", "Get Quote"},
    "Symbol Master": {"Get Symbol Master"},
}


def test_it_has_the_guides_folders_and_variables_and_no_secret() -> None:
    collection = Collection(PATH)
    assert [one["name"] for one in collection.document["item"]] == list(FOLDERS)
    for folder, names in FOLDERS.items():
        assert names <= {one["name"] for place, one in collection.requests if place == folder}
    assert collection.variables["base_url"] == "https://apiconnect.angelbroking.com"
    for name in ("api_key", "client_id", "mpin", "totp", "jwt_token", "refresh_token", "feed_token"):
        assert collection.variables[name] == "", f"{name} is the user's to fill in"


def test_every_request_is_answered_by_the_simulator() -> None:
    with simulator("angelone", "--start", "10:00", "--speed", "0") as about:
        known = about["credentials"]
        now = datetime.fromisoformat(admin(about, "GET", "/")["now"])
        collection = Collection(
            PATH,
            base_url=about["rest"],
            master_url=about["rest"],
            api_key=known["api_key"],
            client_id=known["client_code"],
            mpin=known["mpin"],
            totp=totp(known["totp_secret"], now),
        )
        found = {}
        for reply in collection.run():
            assert reply.status == 200, (reply.name, reply.data)
            assert reply.name == "Get Symbol Master" or reply.data["status"] is True, (reply.name, reply.data)
            admin(about, "POST", "/move", {"seconds": 1.1})
            found[reply.name] = reply.data if reply.name == "Get Symbol Master" else reply.data["data"]
        (account,) = admin(about, "GET", "/accounts").values()
    assert found.keys() == {one["name"] for _, one in collection.requests}
    assert list(found)[-1] == "Logout", "the others would have had no session any more"
    (order,) = found["Get Order Book"]
    assert (order["orderid"], order["quantity"], order["ordertag"]) == (collection.variables["order_id"], "2", "postman")
    assert order["orderstatus"] == "open"
    assert [row["orderstatus"] for row in account["orders"]] == ["cancelled"]
    assert found["Get Trade Book"] is None, "a bid at the lower circuit trades with nobody"
    assert found["Historical Candles"]
    assert found["Market Status"]["fetched"][0]["exchFeedTime"]
    assert next(row for row in found["Get Symbol Master"] if row["token"] == "3045")["symbol"] == "SBIN-EQ"
