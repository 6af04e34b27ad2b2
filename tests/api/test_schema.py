"""Whatever the OpenAPI document allows, and what it forbids: no request makes the web process fail inside."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.api.house import House

EXAMPLES = 150  # for each state of the daemon


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with House(tmp_path_factory.mktemp("schema"), webhooks=True, postbacks=True) as house:
        house.secrets["NIYAM_SIGNAL_SECRET"] = "the-secret-of-the-alerts"
        house.secrets["NIYAM_POSTBACK_SECRET"] = "0"  # what draws it gets as far as the daemon; an empty one would be none
        owner = house.user()
        house.set_up(owner)
        yield house, owner, schemathesis.openapi.from_asgi("/openapi.json", house.app)


@pytest.mark.parametrize("up", [True, False], ids=["daemon", "no daemon"])
def test_no_request_that_the_document_describes_fails_inside(stand: Any, up: bool) -> None:
    house, owner, document = stand
    house.desk.up = up
    paths = [operation.ok() for operation in document.get_all_operations()]
    assert len(paths) >= 40
    seen: dict[int, int] = {}

    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from([one for one in paths if not one.path.endswith(("/logout", "/refresh"))]))
        case = data.draw(operation.as_strategy())
        case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"} | owner
        reply = case.call()
        seen[reply.status_code] = seen.get(reply.status_code, 0) + 1
        assert reply.status_code < 500 or (reply.status_code in (502, 503, 504) and not up), (case.method, case.path, reply.text)

    ask()
    assert seen.get(200, 0) > EXAMPLES / 20, seen


def test_the_document_says_what_the_contract_promises(house: House) -> None:
    promised = {
        ("post", "/api/v1/auth/register"), ("post", "/api/v1/auth/login"), ("post", "/api/v1/auth/first-time-api-setup"),
        ("post", "/api/v1/first-time-api-setup"), ("get", "/api/v1/dashboard/{broker}/login-url"),
        ("post", "/api/v1/dashboard/{broker}/login-url"), ("post", "/api/v1/dashboard/activate-brokerage"),
        ("get", "/api/v1/dashboard/dashboard"), ("post", "/api/apps"), ("get", "/api/apps"), ("patch", "/api/apps/{app_id}"),
        ("delete", "/api/apps/{app_id}"), ("post", "/api/apps/{app_id}/switch"), ("post", "/api/v1/trades/bulk"), ("get", "/api/v1/orders"),
        ("get", "/api/v1/positions"), ("get", "/api/v1/holdings"), ("get", "/api/v1/funds"), ("get", "/api/v1/strategies"),
        ("post", "/api/v1/commands"), ("get", "/healthz"), ("get", "/metrics"),
    }  # fmt: skip
    found = house.client.get("/openapi.json").json()
    assert promised <= {(method, path) for path, methods in found["paths"].items() for method in methods}
    table = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    assert [path for _, path in sorted(promised) if path.partition("{")[0] not in table] == []
