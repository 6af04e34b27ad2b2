"""The charts of a day whose daemon is gone: its bars, built again from the day's recording as the engine built them."""

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import DataError, NiyamError
from core.events import FeedStatus, History
from core.types import Tick
from data_ingestion.bars import BarBuilder
from data_ingestion.recorder import Batch
from runtime.charts import Charts
from runtime.recorded import SUFFIX, Recording

LARGEST = 128 * 1024 * 1024  # bytes of a recording that is read for a chart: a minute of one processor at most
NEXT = "start the daemon to have its charts again (main.py run)"


class ChartsLeft:
    """Keeps the bars of the recording that was asked for last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._built: tuple[tuple[Path, int, int], Charts, str] | None = None

    def document(self, recordings: Path, arguments: Mapping[str, Any]) -> Any:
        """As runtime.charts.Charts.document, with `source`: which recording, and that indicators are not in it. NiyamError where there is
        no recording, or it is too large to read for a picture."""
        files = sorted(recordings.glob(f"*{SUFFIX}"))
        if not files:
            raise NiyamError(f"no daemon runs, and there is no recording in {recordings} to draw its bars from; {NEXT}")
        told = files[-1].stat()
        known = files[-1], told.st_size, told.st_mtime_ns
        if told.st_size > LARGEST:
            size = f"{told.st_size / 1024 / 1024:.0f} MB"
            raise NiyamError(f"no daemon runs, and the recording {files[-1].name} has {size}: too much to read for a chart; {NEXT}")
        with self._lock:
            if self._built is None or self._built[0] != known:
                try:
                    self._built = known, *_built(files[-1])
                except DataError as error:
                    raise NiyamError(f"no daemon runs, and its recording does not tell the bars: {error}; {NEXT}") from None
            _, charts, source = self._built
        found = charts.document(arguments)
        return {**found, "source": source} if isinstance(found, dict) else [{**row, "source": source} for row in found]


def _built(path: Path) -> tuple[Charts, str]:
    recording, charts = Recording(path), Charts()
    for past in recording.stood.pasts:
        for bar in past.history:
            charts.heard(bar, ())
    builder = _builder(recording)
    for item in recording.items():
        if isinstance(item, Tick):
            builder.add(item)
        elif isinstance(item, FeedStatus):
            builder.feed(item)
        elif isinstance(item, (Batch, History)):
            for bar in builder.close(item.at) if isinstance(item, Batch) else item.bars:
                charts.heard(bar, ())
    return charts, f"rebuilt from the recording of {recording.day:%d %b %Y}, without indicators: no daemon runs"


def _builder(recording: Recording) -> BarBuilder:
    """For what the strategies of that day heard."""
    with tempfile.TemporaryDirectory(prefix="niyam-chart-") as folder:
        builder = BarBuilder(recording.config(Path(folder)).calendar(recording.account.kind))
    for settings in recording.strategies.values():
        for name in settings.instruments:
            if (instrument := recording.stood.names.get(name)) is not None:
                builder.watch(instrument, settings.interval, recording.stood.at)
    return builder
