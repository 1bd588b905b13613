"""Float64, what XLA may spend on compiling, and the real data's place, once for all tests."""

import os
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_configure(config):
    """Compile fast tests in two thirds of the time, where XLA has this flag.

    It is gone since jaxlib 0.11, and XLA ends a process at a flag that it does not know. Slow tests
    compile as users do.
    """
    if "not slow" in config.option.markexpr and version("jaxlib") < "0.11":
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")


@pytest.fixture(scope="module", autouse=True)
def forget_compiled():
    """Drop compiled code after each file: it would grow to 4 GB a worker."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real Gaia data, which is not part of the project."""
    if not DATA.is_dir():
        pytest.skip(f"real data not found at {DATA}")
    return DATA
