"""docs/frontend.md: every call of its module is in the API's document, and the whole flow runs in Node against a real web process."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.collection import document
from tests.wire.granted_client import ROOT, simulator

PAGE = (ROOT / "docs" / "frontend.md").read_text(encoding="utf-8")
MODULE = "\n".join(re.findall(r"```javascript\n(.*?)```", PAGE, re.DOTALL))
NODE = shutil.which("node")
WEBSOCKET = "--experimental-websocket"  # Node 20 has one behind this flag, later ones take it still
CALL = re.compile(r"fetch\(`\$\{API_BASE_URL\}([^`]*)`, \{(.*?)\}\);\n", re.DOTALL)
KEYS = re.compile(r"JSON\.stringify\(\{(.*?)\}\)", re.DOTALL)
GUIDES = ("login-url", "activate-brokerage", "dashboard", "first-time-api-setup", "register", "login")
FLOW = """
import * as niyam from './niyam.mjs';
const [address, key, secret] = process.argv.slice(2);
const told = {};
niyam.useAPI(address);
told.wrong = await niyam.login('me@example.in', 'not-the-password').catch((error) => error.status);
told.registered = await niyam.register('me@example.in', 'a-long-password', 'Me');
told.token = (await niyam.login('me@example.in', 'a-long-password')).token_type;
await niyam.refresh();
told.unset = await niyam.getDashboard();
told.asked = await niyam.setUpBroker({ broker: 'zerodha', api_key: key, api_secret: secret });
const page = await fetch(told.asked.login_url, { redirect: 'manual' });
const back = new URL(page.headers.get('location'));
told.activated = await niyam.activateFromRedirect('zerodha', back.search, told.asked);
told.dashboard = await niyam.getDashboard();
told.live = await new Promise((resolve, reject) => {
  const heard = (update) => { resolve(Object.keys(update).sort()); socket.close(); };
  const socket = niyam.openLive(heard, (code) => reject(new Error(`socket ${code}`)));
});
told.bulk = await niyam.placeOrders('zerodha', [{ symbol: 'NIFTY_FUT', direction: 'BUY', lots: 0 }], false).catch((error) => error.message);
told.command = await niyam.command('pause', false).catch((error) => error.status);
await niyam.logout();
told.after = await niyam.getDashboard().catch((error) => error.status);
console.log(JSON.stringify(told));
process.exit(0);
"""


def calls() -> list[tuple[str, str, set[str]]]:
    """(method, path, keys of the body) of each fetch of the page."""
    found = []
    for path, options in CALL.findall(MODULE):
        method = re.search(r"method: '(\w+)'", options)
        body = KEYS.search(options)
        keys = {part.split(":")[0].strip() for part in body[1].split(",") if part.strip()} if body else set()
        found.append((method[1] if method else "GET", f"/api/v1{path}".replace("${broker}", "{broker}"), keys))
    return found


def test_every_call_is_in_the_apis_document() -> None:
    api = document()
    assert len(calls()) == MODULE.count("fetch(") >= 10
    for method, path, keys in calls():
        one = api["paths"][path][method.lower()]
        content = one.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        names = [content, *content.get("anyOf", [])]
        reference = next((name["$ref"].rpartition("/")[2] for name in names if "$ref" in name), "")
        known = set(api["components"]["schemas"][reference]["properties"]) if reference else set()
        told = {"email": "username"}  # the guides' word for it
        assert {told.get(key, key) for key in keys} <= known, (method, path)
        assert set(api["components"]["schemas"][reference].get("required", []) if reference else []) <= {told.get(key, key) for key in keys}


def test_it_has_every_step_of_the_guides() -> None:
    paths = {path for _, path, _ in calls()}
    assert [name for name in GUIDES if not any(path.endswith(f"/{name}") for path in paths)] == []
    assert [name for name in ("zerodha", "groww", "upstox", "icici", "angelone") if f'<option value="{name}">' not in PAGE] == []


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, Any]]]:
    """(address of a web process, what the broker's simulator says of itself)."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with simulator("zerodha", "--start", "10:00", "--speed", "1") as about:
        monkeypatch.setenv("NIYAM_SIMULATOR", about["admin"])
        command = [sys.executable, "main.py", "serve", "--port", str(port), "--state", str(tmp_path / "state")]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _until_answered(f"http://127.0.0.1:{port}/healthz")
                yield f"http://127.0.0.1:{port}", about["credentials"]
            finally:
                process.terminate()


@pytest.mark.skipif(
    NODE is None or subprocess.run([NODE, WEBSOCKET, "-e", "0"], capture_output=True).returncode != 0,
    reason="needs Node 20 or later to run JavaScript; the calls are held to the API's document either way",
)
def test_the_whole_flow_runs_as_it_stands_on_the_page(served: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    address, known = served
    (tmp_path / "niyam.mjs").write_text(MODULE, encoding="utf-8")
    (tmp_path / "flow.mjs").write_text(FLOW, encoding="utf-8")
    command = [str(NODE), WEBSOCKET, str(tmp_path / "flow.mjs"), address, known["api_key"], known["api_secret"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["wrong"], told["registered"]["role"], told["token"]) == (401, "owner", "bearer")
    assert told["unset"]["error"].startswith("no broker is set up")
    assert told["asked"]["state"]
    assert told["activated"]["message"] == "zerodha activated successfully"
    assert (told["dashboard"]["stale"], told["dashboard"]["unused_funds"]) == (False, 1_000_000.0)
    assert told["live"] == ["orders", "positions", "signals", "status"]
    assert "lots" in told["bulk"]
    assert (told["command"], told["after"]) == (503, 401)


def _until_answered(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the web process did not come up")
