"""A web process over a scripted daemon, for what no simulator shows: `python -m tests.browser.scripted PORT FOLDER`."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from api.app import create
from tests.api.house import STATUS, House, ScriptedDesk
from tests.browser.stage import answers
from tests.e2e.stage import ROOT, until
from tests.e2e.test_api_day import free_port
from utils.control import Answer

AT = "2026-11-20T10:00:00+05:30"
USUAL: Mapping[str, Any] = {
    **STATUS,
    "as_of": AT,
    "market": {"phase": "continuous", "now": AT, "square_off_at": "2026-11-20T15:20:00+05:30"},
}


class Desk(ScriptedDesk):
    """Read-outs as the file has them at each look; none of what it has not. `NAME@ACCOUNT` is that of one account of several."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        documents = json.loads(self._file.read_text(encoding="utf-8"))
        if (own := f"{name}@{(arguments or {}).get('account')}") in documents:
            return documents[own]
        arguments = {key: value for key, value in (arguments or {}).items() if key != "account"}
        name = "charts" if name == "chart" and not arguments else name
        return documents.get(name, {"round_trips": []} if name == "report" else [])

    def ask(self, name: str, arguments: Mapping[str, Any] | None = None) -> Answer:
        with self._file.with_name("asked").open("a", encoding="utf-8") as asked:
            asked.write(f"{name} {(arguments or {}).get('account')}\n")
        return super().ask(name, arguments)


class Script:
    """The process and what its daemon says."""

    def __init__(self, folder: Path) -> None:
        self.address = f"http://127.0.0.1:{free_port()}"
        self._file = folder / "documents.json"
        self.tell()

    @property
    def asked(self) -> list[str]:
        """The commands so far: `NAME ACCOUNT`, sorted."""
        file = self._file.with_name("asked")
        return sorted(file.read_text(encoding="utf-8").split("\n")[:-1]) if file.exists() else []

    def tell(self, **documents: Any) -> None:
        """`status` is what differs from the usual one."""
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps({**documents, "status": {**USUAL, **documents.get("status", {})}}), encoding="utf-8")
        written.replace(self._file)


@contextmanager
def scripted(folder: Path) -> Iterator[Script]:
    script = Script(folder)
    command = [sys.executable, "-m", "tests.browser.scripted", script.address.rpartition(":")[2], str(folder)]
    with Popen(command, cwd=ROOT, stdin=DEVNULL) as process:
        try:
            until(lambda: answers(script.address) or process.poll() is not None, "the scripted web process")
            yield script
        finally:
            process.terminate()


def _serve(port: int, folder: Path) -> None:
    import uvicorn

    from api.dashboard.mount import mount

    parts = replace(House(folder).parts, desk=Desk(folder / "documents.json"))
    app = create(parts)
    mount(app, parts)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
