"""Killed runs go on to the same bits; checkpoints of other runs are refused."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import jaxcluster as jc
from jaxcluster.inference import checkpoint

SCRIPT = """
import hashlib, json, sys, time
from pathlib import Path
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", sys.argv[3])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
import numpy as np, numpyro.distributions as dist
import jaxcluster as jc
from jaxcluster.inference import checkpoint

checkpoint.EVERY = 0.0
save = checkpoint.Checkpoint.save
def slow(self, **arrays):
    save(self, **arrays)
    time.sleep(0.05)  # so that there is time to be killed
checkpoint.Checkpoint.save = slow
data = np.linspace(0.0, 1.0, 5)
model = jc.Model.from_likelihood(
    {"x": dist.Uniform(-9, 9).expand([4]).to_event(1)},
    lambda p: dist.Normal(p["x"].sum(), 1.0).log_prob(data) + dist.Normal(
        0.0, 0.5).log_prob(p["x"]).sum() / len(data),
)
folder = Path(sys.argv[2]) if sys.argv[2] else None
options = {"live": 50} if sys.argv[1] == "nested" else {}
run = getattr(jc, sys.argv[1])(
    model, key=jax.random.key(3), checkpoint=folder, **options
)
found = run.record
print(json.dumps({
    "log_evidence": float(found["log_evidence"]).hex(),
    "error": float(found["log_evidence_error"]).hex(),
    "evaluations": int(found["evaluations"]),
    "x": hashlib.sha256(np.asarray(run["posterior"]["x"]).tobytes()).hexdigest(),
}))
"""


def start(method, folder, cache):
    command = [sys.executable, "-c", SCRIPT, method, str(folder), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ), text=True)


def finish(process):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("method", ["importance", pytest.param("nested", marks=pytest.mark.slow)])
def test_killed_runs_end_with_the_same_bits(method, tmp_path):
    cache, folder = tmp_path / "cache", tmp_path / "run"
    undisturbed = finish(start(method, "", cache))
    file, sizes = folder / f"{method}.npz", []
    for moment in (0.0, 0.7):
        process = start(method, folder, cache)
        before = file.stat().st_mtime_ns if file.exists() else None
        while process.poll() is None and (not file.exists() or file.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(moment)
        assert process.poll() is None, "done before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        sizes.append(file.stat().st_size)
    assert sizes == sorted(sizes)  # each went on from the last, and wrote nothing less
    assert finish(start(method, folder, cache)) == undisturbed


DATA = jnp.linspace(-1.0, 1.0, 20)


class Shifted(jc.AbstractDensity):
    """A normal density that is read at x plus a shift."""

    at: jnp.ndarray
    shift: jnp.ndarray

    def log_prob(self, x, noise):
        return dist.Normal(self.at, 1.0).log_prob(x[0] + self.shift)


def normal(centre=0.0, half=5.0, data=DATA):
    prior = {"x": dist.Uniform(-half, half).expand([2]).to_event(1)}
    stars = jc.Stars(data[:, None], jnp.ones((20, 1, 1)), ("pmra",))
    return jc.Model(prior, lambda p: Shifted(p["x"][0] + centre, p["x"][1]), stars)


OTHERS = {
    "seed": {"key": jax.random.key(1)},
    "data": {"model": normal(data=DATA + 1e-9)},
    "priors": {"model": normal(half=6.0)},
    "model": {"model": normal(centre=1e-6)},
    "options": {"live": 40},
}


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A nested run that was interrupted, and its arguments."""
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    save, number = checkpoint.Checkpoint.save, [0]

    def stop(self, **arrays):
        save(self, **arrays)
        number[0] += 1
        if number[0] == 2:
            raise KeyboardInterrupt

    arguments = {"model": normal(), "key": jax.random.key(0), "live": 30}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            jc.nested(**arguments, checkpoint=tmp_path)
    return arguments, tmp_path


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_another_run_is_refused(stopped, what):
    arguments, folder = stopped
    with pytest.raises(ValueError, match=f"other {what}.*delete it"):
        jc.nested(**{**arguments, **OTHERS[what]}, checkpoint=folder)


def test_a_checkpoint_of_other_versions_is_refused(stopped, monkeypatch):
    arguments, folder = stopped
    monkeypatch.setattr(checkpoint, "versions", lambda: {"jax": "99"})
    with pytest.raises(ValueError, match="other versions"):
        jc.nested(**arguments, checkpoint=folder)


def test_costs_add_up(stopped):
    arguments, folder = stopped
    with np.load(folder / "nested.npz") as stored:
        spent = stored["seconds"][0]
    found = jc.nested(**arguments, checkpoint=folder).record
    assert found["cpu_seconds"] + found["compile_seconds"] > spent
    assert found["resumed_seconds"] == pytest.approx(spent)
    assert jc.nested(**arguments).record["resumed_seconds"] == 0.0


def test_an_interrupted_writing_leaves_the_old_file(stopped, monkeypatch):
    arguments, folder = stopped
    before = (folder / "nested.npz").read_bytes()

    def broken(file, **arrays):
        file.write(b"half a")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.np, "savez", broken)
        with pytest.raises(OSError, match="disk full"):
            jc.nested(**arguments, checkpoint=folder)
    assert (folder / "nested.npz").read_bytes() == before
