"""What a process of ours switches on before anything else of jax is used.

Float64, the cores and JAX's persistent compilation cache; the library leaves them to its user.
"""

import os
import warnings
from pathlib import Path

import jax


def start(devices: int | None = None) -> None:
    """Switch on float64, the cores that pay and the compilation cache.

    On two devices XLA spends half as much CPU again as on one thread, and is hardly done sooner.

    Args:
        devices: CPU devices of this process; by default as many as cores are granted, 8 at most,
            and 1 of two cores.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="arviz")
    jax.config.update("jax_enable_x64", True)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        if devices is None:
            # the cores that a scheduler or taskset grants, where the system tells (not macOS)
            granted = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
            devices = min(len(granted), 8) if len(granted) > 2 else 1
        jax.config.update("jax_num_cpu_devices", devices)
        if devices == 1:
            os.environ.setdefault("NPROC", "1")  # of XLA's threads, which split small loops
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    jax.config.update("jax_compilation_cache_dir", str(base / "jaxcluster"))
    # everything: the small ones are many
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
