"""Float64 and the real data's place, once for all tests."""

from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

DATA = Path(__file__).parents[2] / "shared" / "data"


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
