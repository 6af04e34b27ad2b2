"""A web process over a scripted daemon, for what no simulator shows: `python -m tests.browser.scripted PORT FOLDER DOCUMENTS_JSON`."""

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

AT = "2026-11-20T10:00:00+05:30"
USUAL: Mapping[str, Any] = {
    **STATUS,
    "as_of": AT,
    "market": {"phase": "continuous", "now": AT, "square_off_at": "2026-11-20T15:20:00+05:30"},
}


class Desk(ScriptedDesk):
    """Read-outs as they were given; none of what was not."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        super().__init__()
        self._documents = documents

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        return self._documents.get(name, {"round_trips": []} if name == "report" else [])


@contextmanager
def scripted(folder: Path, **documents: Any) -> Iterator[str]:
    """Such a process; its address. `status` is what differs from the usual one."""
    address = f"http://127.0.0.1:{free_port()}"
    told = json.dumps({**documents, "status": {**USUAL, **documents.get("status", {})}})
    command = [sys.executable, "-m", "tests.browser.scripted", address.rpartition(":")[2], str(folder), told]
    with Popen(command, cwd=ROOT, stdin=DEVNULL) as process:
        try:
            until(lambda: answers(address) or process.poll() is not None, "the scripted web process")
            yield address
        finally:
            process.terminate()


def _serve(port: int, folder: Path, documents: Mapping[str, Any]) -> None:
    import uvicorn

    from api.dashboard.mount import mount

    parts = replace(House(folder).parts, desk=Desk(documents))
    app = create(parts)
    mount(app, parts)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
