"""Where trials run: processes of this machine, or a cluster. A worker that is lost costs the trials it had, and they are run again.

On a cluster (Dask, `--cluster ADDRESS`, an optional package) the configuration and the data go to each worker once, as files.
"""

import contextlib
import hashlib
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

import msgspec

from backtesting import trial as trials
from backtesting.trial import Desk, Result, Trial, Work
from core.errors import ConfigError, NiyamError

Chunk = tuple[Trial, ...]
MOST_RESTARTS = 5
"""How often a broken pool is made anew before the sweep gives up: a trial that kills every worker must not run for ever."""


STARTS = ".venv/bin/python -m dask scheduler; .venv/bin/python -m dask worker {} --nworkers auto"
"""How a cluster is started in the program's folder. The bare command `dask worker` would not find the program's modules."""


class Pool(Protocol):
    """`submit` chunks, then take `finished` ones as they come; at most `width` need be under way."""

    width: int

    @property
    def pending(self) -> int:
        """Chunks whose results have not been taken."""
        ...

    def submit(self, chunk: Chunk) -> None: ...
    def finished(self) -> list[Result]:
        """Wait for at least one chunk; its results. Raises NiyamError when workers are lost again and again."""
        ...

    def close(self) -> None: ...


class LocalPool:
    """`workers` processes; each reads configuration and data once, when it starts."""

    def __init__(self, work: Work, workers: int) -> None:
        self.width = workers
        self._work = work
        self._restarts = 0
        self._under_way: dict[Future[list[Result]], Chunk] = {}
        self._processes = self._start()

    @property
    def pending(self) -> int:
        return len(self._under_way)

    def submit(self, chunk: Chunk) -> None:
        try:
            self._under_way[self._processes.submit(trials.run_trials, chunk)] = chunk
        except BrokenProcessPool as error:
            self._restart(error, [chunk])

    def finished(self) -> list[Result]:
        while True:
            done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
            results: list[Result] = []
            lost: list[Chunk] = []
            broken: BrokenProcessPool | None = None
            for future in done:
                chunk = self._under_way.pop(future)
                try:
                    results += future.result()
                except BrokenProcessPool as error:
                    broken = error
                    lost.append(chunk)
            if broken is not None:
                self._restart(broken, lost)
            if results:
                return results

    def close(self) -> None:
        self._processes.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # the parent has threads, of which a fork would inherit half
        return ProcessPoolExecutor(self.width, context, initializer=trials.open_desk, initargs=(self._work,))

    def _restart(self, error: BrokenProcessPool, lost: Sequence[Chunk]) -> None:
        self._restarts += 1
        if self._restarts > MOST_RESTARTS:
            raise NiyamError(
                f"worker processes ended {self._restarts} times ({error}); is there memory enough? take fewer --workers. "
                "What was finished is kept: the same command goes on from there"
            ) from error
        again = [*lost, *self._under_way.values()]
        self._under_way.clear()
        self._processes.shutdown(wait=False, cancel_futures=True)
        self._processes = self._start()
        for chunk in again:
            self._under_way[self._processes.submit(trials.run_trials, chunk)] = chunk


class ClusterPool:
    """A running Dask cluster. Its workers need this program's packages; the data they get from here."""

    def __init__(self, work: Work, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise ConfigError("--cluster needs the package distributed: .venv/bin/pip install -r requirements-cluster.txt") from error
        try:
            self._client: Any = Client(address, timeout="10s")
        except (OSError, TimeoutError) as error:
            raise ConfigError(f"no cluster answers at {address} ({error}); start one with: {STARTS.format(address)}") from error
        self.width = max(1, sum(self._client.nthreads().values()))
        try:
            self._parcel = self._client.scatter(Parcel.of(work), broadcast=True, hash=True)
        except Exception as error:  # whatever a worker's own failure was: it comes as a bare Exception with its text
            self._client.close()
            raise ConfigError(
                f"the workers at {address} do not take the work ({error}); each needs this program: in its folder, {STARTS.format(address)}"
            ) from error
        self._work, self._restarts = work, 0
        self._under_way: dict[Any, Chunk] = {}

    @property
    def pending(self) -> int:
        return len(self._under_way)

    def submit(self, chunk: Chunk) -> None:
        future = self._client.submit(run_parcel, self._parcel, chunk, pure=False, retries=MOST_RESTARTS)
        self._under_way[future] = chunk

    def finished(self) -> list[Result]:
        from distributed import wait as wait_for

        results: list[Result] = []
        while not results:
            with contextlib.suppress(CancelledError):
                wait_for(list(self._under_way), return_when="FIRST_COMPLETED")
            results = self._taken()
        return results

    def _taken(self) -> list[Result]:
        """The results of what is done; what was lost with its worker is sent again."""
        results: list[Result] = []
        lost: list[Chunk] = []
        for future in [one for one in self._under_way if one.done()]:
            chunk = self._under_way.pop(future)
            if future.status == "error":
                raise NiyamError(f"a trial failed on the cluster: {future.exception()}")
            try:
                results += future.result()
            except CancelledError:
                lost.append(chunk)
        if lost:
            self._send_again(lost)
        return results

    def _send_again(self, lost: Sequence[Chunk]) -> None:
        """The workers that had the work are lost: send it to those that there are, and these chunks."""
        self._restarts += 1
        try:
            if self._restarts > MOST_RESTARTS:
                raise TimeoutError(f"its workers were lost {self._restarts} times")
            self._parcel = self._client.scatter(Parcel.of(self._work), broadcast=True, hash=False)
        except TimeoutError as error:
            raise NiyamError(
                f"the cluster does not go on ({error}). What was finished is kept: the same command goes on from there"
            ) from error
        for chunk in lost:
            self.submit(chunk)

    def close(self) -> None:
        self._client.close()


class Parcel(msgspec.Struct, frozen=True):
    """A Work with the content of its files, for machines that do not have them."""

    work: Work
    files: dict[str, bytes]

    @classmethod
    def of(cls, work: Work) -> "Parcel":
        files = {f"config/{one.relative_to(work.config)}": one.read_bytes() for one in sorted(work.config.rglob("*.yaml"))}
        files["strategy/" + work.strategy.name] = work.strategy.read_bytes()
        data = ["manifest.json", *(f"{day.isoformat()}.parquet" for day in work.manifest.days)]
        files |= {f"data/{name}": (work.manifest.folder / name).read_bytes() for name in data}
        return cls(work, files)

    def unpacked(self) -> Work:
        """The same work with files of this machine; written once for each content."""
        digest = hashlib.sha256()
        for name, content in self.files.items():
            digest.update(name.encode() + b"\0" + content)
        folder = Path(tempfile.gettempdir()) / f"niyam-sweep-{digest.hexdigest()[:20]}"
        if not folder.exists():
            making = Path(tempfile.mkdtemp(prefix="niyam-sweep-", dir=tempfile.gettempdir()))
            for name, content in self.files.items():
                file = making / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            with contextlib.suppress(OSError):  # another worker of this machine was faster, with the same content
                making.rename(folder)
        manifest = msgspec.structs.replace(self.work.manifest, folder=folder / "data")
        return msgspec.structs.replace(
            self.work, config=folder / "config", strategy=folder / "strategy" / self.work.strategy.name, manifest=manifest
        )


_desks: dict[str, Desk] = {}  # of a cluster's worker process: the latest work's


def run_parcel(parcel: Parcel, chunk: Chunk) -> list[Result]:
    """Some trials in a cluster's worker process."""
    work = parcel.unpacked()
    key = str(work.config)
    if key not in _desks:
        _desks.clear()
        _desks[key] = Desk(work)
    return [_desks[key].run(trial) for trial in chunk]
