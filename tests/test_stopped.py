"""Signals end a command in one line, with the status of Unix, and leave nothing half-written."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.table import Table

from jaxcluster.cli import options

PROGRAM = """
import signal
import time
from jaxcluster.inference import checkpoint
from jaxcluster.cli.app import app

# where tests run in the background, their children would ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
checkpoint.EVERY = 0.0
save = checkpoint.Checkpoint.save
def slow(self, **arrays):
    save(self, **arrays)
    time.sleep(0.2)  # so that there is time to be stopped
checkpoint.Checkpoint.save = slow
app()
"""
MODEL = """
import numpyro.distributions as dist
import jaxcluster as jc

def build(stars, **_):
    magnitude = stars.x[:, 0]
    prior = {f"x{i}": dist.Normal(15.0, 9.0) for i in range(4)}
    return jc.Model.from_likelihood(
        prior, lambda p: dist.Normal(sum(p.values()), 0.1).log_prob(magnitude)
    )
"""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_stopped_in_the_foreground(number, tmp_path):
    bands = {f"phot_{b}_mean_mag": np.linspace(15, 16, 20) for b in ("g", "bp", "rp")}
    table = Table(bands | {f"{name}_error": np.full(20, 0.01) for name in bands})
    table.write(tmp_path / "stars.ecsv")
    (tmp_path / "line.py").write_text(MODEL)
    out = tmp_path / "out"
    command = ["fit", tmp_path / "line.py", tmp_path / "stars.ecsv", "--method", "nested"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, command), "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    file = out / "checkpoint" / "nested.npz"
    while process.poll() is None and not file.exists():
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith(f"stopped by {number.name} before it was done")
    assert last.endswith(f"goes on from {file.parent}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["line.py", "out", "stars.ecsv"]
    assert [p.name for p in out.iterdir()] == ["checkpoint"]


def test_signals_are_as_before_afterwards():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        terminate = signal.getsignal(signal.SIGTERM)
        with options.errors():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not terminate
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGHUP, before)
