"""Candles on disk: Parquet files by source, instrument, interval and month, and beside them which ranges were fetched.

STATE/candles/SOURCE/EXCHANGE/SYMBOL/INTERVAL/
    YYYY-MM.parquet   timestamp (the bar's open, IST), open, high, low, close, volume, oi; ascending, one row for each timestamp
    coverage.json     the ranges of open times that were asked for and answered, and the day they were last checked against the source
    lock              held (flock) while either is written

A partition is replaced whole by a rename, and the coverage after it: what a killed process leaves is the old or the new file, and at
worst a range that is there and not yet covered, which is fetched once more. Only pyarrow reads and writes it, imported on first use.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from core.errors import DataError
from core.types import IST, Bar, Instrument
from data_ingestion.intervals import interval_word

PRICES = ("open", "high", "low", "close")
SAME_PRICE = 0.005
"""Rupees: half a paisa. Prices that differ by less are the same."""
_EPOCH = datetime(1970, 1, 1, 5, 30, tzinfo=IST)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """A range of open times: start <= t < end."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


def joined(spans: Sequence[Span]) -> list[Span]:
    """The same moments in the fewest spans, ascending."""
    result: list[Span] = []
    for span in sorted(span for span in spans if span.start < span.end):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(result[-1].end, span.end))
        else:
            result.append(span)
    return result


def without(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """`spans` less `taken`, ascending."""
    left = joined(spans)
    for hole in taken:
        cut = [(Span(one.start, min(one.end, hole.start)), Span(max(one.start, hole.end), one.end)) for one in left]
        left = [part for pair in cut for part in pair if part.start < part.end]
    return joined(left)


class Merge(msgspec.Struct, frozen=True):
    """What adding rows did. `differs` counts rows whose stored prices were others, `factor` is new price / old price where it is one and
    the same for all that differ (0.0: it is not), `refused` the impossible rows that were not stored, by reason."""

    added: int = 0
    same: int = 0
    differs: int = 0
    factor: float = 0.0
    first_difference: datetime | None = None
    refused: dict[str, int] = {}


class Series:
    """The candles of one instrument and interval from one source. `instrument` is what the bars that are read carry."""

    def __init__(self, folder: Path, instrument: Instrument, interval: int, source: str) -> None:
        self.folder = folder
        self.instrument = instrument
        self.interval = interval
        self.source = source

    # --- what there is --------------------------------------------------------------------------------------------------------------

    def covered(self) -> list[Span]:
        """The ranges of open times that were fetched, ascending; a range without candles counts too."""
        return [Span(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in self._about().get("ranges", [])]

    def missing(self, wanted: Span) -> list[Span]:
        """What of `wanted` was never fetched."""
        return without([wanted], self.covered())

    @property
    def verified(self) -> date | None:
        """The day on which stored candles were last compared with the source's."""
        told = self._about().get("verified")
        return date.fromisoformat(told) if told else None

    def months(self) -> list[str]:
        """The partitions there are, `YYYY-MM`, ascending."""
        return sorted(path.stem for path in self.folder.glob("????-??.parquet"))

    def table(self, wanted: Span | None = None) -> Any:
        """The stored candles of a range (None: all) as an Arrow table, ascending. DataError for a damaged partition."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        files = [
            str(self._partition(month)) for month in self.months() if wanted is None or _month(wanted.start) <= month <= _month(wanted.end)
        ]
        if not files:
            return schema().empty_table()
        chosen = None
        if wanted is not None:
            moment, kind = ds.field("timestamp"), schema().field("timestamp").type
            chosen = (moment >= pa.scalar(wanted.start, kind)) & (moment < pa.scalar(wanted.end, kind))
        try:
            return ds.dataset(files, schema=schema(), format="parquet").to_table(filter=chosen)
        except (pa.ArrowException, OSError) as error:
            told = str(error).splitlines()[0]
            raise DataError(f"the candle store in {self.folder} is damaged ({told}); remove that folder and fetch again") from error

    def bars(self, wanted: Span | None = None) -> Iterator[Bar]:
        """The stored candles of a range as Bars, ascending."""
        import pyarrow as pa

        step = timedelta(minutes=self.interval)
        for batch in self.table(wanted).to_batches():
            columns = [batch.column(0).cast(pa.int64()).to_pylist(), *(batch.column(index).to_pylist() for index in range(1, 7))]
            for at, opens, high, low, close, volume, oi in zip(*columns, strict=True):
                start = _EPOCH + timedelta(microseconds=at)
                yield Bar(self.instrument, start, start + step, self.interval, opens, high, low, close, volume, oi)

    # --- changing it ------------------------------------------------------------------------------------------------------------------

    def add(self, rows: Any, fetched: Span | None = None, *, verified: date | None = None) -> Merge:
        """Store candles (an Arrow table of `schema()`, or Bars); the newest fetch wins a timestamp. Then `fetched` counts as covered.

        Impossible candles (no price, high below low, negative volume) are not stored.
        """
        new = rows if hasattr(rows, "schema") else table_of(rows)
        with self._locked():
            new, refused = _possible(new)
            merge = msgspec.structs.replace(self._merge(new), refused=refused)
            self._record([*self.covered(), *([fetched] if fetched else [])], verified)
        return merge

    def compare(self, bars: Sequence[Bar]) -> Merge:
        """What `add` would find, without storing anything."""
        new, _ = _possible(table_of(bars))
        return _difference(self.table(_bounds(new)), new)

    def uncover(self, lost: Sequence[Span]) -> int:
        """Forget ranges and the candles in them, because they are no longer true; returns how many candles went."""
        with self._locked():
            self._record(without(self.covered(), lost), None)  # first, so that a kill in between loses nothing that counts as there
            return sum(self._keep(span, lambda table: table.slice(0, 0)) for span in lost)

    def remove(self, starts: Sequence[datetime]) -> int:
        """Remove single candles by their open time; their range stays covered. Returns how many there were."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not starts:
            return 0
        gone = pa.array(sorted(starts), schema().field("timestamp").type)
        with self._locked():
            return self._keep(
                Span(min(starts), max(starts) + _MICROSECOND), lambda table: table.filter(pc.invert(pc.is_in(table["timestamp"], gone)))
            )

    def note_verified(self, day: date) -> None:
        """The stored candles were compared with the source's on `day` and agree."""
        with self._locked():
            self._record(self.covered(), day)

    # --- files ------------------------------------------------------------------------------------------------------------------------

    def _merge(self, new: Any) -> Merge:
        if new.num_rows == 0:
            return Merge()
        import pyarrow as pa
        import pyarrow.compute as pc

        found = _difference(self.table(_bounds(new)), new)
        if found.added == found.differs == 0 and found.same == new.num_rows and self.table(_bounds(new)).equals(new):
            return found
        months = pc.strftime(new["timestamp"], "%Y-%m")
        for month in sorted(set(months.to_pylist())):
            mine = new.filter(pc.equal(months, month))
            old = self._read(month)
            kept = old.filter(pc.invert(pc.is_in(old["timestamp"], mine["timestamp"].combine_chunks())))
            self._write(month, pa.concat_tables([kept, mine]).sort_by("timestamp"))
        return found

    def _keep(self, span: Span, choose: Any) -> int:
        """Rewrite the partitions of `span` with what `choose` leaves of the rows in it."""
        import pyarrow as pa

        gone = 0
        for month in self.months():
            if not _month(span.start) <= month <= _month(span.end):
                continue
            table = self._read(month)
            at = table["timestamp"].cast(pa.int64()).to_pylist()
            first = sum(1 for one in at if one < _microseconds(span.start))
            last = sum(1 for one in at if one < _microseconds(span.end))
            kept = choose(table.slice(first, last - first))
            if kept.num_rows == last - first:
                continue
            gone += last - first - kept.num_rows
            left = pa.concat_tables([table.slice(0, first), kept, table.slice(last)])
            if left.num_rows:
                self._write(month, left)
            else:
                self._partition(month).unlink()
        return gone

    def _partition(self, month: str) -> Path:
        return self.folder / f"{month}.parquet"

    def _read(self, month: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._partition(month)
        if not path.exists():
            return schema().empty_table()
        try:
            return pq.ParquetFile(path).read().cast(schema())
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is damaged ({str(error).splitlines()[0]}); remove {self.folder} and fetch again") from error

    def _write(self, month: str, table: Any) -> None:
        import pyarrow.parquet as pq

        about = {"key": self.instrument.key, "interval": interval_word(self.interval), "source": self.source}
        path = self._partition(month)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        try:
            pq.write_table(table.replace_schema_metadata(about), draft, compression="zstd")
            _replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def _about(self) -> dict[str, Any]:
        path = self.folder / "coverage.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DataError(f"{path} does not read ({error}); remove it: what it covered is fetched again") from error
        return found if isinstance(found, dict) else {}

    def _record(self, spans: Sequence[Span], verified: date | None) -> None:
        day = verified or self.verified
        ranges = [[span.start.isoformat(), span.end.isoformat()] for span in joined(spans)]
        about = {"key": self.instrument.key, "ranges": ranges, "verified": day.isoformat() if day else None}
        path = self.folder / "coverage.json"
        draft = path.with_suffix(f".{os.getpid()}.draft")
        try:
            draft.write_text(json.dumps(about, indent=1), encoding="utf-8")
            _replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


class CandleStore:
    """The folder STATE/candles."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def series(self, source: str, instrument: Instrument, interval: int, *, continuous: bool = False) -> Series:
        """The series of one instrument, there or not. `continuous`: stitched day candles of the futures before it as well."""
        folder = interval_word(interval) + ("-continuous" if continuous else "")
        safe = [quote(part, safe=" &-") for part in (source, instrument.exchange, instrument.symbol)]
        return Series(self.root.joinpath(*safe, folder), instrument, interval, source)


def schema() -> Any:
    """The columns of a partition."""
    import pyarrow as pa

    numbers = [(name, pa.float64()) for name in PRICES]
    return pa.schema([("timestamp", pa.timestamp("us", "Asia/Kolkata")), *numbers, ("volume", pa.int64()), ("oi", pa.int64())])


def table_of(bars: Sequence[Bar]) -> Any:
    """Bars as an Arrow table of `schema()`: ascending, the last of two with one open time."""
    import pyarrow as pa

    rows = sorted({bar.start: bar for bar in bars}.values(), key=lambda bar: bar.start)
    columns: dict[str, list[Any]] = {"timestamp": [_microseconds(bar.start) for bar in rows]}
    columns |= {name: [getattr(bar, name) for bar in rows] for name in (*PRICES, "volume", "oi")}
    return pa.table(columns).cast(schema()) if rows else schema().empty_table()


def _possible(table: Any) -> tuple[Any, dict[str, int]]:
    """The candles that can be, and how many cannot, by reason."""
    import pyarrow.compute as pc

    opens, high, low, close = (table[name] for name in PRICES)
    lowest, highest = pc.min_element_wise(opens, high, low, close), pc.max_element_wise(opens, high, low, close)
    finite = pc.is_finite(pc.add(pc.add(opens, high), pc.add(low, close)))
    checks = (
        ("no price", pc.invert(pc.and_(finite, pc.greater(lowest, 0)))),
        ("high or low inside open and close", pc.or_(pc.less(high, highest), pc.greater(low, lowest))),
        ("negative volume", pc.less(table["volume"], 0)),
    )
    refused: dict[str, int] = {}
    bad = None
    for reason, mask in checks:
        mask = pc.fill_null(mask, True)
        new = mask if bad is None else pc.and_not(mask, bad)
        if count := pc.sum(new).as_py():
            refused[reason] = count
        bad = mask if bad is None else pc.or_(bad, mask)
    return (table.filter(pc.invert(bad)) if refused else table), refused


def _difference(old: Any, new: Any) -> Merge:
    """Of the rows that both have, how many are the same and how many are not."""
    import pyarrow.compute as pc

    old = old.filter(pc.is_in(old["timestamp"], new["timestamp"].combine_chunks()))
    both = new.filter(pc.is_in(new["timestamp"], old["timestamp"].combine_chunks()))
    count = both.num_rows
    if count == 0:
        return Merge(added=new.num_rows)
    apart = None
    for name in PRICES:
        one = pc.greater(pc.abs(pc.subtract(both[name], old[name])), SAME_PRICE)
        apart = one if apart is None else pc.or_(apart, one)
    differs = pc.sum(apart).as_py() or 0
    if not differs:
        return Merge(added=new.num_rows - count, same=count)
    ratios = pc.divide(both["close"].filter(apart), old["close"].filter(apart))
    spread = pc.min_max(ratios).as_py()
    middle = pc.quantile(ratios, 0.5)[0].as_py()
    alike = spread["max"] - spread["min"] < 0.005 * middle and abs(middle - 1) > 0.005
    first = _EPOCH + timedelta(microseconds=both["timestamp"].filter(apart)[0].value)
    return Merge(new.num_rows - count, count - differs, differs, middle if alike else 0.0, first)


def _bounds(table: Any) -> Span:
    if table.num_rows == 0:
        return Span(_EPOCH, _EPOCH)
    at = table["timestamp"]
    first, last = (_EPOCH + timedelta(microseconds=at[index].value) for index in (0, table.num_rows - 1))
    return Span(first, last + _MICROSECOND)


def _month(at: datetime) -> str:
    return f"{at.astimezone(IST):%Y-%m}"


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _replace(draft: Path, final: Path) -> None:
    """Rename once the content is on disk, and then put the name there as well."""
    _flush(draft)
    draft.rename(final)
    _flush(final.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
