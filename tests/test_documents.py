"""README and CONTRIBUTING: their Python runs, and the commands, options and paths are there."""

import pkgutil
import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import typer

import jaxcluster as jc
from jaxcluster.cli.app import app
from jaxcluster.inference.samplers import SAMPLERS
from jaxcluster.population.simulate import TRUTH
from jaxcluster.structure.profiles import PROFILES

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


ISOCHRONE = (  # BaSTI's layout, with bands that the package does not know
    "# BaSTI\n# Np = 2 [M/H] = 0.0 Z = 0.01 Y = 0.26 Age (Myr) = 300.0\n"
    "# M/Mo(ini) M/Mo(fin) log(L/Lo) logTe F999W F111W\n#===\n"
    "1.0 1.0 0.0 3.76 4.7 5.2\n1.1 1.1 0.1 3.77 4.4 4.8\n"
)


def test_contributing_runs(tmp_path):
    names: dict = {}
    try:
        for block in blocks(CONTRIBUTING, "python"):
            exec(block, names)
        assert float(names["Sersic"](jnp.asarray(2.0), jnp.asarray(0.5)).at(4.0)) == pytest.approx(
            np.exp(-1.0)
        )
        assert "sersic" in PROFILES
        model = jc.Model.from_likelihood(
            {"a": dist.Normal(0.0, 1.0)}, lambda p: -0.5 * (p["a"][None] - 1.0) ** 2
        )
        run = names["look"](model, key=2)
        assert run.log_evidence == pytest.approx(-0.25 - 0.5 * np.log(2.0), abs=0.2)
        (tmp_path / "two_bands.isc").write_text(ISOCHRONE)
        grid = names["grid_of"](tmp_path / "two_bands.isc")
        assert grid.bands == ("F999W", "F111W")
    finally:
        PROFILES.pop("sersic", None)
        SAMPLERS.pop("look", None)


def test_the_likelihood_of_the_readme():
    """Its density at the truth is that of the two Gaussians."""
    names: dict = {}
    exec(blocks(README, "python")[1], names)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal([-11, -3], 0.3, (30, 2)), rng.normal(0, 5, (70, 2))])
    noise = np.broadcast_to(0.01 * np.eye(2), (100, 2, 2))
    stars = jc.Stars(x, noise, ("pmra", "pmdec"))
    p = {"pmra": -11.0, "pmdec": -3.0, "dispersion": 0.3, "share": 0.3}
    found = names["build"](stars).log_likelihood({k: jnp.asarray(v) for k, v in p.items()})

    def normal(mean, cov):
        offset = x - mean
        chi2 = np.einsum("na,ab,nb->n", offset, np.linalg.inv(cov), offset)
        return np.exp(-0.5 * chi2) / np.sqrt(np.linalg.det(2 * np.pi * cov))

    wide = normal(x.mean(axis=0), np.cov(x.T) + noise[0])
    both = 0.3 * normal([-11.0, -3.0], 0.1 * np.eye(2)) + 0.7 * wide
    assert float(found) == pytest.approx(np.log(both).sum(), rel=1e-9)


@pytest.mark.slow
def test_the_use_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    tables = jc.simulate_pair(jax.random.key(0), 60, 300, TRUTH, grid, (8.0, 18.0))
    for name, table in zip(("cluster", "field"), tables, strict=True):
        jc.write_table(table, Path(f"{name}.parquet"))
    exec(blocks(README, "python")[0], {})
    assert "log10" in capsys.readouterr().out
    assert jc.load("run").log10_bayes_factor is not None


def test_commands_and_options_are_there():
    commands = typer.main.get_command(app).commands
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    lines = [line.split("#")[0] for line in lines if line.startswith("jaxcluster ")]
    assert len(lines) > 5
    for line in lines:
        _, name, *words = shlex.split(line)
        known = {option for p in commands[name].params for option in p.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
    inline = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    every = [p for command in commands.values() for p in command.params]
    known = {option for p in every for option in (*p.opts, *p.secondary_opts)}
    assert inline <= known | {"--version"}


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_paths_are_there(text):
    found = re.findall(r"`((?:benchmarks|models|tests|notebooks|jaxcluster)/[\w./]*)", text)
    found += re.findall(r"\]\(([\w./]+)\)", text)
    assert len(found) > 1
    for path in found:
        assert (ROOT / path.rstrip("./")).exists(), path


def names_in(path: Path) -> set[str]:
    """Dotted names of the package in backticks: `jaxcluster.merge`, `structure.rings`."""
    rooms = "|".join(f.parent.name for f in ROOT.glob("jaxcluster/*/__init__.py"))
    found = re.findall(rf"`(jaxcluster|{rooms})((?:\.\w+)+)[`(]", path.read_text())
    return {(head + rest).removeprefix("jaxcluster.") for head, rest in found}


def test_names_in_docstrings_are_there():
    """A moved module is moved where it is spoken of, too."""
    named = {
        (name, str(path.relative_to(ROOT)))
        for folder in ("jaxcluster", "models", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for name in names_in(path)
    }
    assert len(named) > 10
    gone = []
    for name, path in sorted(named):
        try:
            pkgutil.resolve_name(f"jaxcluster.{name}")
        except (ImportError, AttributeError):
            gone.append(f"{path}: {name}")
    assert not gone
