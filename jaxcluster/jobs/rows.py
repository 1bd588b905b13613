"""The rows of a run that goes on for days: parts that are written once, and never lost or doubled.

    OUT/parts/00000.parquet, …    rows as they came in, each file written whole or not at all
    OUT/parts/00012.parquet.bad   one that cannot be read; its candidates are vetted again
    OUT/lock                      held by the run that writes here

A row is known by its candidate and its configuration, a digest of all that its numbers depend on.
Of two with the same, one that is done counts before one that failed, and the earlier one.
"""

import hashlib
import json
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcluster.jobs.vet import FAILED, columns

if TYPE_CHECKING:
    import pandas as pd

ROW = ("candidate", "configuration")


def digest(**settings: Any) -> str:
    """Return twelve hexadecimal digits that stand for settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Rows:
    """The parts in a folder.

    Args:
        folder: of the run; made where it does not exist.
        parameters: of the model, that rows have quantiles of.
    """

    def __init__(self, folder: Path, parameters: tuple[str, ...]):
        self.folder, self.parts = folder, folder / "parts"
        self._kinds = {**columns(parameters), "configuration": "object", "finished": "float64"}

    def read(self) -> "pd.DataFrame":
        """Return all rows so far, one of each; a part that cannot be read is set aside."""
        import pandas as pd
        import pyarrow.parquet

        found: list[Any] = [self._arrow([]).to_pandas()]
        for path in sorted(self.parts.glob("*.parquet")):
            try:
                found.append(pyarrow.parquet.read_table(path).to_pandas())
            except Exception as error:
                path.replace(path.with_suffix(".parquet.bad"))
                warnings.warn(
                    f"{path}: cannot be read ({error}), and is set aside as {path.name}.bad; its "
                    "candidates are vetted again",
                    stacklevel=2,
                )
        rows: Any = pd.concat([f for f in found if len(f)] or found, ignore_index=True)
        rows = rows.reindex(columns=list(dict.fromkeys([*self._kinds, *rows.columns])))
        for name, kind in self._kinds.items():  # one word for what is missing, in all parts
            some = rows[name].astype(kind)
            rows[name] = some.where(some.notna(), None) if kind == "object" else some
        failed = rows["status"] == FAILED
        rows = rows.iloc[failed.argsort(kind="stable")].drop_duplicates(list(ROW), keep="first")
        return rows.sort_index().reset_index(drop=True)

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Write rows as one more part.

        Raises:
            OSError: they could not be written, as on a full disk; what was there before still is.
        """
        import pyarrow.parquet

        if not rows:
            return
        self.parts.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.name.split(".")[0]) for path in self.parts.glob("*.parquet*")]
        path = self.parts / f"{max(numbers, default=-1) + 1:05d}.parquet"
        scratch = path.with_suffix(".part")
        try:
            pyarrow.parquet.write_table(self._arrow(rows), scratch)
            with scratch.open("rb") as written:
                os.fsync(written.fileno())
            scratch.replace(path)
        except OSError as error:
            raise OSError(
                f"{path}: {len(rows)} rows could not be written ({error}); all before are safe. "
                "Make room, and the same command goes on"
            ) from error
        finally:
            scratch.unlink(missing_ok=True)

    def _arrow(self, rows: list[dict[str, Any]]) -> Any:
        """Rows with the types of their columns, which a column without values would not have."""
        import pyarrow as pa

        types = {"object": pa.string(), "Int64": pa.int64(), "float64": pa.float64()}
        texts = any(isinstance(star, str) for row in rows for star in (row.get("star") or [])[:1])
        special = {
            "star": pa.list_(pa.string() if texts else pa.int64()),
            "membership": pa.list_(pa.float64()),
            "cmd_png": pa.binary(),
        }
        schema = pa.schema([(n, special.get(n, types[kind])) for n, kind in self._kinds.items()])
        return pa.Table.from_pylist([{n: row.get(n) for n in self._kinds} for row in rows], schema)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder, so that no other run writes to it.

        Raises:
            ValueError: another one does.
        """
        import fcntl  # Unix has it; the package's import must do without

        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                raise ValueError(
                    f"{self.folder}: another run writes here ({lock.read().strip() or 'unknown'}); "
                    "wait for it, stop it, or choose another --out"
                ) from error
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}")
            lock.flush()
            yield
