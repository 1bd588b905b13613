"""A whole catalogue of candidates: each vetted once, on any number of processes.

Dask carries the work: workers of its own by default, one thread each, or those of any scheduler
that runs already (Slurm, Kubernetes, one worker for each GPU). Rows are kept as they come in
(`rows`), so a killed run goes on where it was; keys are folded from names, so that a candidate's
row is the same on any machine of one kind, but for seconds and hosts.
"""

import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import PRNGKeyArray
from numpyro.distributions import Distribution

from jaxcluster.catalogue.candidates import TABLES, Listed, read_candidates
from jaxcluster.catalogue.hats import properties
from jaxcluster.catalogue.windows import RULES
from jaxcluster.inference.posterior import versions
from jaxcluster.inference.priors import describe
from jaxcluster.inference.together import Together
from jaxcluster.jobs.rows import Rows, digest
from jaxcluster.jobs.start import start
from jaxcluster.jobs.vet import FAILED, PARAMETERS, vet_candidate
from jaxcluster.population.colour_error import LEARNT

if TYPE_CHECKING:
    import pandas as pd

EVERY = 10.0  # seconds between two parts
DEATHS = 3  # of workers, after which a candidate has failed
# of the threads of a process: together, or one at a time, as models are not traced in threads
_TOGETHER, _ALONE = Together(), threading.Lock()


class Status(NamedTuple):
    """How far a run is."""

    done: int
    failed: int
    pending: int
    per_hour: float  # candidates, of the last hour that was worked

    @property
    def hours_left(self) -> float:
        """At that rate."""
        return self.pending / self.per_hour if self.per_hour > 0 else float("inf")

    def __str__(self) -> str:
        left = "" if self.per_hour == 0 else f", {self.per_hour:.0f} an hour"
        if 0 < self.hours_left < float("inf"):
            left += f", {_duration(3600 * self.hours_left)} to go"
        return f"{self.done} done, {self.failed} failed, {self.pending} pending{left}"


def batch(
    candidates: Any,
    out: str | Path,
    *,
    stars: str | Path | None = None,
    seed: PRNGKeyArray | int = 0,
    workers: int | None = None,
    scheduler: str | None = None,
    together: int = 1,
    again: bool = False,
    parameters: Sequence[str] = PARAMETERS,
    progress: Callable[[Status, dict[str, Any]], None] | None = None,
    **options: Any,
) -> "pd.DataFrame":
    """Vet every candidate of a list, and return its rows in the order of the list.

    Args:
        candidates: list of `Candidate` or `Given`, or a table or its path (`read_candidates`).
        out: folder of the run; the same call goes on there.
        stars: one table for all, where the list names none.
        seed: random key or seed.
        workers: processes, by default as many as cores; 0 works in this one.
        scheduler: address of a Dask scheduler whose workers are to be used, tcp://….
        together: candidates that a process works on at once, whose evaluations are launched as one
            (`inference.together`): for a GPU, where 64 take as long as one. Of a scheduler's
            workers each should have as many threads. Numbers may differ in their last digits.
        again: whether to vet those again that failed before.
        parameters: of the model, that rows have quantiles of.
        progress: called after each candidate with the status and the candidate's row.
        **options: of `vet`, such as limits, grid, prior or model (a name or the path of a file);
            plain values, no functions.

    Raises:
        ValueError: a list that cannot be read, or a folder that another run writes to.
        OSError: a part that cannot be written, as on a full disk; rows before it are kept.

    Example:
        >>> rows = batch("candidates.csv", "results")  # doctest: +SKIP
    """
    todo = _listed(candidates, stars)
    settings = {"seed": seed, "parameters": tuple(parameters), **options}
    configurations = configure(todo, settings)
    rows = Rows(Path(out), tuple(parameters))
    with rows.alone():
        known: Any = _of_this_run(rows.read(), configurations)
        finished = set(known["candidate"][(known["status"] != FAILED) | (not again)])
        rest = [one for one in todo if one.candidate not in finished]
        status = _status(known[known["candidate"].isin(finished)], len(todo))
        waiting: list[dict[str, Any]] = []
        written = begin = time.time()
        try:
            for row in _vetted(rest, configurations, settings, workers, scheduler, together):
                row["configuration"] = configurations[row["candidate"]]
                row["finished"] = time.time()
                waiting.append(row)
                failed = row["status"] == FAILED
                done = status.done + (not failed), status.failed + failed, status.pending - 1
                spent = max(time.time() - begin, 1e-3)
                count = len(rest) - done[2]
                status = Status(*done, 3600 * count / spent)
                if progress is not None:
                    progress(status, row)
                if time.time() - written > EVERY:
                    written, ready, waiting = time.time(), waiting, []
                    rows.add(ready)
        finally:
            rows.add(waiting)
        table: Any = _of_this_run(rows.read(), configurations)
    order = {one.candidate: number for number, one in enumerate(todo)}
    return table.sort_values("candidate", key=lambda c: c.map(order)).reset_index(drop=True)


def status(
    candidates: Any,
    out: str | Path,
    *,
    stars: str | Path | None = None,
    seed: PRNGKeyArray | int = 0,
    parameters: Sequence[str] = PARAMETERS,
    **options: Any,
) -> Status:
    """Return how far the run with these arguments is, whoever works on it."""
    todo = _listed(candidates, stars)
    settings = {"seed": seed, "parameters": tuple(parameters), **options}
    return _status(_of_this_run(Rows(Path(out), ()).read(), configure(todo, settings)), len(todo))


def configure(todo: list[Listed], settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the configuration of each candidate: a digest of all that its row depends on."""
    common = {name: _told(value) for name, value in settings.items()}
    common |= {"versions": versions(), "selection": RULES, "colours": _told(str(LEARNT))}
    found = {}
    for one in todo:
        record = one.record()
        files = [Path(record[name]) for name in ("stars", *TABLES) if name in record]
        sizes = [file.stat().st_size if file.is_file() else properties(file) for file in files]
        found[one.candidate] = digest(candidate=record, sizes=sizes, **common)
    return found


def _told(value: Any) -> str:
    """A setting in words that are the same in every process, as those of an object are not.

    Of a file (a model, isochrones, an error of colours) what is in it.
    """
    if isinstance(value, Mapping):
        return str({name: _told(each) for name, each in sorted(value.items())})
    if isinstance(value, str) and (file := Path(value)).is_file():
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return describe(value) if isinstance(value, Distribution) else str(value)


def _listed(candidates: Any, stars: str | Path | None) -> list[Listed]:
    if isinstance(candidates, list):
        return candidates
    return read_candidates(candidates, stars)


def _of_this_run(rows: Any, configurations: dict[str, str]) -> Any:
    """Those whose candidate has the same configuration today."""
    same = rows["candidate"].map(configurations) == rows["configuration"]
    return rows[same].reset_index(drop=True)


def _status(rows: Any, total: int) -> Status:
    failed = int((rows["status"] == FAILED).sum())
    times = rows["finished"].sort_values()
    recent = times[times > times.max() - 3600.0]
    span = float(recent.max() - recent.min()) if len(recent) > 1 else 0.0
    rate = 3600.0 * (len(recent) - 1) / span if span > 0 else 0.0
    return Status(len(rows) - failed, failed, total - len(rows), rate)


def _vetted(
    todo: list[Listed],
    configurations: dict[str, str],
    settings: dict[str, Any],
    workers: int | None,
    scheduler: str | None,
    together: int,
) -> Iterator[dict[str, Any]]:
    """Rows in the order in which they are done."""
    if not todo:
        return
    if workers == 0 and scheduler is None:
        yield from _here(todo, settings, together)
        return
    import cloudpickle
    import distributed
    from distributed.scheduler import KilledWorker

    packed = cloudpickle.dumps(settings)
    with _client(workers, scheduler, together) as client:
        tasks = {
            client.submit(
                _on_worker, one, packed, together > 1, key=f"vet-{configurations[one.candidate]}"
            ): one
            for one in todo
        }
        for future in distributed.as_completed(tasks):
            one = tasks.pop(future)
            try:
                row = future.result()
            except KilledWorker:
                row = _fail(one, f"{DEATHS} workers died of it, for lack of memory presumably")
            except Exception as error:  # of the way there and back
                row = _fail(one, f"{type(error).__name__}: {error}")
            future.release()
            yield row


def _here(todo: list[Listed], settings: dict[str, Any], together: int) -> Iterator[dict[str, Any]]:
    """Rows that this process works on."""
    if together == 1:
        for candidate in todo:
            yield vet_candidate(candidate, **settings)
        return

    def vet(candidate):
        with _TOGETHER.joined():
            return vet_candidate(candidate, **settings)

    # threads leave each other's filters of warnings behind
    with warnings.catch_warnings(), ThreadPoolExecutor(together) as pool:
        futures = [pool.submit(vet, candidate) for candidate in todo]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def _fail(candidate: Listed, message: str) -> dict[str, Any]:
    return {"candidate": candidate.candidate, "status": FAILED, "message": message}


def _on_worker(candidate: Listed, packed: bytes, together: bool) -> dict[str, Any]:
    import cloudpickle

    with _TOGETHER.joined() if together else _ALONE:
        start(devices=1)
        # not before: priors hold arrays, with which jax begins
        return vet_candidate(candidate, **cloudpickle.loads(packed))


@contextmanager
def _client(workers: int | None, scheduler: str | None, threads: int) -> Iterator[Any]:
    """A client of the scheduler, or of workers of its own."""
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.scheduler.allowed-failures": DEATHS - 1})
    if scheduler is not None:
        with Client(scheduler, timeout="30s") as client:
            yield client
        return
    own: dict[str, Any] = {"processes": True, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=workers, threads_per_worker=threads, **own) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _duration(seconds: float) -> str:
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else "1 min"
