"""The web process beside the daemon: started, watched and started again, so that whatever becomes of it never touches the engine."""

import subprocess
import sys
import threading
from pathlib import Path

from loguru import logger

from utils.config_loader import ROOT, environment

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "NIYAM_SIMULATOR", "NIYAM_VAULT_KEY_FILE", "CREDENTIALS_DIRECTORY")
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
HEALTHY_S = 60.0  # a process that lived so long begins with the first pause again
END_S = 5.0
HEAR_S = 0.25  # how often its first words are looked for
ANNOUNCED = "Dashboard on "
"""How the line begins by which the web process says that it listens, and where."""


class WebChild:
    """`serve --child` in a process of its own. Its standard input is a pipe that ends with us: it then ends too."""

    def __init__(self, config: Path, state: Path, log: Path) -> None:
        self._command = [sys.executable, str(ROOT / "main.py"), "serve", "--child", "--config", str(config.resolve())]
        self._command += ["--state", str(state.resolve())]
        self._log = log / "web.out"
        self.address = ""  # of the page, once it is served
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the process, at the latest after a few seconds."""
        self._stopping.set()
        process = self._process
        if process is not None:
            _end(process)
        if self._thread.is_alive():
            self._thread.join(timeout=END_S)

    def _watch(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            lived = threading.Event()
            timer = threading.Timer(HEALTHY_S, lived.set)
            timer.daemon = True
            timer.start()
            code = self._run()
            timer.cancel()
            if self._stopping.is_set():
                return
            pause = FIRST_PAUSE_S if lived.is_set() else min(pause * 2, LONGEST_PAUSE_S)
            logger.warning(
                "the web process ended (exit {}{}); started again in {:.0f} s; see {}", code, self._last_words(), pause, self._log
            )
            self._stopping.wait(pause)

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n") if self._log.exists() else []
        return next((f": {line}" for line in reversed(lines) if line.strip() and not line.startswith(ANNOUNCED)), "")

    def _hear(self) -> None:
        """Take up where it listens, and say it once."""
        first = self._log.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        if first.startswith(ANNOUNCED) and not self.address:
            self.address = first.removeprefix(ANNOUNCED).partition(",")[0]
            logger.info(first)

    def _run(self) -> int:
        inherited = {name: environment(name) for name in _INHERITED if environment(name)}
        with self._log.open("wb") as said:
            process = subprocess.Popen(  # noqa: S603 - our own main.py, with arguments made above
                self._command, stdin=subprocess.PIPE, stdout=said, stderr=said, env=inherited, cwd=str(ROOT)
            )
        self._process = process
        if self._stopping.is_set():
            _end(process)
        code = None
        while code is None:
            try:
                code = process.wait(None if self.address else HEAR_S)
            except subprocess.TimeoutExpired:
                self._hear()
        if process.stdin is not None:
            process.stdin.close()
        return code


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
