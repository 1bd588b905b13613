"""Find a model file by name or by path and take its `build`.

The files lie in `models/` of a checkout and inside the package in a wheel.
"""

import importlib.util
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path

from jaxcluster.inference.model import Model

_HERE = Path(__file__).parents[1]
FOLDERS = (_HERE / "models", _HERE.parent / "models")


def names() -> list[str]:
    """Names of the models that come with jaxcluster."""
    found = {p.stem for folder in FOLDERS for p in folder.glob("*.py") if p.stem[0] != "_"}
    return sorted(found)


def load_model(model: str) -> Callable[..., Model]:
    """Return `build` of a model that comes with the package, or of a file.

    Raises:
        ValueError: for an unknown name, a file without `build`, or one that raises while loading.
    """
    candidates = [folder / f"{model}.py" for folder in FOLDERS]
    if model.endswith(".py"):
        candidates = [Path(model)]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        raise ValueError(f"no model {model!r}; there are {names()}, or give the path of a .py file")
    return _load(path, path.stat().st_mtime_ns)


@lru_cache
def _load(path: Path, modified: int) -> Callable[..., Model]:
    """`build` of a file, the same until it is changed, as what was traced is of its functions."""
    spec = importlib.util.spec_from_file_location(f"jaxcluster_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"model file {path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything: say which it was
        raise ValueError(f"model file {path} raised {type(error).__name__}: {error}") from error
    if not callable(getattr(module, "build", None)):
        raise ValueError(f"model file {path} defines no function build(stars, ...) -> Model")

    @wraps(module.build)
    def build(*arguments, **options):
        try:
            return module.build(*arguments, **options)
        except (ValueError, FileNotFoundError):
            raise  # their words are meant for the user
        except (Exception, SystemExit) as error:
            kind = type(error).__name__
            raise ValueError(f"model file {path}: build() raised {kind}: {error}") from error

    return build
