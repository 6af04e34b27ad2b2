"""The `fetch` command: candles from a broker or a file into the store, with progress, the gap report, repair and a file for elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError, DataError
from core.types import IST
from data_ingestion.bare_session import BareSession
from data_ingestion.candle_fetch import CandleFetch, Chunk, Fetched
from data_ingestion.candle_store import CandleStore, Series, Span
from data_ingestion.data_fetcher import resolved
from data_ingestion.intervals import interval_word, kept_interval
from runtime import state_folder
from utils.config_loader import environment, load_calendar

if TYPE_CHECKING:
    from data_ingestion.candle_report import CandleReport

SUFFIXES = (".parquet", ".csv")
Say = Callable[[str], None]


@dataclass(frozen=True)
class FetchOptions:
    """What the command line asked for. `end` is a day, included."""

    state: Path
    config: Path
    name: str = ""
    start: date | None = None
    end: date | None = None
    interval: str = "1m"
    source: str = ""  # a broker (default zerodha); for an import the name it is kept under (default import)
    account: str | None = None
    out: Path | None = None
    continuous: bool = False
    adjust: str = ""  # raw, back or ratio: a series stitched from the store
    repair: bool = False
    imported: Path | None = None
    symbols: Path | None = None


def fetch(options: FetchOptions, say: Say, *, progress: bool) -> dict[str, Any]:
    """Bring one series up to date and judge it; the `--json` document. `progress`: draw a bar on standard error."""
    if not options.name or options.start is None or options.end is None:
        raise ConfigError("fetch needs NAME, --from and --to, such as `main.py fetch NIFTY_FUT --from 2026-11-16 --to 2026-11-20`")
    if options.start > options.end:
        raise ConfigError(f"--from {options.start} is after --to {options.end}")
    suffix_of(options.out)
    minutes = kept_interval(options.interval)
    if options.adjust:
        return stitched(options, minutes)
    span = Span(_midnight(options.start), _midnight(options.end + timedelta(days=1)))
    session = _session(options)
    try:
        store = CandleStore(options.state / "candles")
        instrument = resolved(options.name, session, store, minutes, span, options.continuous)
        series = store.series(session.source, instrument, minutes, continuous=options.continuous)
        dead = instrument.expiry is not None and instrument.expiry < session.day
        with _drawn(progress, say) as (on_chunk, tell):
            work = CandleFetch(session, series, continuous=options.continuous, on_chunk=on_chunk, on_note=tell)
            done = Fetched(span, 0, 0) if dead else work.bring(span.start, span.end)
            report = _examined(session, series, done.span)
            repaired: list[str] = []
            if options.repair:
                done, report, repaired = _repaired(session, series, work, done, report, dead)
                for line in repaired:
                    tell(line)
    finally:
        session.close()
    unsettled = _unsettled(span, done.span)
    for line in unsettled:
        say(line)
    notes = [*done.notes, *repaired, *unsettled]
    out = write(series.table(done.span), instrument.key, options.out, with_oi=instrument.expiry is not None) if options.out else None
    return _document(series, options, done, report, notes, out)


def stitched(options: FetchOptions, minutes: int) -> dict[str, Any]:
    """One series out of what the store has of each contract of a future's name, adjusted as asked; the `--json` document."""
    from data_ingestion import logical_names, rollover
    from data_ingestion.candle_store import table_of
    from runtime.instruments import roll_rule

    if not options.continuous or options.start is None or options.end is None:
        raise ConfigError("--adjust says how the contracts of a continuous series are joined: give --continuous with it")
    logical = logical_names.parse(options.name)
    if not isinstance(logical, logical_names.FutureName):
        raise DataError(f"{options.name!r} is no continuous series: give a future's name, such as NIFTY_FUT")
    calendar, source = load_calendar(options.config), options.source or "zerodha"
    store = CandleStore(options.state / "candles")
    bars = rollover.stored(store, source, logical.root, calendar, options.start, options.end, minutes)
    table = rollover.roll_table(bars, calendar, roll_rule(options.config), end=options.end)
    adjust: Any = options.adjust
    joined = rollover.continuous(bars, table, adjust)
    if not joined:
        raise DataError(
            f"the store has no {interval_word(minutes)} candles from {source!r} of {', '.join(one.key for one in bars)}; fetch contracts "
            "while they live, or bring a file in with `fetch --import`, and name it with --source import"
        )
    have = {bar.start.date() for bar in joined}
    lacking = [one for one in _days(options.start, options.end) if calendar.regular_day("FO", one) and one not in have]
    notes = [f"no candle of {len(lacking)} trading days: {', '.join(one.isoformat() for one in lacking[:5])}"] if lacking else []
    out = write(table_of(joined), options.name, options.out, with_oi=True) if options.out else None
    return {
        "instrument": options.name,
        "interval": interval_word(minutes),
        "source": source,
        "continuous": True,
        "adjust": options.adjust,
        "from": joined[0].start.isoformat(),
        "to": joined[-1].at.isoformat(),
        "candles": len(joined),
        "rolls": rollover.document(table),
        "version": rollover.version(table),
        "whole": not lacking,
        "notes": notes,
        "out": out,
    }


def _days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=ahead) for ahead in range((end - start).days + 1)]


def _session(options: FetchOptions) -> BareSession:
    broker = options.source or "zerodha"
    if options.account is None:
        return BareSession(broker, options.state)
    return BareSession(broker, state_folder.account_folder(options.state, options.account).path, account=options.account)


def refuse_at_simulator() -> None:
    """An account's session is no use at a simulator, which has a practice login of its own; ConfigError."""
    if environment("NIYAM_SIMULATOR"):
        raise ConfigError("NIYAM_SIMULATOR is set, so candles come from that simulator; leave --account out, or unset it")


def _examined(session: BareSession, series: Series, span: Span) -> "CandleReport":
    from data_ingestion.candle_report import examine  # numpy: only what judges data pays for it

    return examine(series.table(span), series.instrument, series.interval, session.calendar, span)


def _repaired(
    session: BareSession, series: Series, work: CandleFetch, done: Fetched, report: "CandleReport", dead: bool
) -> tuple[Fetched, "CandleReport", list[str]]:
    """Ask for the gaps once more and drop bars that the calendar has no place for; what was done, in words."""
    told: list[str] = []
    if report.gaps and not dead:
        before, asked = report.missing, len(report.gaps)
        again = work.again(report.spans())
        done = Fetched(done.span, again.requests, again.candles, again.notes)
        report = _examined(session, series, done.span)
        told.append(f"repair: {asked} days with gaps asked for again: {before - report.missing} of {before} missing bars came")
    if report.outside:
        gone = series.remove([odd.at for odd in report.outside])
        reasons: dict[str, int] = {}
        for odd in report.outside:
            reasons[odd.what] = reasons.get(odd.what, 0) + 1
        told.append(f"repair: {gone} bars dropped: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
        report = _examined(session, series, done.span)
    return done, report, told


def _unsettled(asked: Span, had: Span) -> list[str]:
    if had.end >= asked.end:
        return []
    if had.start >= had.end:
        return [f"nothing of {asked} is over yet: candles are kept a minute after their close, day candles after midnight"]
    return [f"candles are kept a minute after their close, day candles after midnight: the store ends before {had.end:%Y-%m-%d %H:%M}"]


def import_file(options: FetchOptions, say: Say) -> dict[str, Any]:
    """Bring a CSV or Parquet file or folder into the store, through the checks that recorded data passes; the `--json` document."""
    from data_ingestion.candle_import import bring_in

    if options.imported is None:
        raise ConfigError("--import needs the path of a Parquet or CSV file, or of a folder of them")
    source = options.source or "import"
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        say(text)

    calendar = load_calendar(options.config)
    store = CandleStore(options.state / "candles")
    brought = bring_in(options.imported, store, source, calendar, symbols=options.symbols, repair=options.repair, note=note)
    from data_ingestion.candle_report import document

    rows = [
        {
            "instrument": one.series.instrument.key,
            "interval": interval_word(one.series.interval),
            "from": one.span.start.date().isoformat(),
            "to": one.span.end.date().isoformat(),
            "candles": one.candles,
            "added": one.added,
            "report": document(one.report),
        }
        for one in brought
    ]
    return {
        "source": source,
        "path": str(options.imported),
        "series": rows,
        "whole": all(one.report.whole for one in brought),
        "notes": notes,
    }


# --- files ----------------------------------------------------------------------------------------------------------------------------


def suffix_of(out: Path | None) -> str:
    """`.parquet` or `.csv`; ConfigError for another."""
    if out is not None and out.suffix not in SUFFIXES:
        raise ConfigError(f"--out {out}: the suffix says the format; write a name that ends in {' or '.join(SUFFIXES)}")
    return out.suffix if out is not None else ""


def write(table: Any, key: str, out: Path, *, with_oi: bool) -> str:
    """The candles as a market data file that `--data` reads: Parquet or CSV, times with their offset, and the symbol."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet as pq

    if not with_oi:
        table = table.drop_columns(["oi"])
    table = table.append_column("symbol", pa.array([key] * table.num_rows, pa.string()))
    draft = out.with_name(f".{out.name}.draft")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if suffix_of(out) == ".parquet":
            pq.write_table(table, draft, compression="zstd")
        else:
            seconds = table["timestamp"].cast(pa.timestamp("s", "Asia/Kolkata"))
            table = table.set_column(0, "timestamp", pc.strftime(seconds, "%Y-%m-%d %H:%M:%S%z"))
            pyarrow.csv.write_csv(table, draft)
        draft.rename(out)
    except OSError as error:
        raise DataError(f"{out} could not be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return str(out)


# --- what is shown --------------------------------------------------------------------------------------------------------------------


def _document(
    series: Series, options: FetchOptions, done: Fetched, report: "CandleReport", notes: list[str], out: str | None
) -> dict[str, Any]:
    from data_ingestion.candle_report import document

    return {
        "instrument": series.instrument.key,
        "interval": interval_word(series.interval),
        "source": series.source,
        "continuous": options.continuous,
        "from": done.span.start.isoformat(),
        "to": done.span.end.isoformat(),
        "requests": done.requests,
        "fetched": done.candles,
        "whole": report.whole,
        "report": document(report),
        "notes": notes,
        "store": str(series.folder),
        "out": out,
    }


@contextmanager
def _drawn(progress: bool, say: Say) -> Iterator[tuple[Callable[[Chunk], None], Say]]:
    """A progress bar on standard error while it is a terminal; a line for each chunk otherwise."""
    if not progress:
        yield (lambda chunk: say(f"chunk {chunk.number} of {chunk.total}, to {chunk.until:%Y-%m-%d %H:%M}: {chunk.candles} candles")), say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fetching", total=None)

        def step(chunk: Chunk) -> None:
            bar.update(task, total=chunk.total, completed=chunk.number, description=f"to {chunk.until:%Y-%m-%d}")

        yield step, lambda text: console.print(text, style="yellow", highlight=False)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), IST)


def run(options: FetchOptions, *, quiet: bool) -> dict[str, Any]:
    """Fetch or import; notes go to standard error as they come (`quiet`: they are only in the document)."""

    def say(text: str) -> None:
        if not quiet:
            sys.stderr.write(f"niyam: {text}\n")

    if options.imported is not None:
        return import_file(options, say)
    return fetch(options, say, progress=not quiet and sys.stderr.isatty())
