"""What stands before every route: host names, sizes, rates, headers; and where the process listens at all."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.house import House
from utils.config_loader import ROOT


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:8000", 200), ("evil.example:8000", 421), ("127.0.0.1.evil.example", 421)],
)
def test_only_our_own_names_are_answered(tmp_path: Path, host: str, status: int) -> None:
    with House(tmp_path, hosts=("127.0.0.1", "localhost", "::1")) as house:
        assert house.client.get("/healthz", headers={"Host": host}).status_code == status


def test_a_request_is_measured_as_it_comes(house: House) -> None:
    limit = house.parts.settings.largest_request

    def endless() -> Iterator[bytes]:
        for _ in range(limit // 1000 + 2):
            yield b" " * 1000

    declared = house.client.post("/api/v1/auth/login", content=b" " * (limit + 1))
    assert declared.status_code == 413
    assert house.client.post("/api/v1/auth/login", content=endless()).status_code == 413
    assert house.client.post("/api/v1/auth/login", content=b" " * limit).status_code == 422


def test_a_client_has_so_many_requests_a_minute_and_fewer_logins(tmp_path: Path) -> None:
    with House(tmp_path, requests_per_minute=60, logins_per_minute=3) as house:
        given = {"username": "nobody", "password": "x"}
        assert [house.client.post("/api/v1/auth/login", json=given).status_code for _ in range(4)] == [401, 401, 401, 429]
        replies = [house.client.get("/healthz").status_code for _ in range(60)]
        assert (replies.count(200), replies[-1]) == (56, 429)
        house.clock.advance(20)
        assert house.client.post("/api/v1/auth/login", json=given).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/api/v1/status", "/nowhere"])
def test_every_reply_tells_the_browser_to_be_careful(house: House, path: str) -> None:
    headers = house.client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "unsafe-inline'; script" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_the_documents_page_needs_nothing_from_elsewhere(house: House) -> None:
    page = house.client.get("/docs").text
    assert "http" not in page
    for name in ("start.js", "swagger-ui.css", "swagger-ui-bundle.js"):
        assert f"/docs/{name}" in page
        assert house.client.get(f"/docs/{name}").status_code == 200


@pytest.mark.parametrize("more", [["--host", "0.0.0.0"], ["--host", "192.0.2.1"], ["--tls-cert", "x"]])
def test_it_listens_beyond_this_machine_with_tls_or_an_explicit_word_alone(tmp_path: Path, more: list[str]) -> None:
    command = [sys.executable, "main.py", "serve", "--port", "0", "--state", str(tmp_path), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "--tls-cert and --tls-key" in done.stderr
