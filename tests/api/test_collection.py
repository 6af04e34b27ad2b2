"""docs/niyam-api.postman_collection.json is made from the API as it is, names every route, and its bodies have the shape that is asked."""

import json
import re
from typing import Any

from tests.api.collection import FILE, collection, document
from tests.api.house import PASSWORD, House


def requests() -> list[dict[str, Any]]:
    return [one["request"] for folder in json.loads(FILE.read_text(encoding="utf-8"))["item"] for one in folder["item"]]


def test_it_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == collection(document()), "run `make docs`"


def test_it_names_every_route_once(house: House) -> None:
    served = [(method.upper(), path) for path, methods in house.app.openapi()["paths"].items() for method in methods]
    named = [(one["method"], re.sub(r":(\w+)", r"{\1}", one["url"]["raw"].removeprefix("{{base_url}}"))) for one in requests()]
    assert sorted(named) == sorted(served)
    assert len(served) > 40


def test_its_requests_have_the_shape_that_the_api_asks_for(house: House) -> None:
    headers, told = house.user(), {}
    for one in requests():
        path = "/" + "/".join(one["url"]["path"])
        for given in one["url"].get("variable", []):
            path = path.replace(f":{given['key']}", given["value"])
        if path in ("/api/v1/auth/logout", "/api/v1/auth/refresh"):  # they end the token
            continue
        query = {given["key"]: given["value"] for given in one["url"].get("query", []) if not given["disabled"]}
        text = one.get("body", {}).get("raw", "").replace("{{username}}", "somebody").replace("{{password}}", PASSWORD)
        sent = dict(headers, **{"Content-Type": "application/json"} if text else {})
        told[one["method"], path] = house.client.request(one["method"], path, content=text, headers=sent, params=query).status_code
    assert {where: status for where, status in told.items() if status == 422 or status >= 500} == {}
    assert told["POST", "/api/v1/auth/first-time-api-setup"] == 200
