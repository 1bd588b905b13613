"""What a sampler needs to go on after it was killed: one file, and proof that it is of this run."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.model import describe_sites
from jaxcluster.inference.posterior import versions

EVERY = 30.0  # seconds between two writings


class Checkpoint:
    """A sampler's state in `folder`/`method`.npz, replaced as a whole at most every 30 seconds.

    Args:
        folder: None keeps nothing.
        method: the sampler.
        flat: what it samples.
        key: its random key.
        first: its first log likelihoods. They betray another model or field that has the same
            prior and the same stars.
        watch: its account, which goes on where it stopped.
        **options: its settings.
    """

    def __init__(
        self,
        folder: Path | None,
        method: str,
        flat: Flat,
        key: PRNGKeyArray,
        first: np.ndarray,
        watch: Stopwatch,
        **options: Any,
    ):
        self.path = None if folder is None else Path(folder) / f"{method}.npz"
        self._watch, self._written = watch, time.monotonic()
        self._identity = {
            "method": method,
            "seed": str(np.asarray(jax.random.key_data(key)).tolist()),
            "options": str(options),
            "priors": str(describe_sites(flat.prior)),
            "data": _digest(*jax.tree.leaves(flat.stars)),
            "model": _digest(first),
            "versions": str(versions()),
        }

    def load(self) -> dict[str, np.ndarray] | None:
        """Return the arrays of the last `save`, None where there are none.

        Raises:
            ValueError: the file is of another run; the message says in what it differs.
        """
        if self.path is None or not self.path.exists():
            return None
        with np.load(self.path) as stored:
            arrays = dict(stored)
        identity = json.loads(str(arrays.pop("identity")))
        for name, here in self._identity.items():
            if (there := identity.get(name)) != here:
                shown = "" if name in ("data", "model") else f" ({there}, this run has {here})"
                raise ValueError(
                    f"{self.path}: a checkpoint of a run with other {name}{shown}; delete it, or "
                    "write to another folder"
                )
        self._watch.resume(*arrays.pop("seconds"))
        return arrays

    @property
    def due(self) -> bool:
        """Whether the last writing was long enough ago."""
        return self.path is not None and time.monotonic() - self._written >= EVERY

    def save(self, **arrays: Any) -> None:
        """Write the arrays; `load` returns them."""
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        account = self._watch.record()
        seconds = [sum(account.values()), account["compile_seconds"]]
        beside = self.path.with_suffix(".writing")
        with beside.open("wb") as file:
            np.savez(file, **arrays, seconds=seconds, identity=json.dumps(self._identity))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)  # atomic: a kill leaves the old file or the new one
        self._written = time.monotonic()


def _digest(*arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        array = np.asarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
