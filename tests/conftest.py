"""Float64, what XLA may spend on compiling, and the real data's place, once for all tests."""

import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_configure(config):
    """Compile fast tests in two thirds of the time, and nothing twice.

    What one file or worker has compiled the others read from a folder of this run: small functions
    come again in every file, since `forget_compiled`. Two workers keep two cores busy, so that what
    is compiled in several threads only costs more (11 % of test_mimo_cmd). The first flag is gone
    since jaxlib 0.11, and XLA ends a process at a flag that it does not know. Slow tests compile as
    users do.
    """
    if "not slow" not in config.option.markexpr:
        return
    if version("jaxlib") < "0.11":
        flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        os.environ.setdefault("XLA_FLAGS", flags)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # workers inherit it
        config.compiled = tempfile.mkdtemp(prefix="jaxcluster-tests-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.compiled
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        jax.config.update("jax_compilation_cache_dir", config.compiled)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def pytest_unconfigure(config):
    """Remove the folder."""
    if hasattr(config, "compiled"):
        shutil.rmtree(config.compiled, ignore_errors=True)


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
