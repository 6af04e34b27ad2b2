"""`serve` on a port that somebody has: a sentence with what to do, and nothing that looks like success."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import urllib3

from runtime.web_child import WebChild
from tests.e2e.stage import until
from utils.config_loader import CONFIG_FOLDER, ROOT


def test_a_taken_port_is_told_and_ends_with_exit_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "main.py", "serve", "--port", str(port), "--state", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in done.stderr
    assert "--port" in done.stderr


def test_the_daemon_repeats_the_last_words_of_a_web_process(tmp_path: Path) -> None:
    child = WebChild(CONFIG_FOLDER, tmp_path / "state", tmp_path)
    assert child._last_words() == ""
    (tmp_path / "web.out").write_text("starting\nniyam: cannot listen on port 8000\n\n", encoding="utf-8")
    assert child._last_words() == ": niyam: cannot listen on port 8000"


def test_where_the_page_is_is_told_once_it_is_served(tmp_path: Path) -> None:
    config = tmp_path / "config"
    shutil.copytree(CONFIG_FOLDER, config)
    settings = (config / "settings.yaml").read_text(encoding="utf-8")
    (config / "settings.yaml").write_text(settings.replace("port: 8000", "port: 0"), encoding="utf-8")
    child = WebChild(config, tmp_path / "state", tmp_path)
    assert child.address == ""
    child.start()
    until(lambda: bool(child.address), "the web process")
    try:
        told = json.loads(urllib3.request("GET", f"{child.address}/healthz").data)
    finally:
        child.stop()
    assert told
    assert child._last_words() == "", "what it says of itself is no complaint"
