"""What is typed on the command line: numbers, pairs, distributions."""

import ast
from pathlib import Path
from typing import Any


def numbers(option: str, text: str | None, names: str, example: str) -> tuple[float, ...] | None:
    """Read numbers with commas between them, one for each of some names; None for None.

    Args:
        option: that the text was typed after, for the message.
        text: as typed, "121.7,-28.2".
        names: what they are, "RA,DEC"; a declination is between -90 and 90.
        example: of such numbers.

    Raises:
        ValueError: the text is not as many finite numbers, or a declination is none.
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = None
    if (
        values is None
        or len(values) != names.count(",") + 1
        or not all(abs(v) < float("inf") for v in values)
    ):
        raise ValueError(f"{option} {text!r}: expected {names} such as {example}")
    if names.startswith("RA,DEC") and abs(values[1]) > 90:
        raise ValueError(f"{option} {text!r}: declination {values[1]:g} is not between -90 and 90")
    return values


def magnitude_limits(text: str | None) -> tuple[float, float] | None:
    """Read LO,HI; None for None."""
    if (values := numbers("--limits", text, "LO,HI", "8,18")) is None:
        return None
    low, high = values
    if low >= high:
        raise ValueError(f"--limits {text!r}: LO must be below HI")
    return low, high


def colour_error(text: str, grids: list[str], columns: tuple[str, ...]) -> str:
    """Check an error of isochrones' colours before minutes go into a fit; a file's path in full.

    Raises:
        ValueError, FileNotFoundError: as `load_colour_error`, for any of the grids.
    """
    from jaxcluster.population.colour_error import load_colour_error

    for grid in grids:
        load_colour_error(text, grid, columns)
    return str(file.resolve()) if (file := Path(text)).is_file() else text


def position(option: str, text: str | None) -> tuple[float, float] | None:
    """Read RA,DEC in degrees; None for None."""
    if (values := numbers(option, text, "RA,DEC", "121.7,-28.2 (degrees)")) is None:
        return None
    ra, dec = values
    return ra, dec


def _named(option: str, items: list[str], expected: str) -> dict[str, str]:
    """Read NAME=TEXT of each item; a ValueError for anything else, or a name that comes twice."""
    found: dict[str, str] = {}
    for item in items:
        name, separator, text = (part.strip() for part in item.partition("="))
        if not separator or not name or not text:
            raise ValueError(f"{option} {item!r}: expected {expected}")
        if name in found:
            raise ValueError(f"{option} {item!r}: {name} has {found[name]} already; give one")
        found[name] = text
    return found


def column_names(items: list[str]) -> dict[str, str]:
    """Read BAND=NAME of each item.

    Raises:
        ValueError: an item that is not that, or a band that comes twice.
    """
    return _named("--column", items, "BAND=NAME, such as PS_g=gmag")


def priors(items: list[str]) -> dict[str, Any]:
    """Read NAME=DISTRIBUTION of each item.

    Raises:
        ValueError: an item that is not that, or a name that comes twice.
    """
    from jaxcluster.inference.priors import from_text

    found: dict[str, Any] = {}
    expected = "NAME=DISTRIBUTION, such as a_v=Uniform(0,1)"
    for name, text in _named("--prior", items, expected).items():
        try:
            found[name] = from_text(text)
        except ValueError as error:
            raise ValueError(f"--prior {name}={error}") from error
    return found


def numbers_of_components(text: str) -> range:
    """Read N, or LO-HI."""
    low, separator, high = text.partition("-")
    try:
        sizes = range(int(low), int(high if separator else low) + 1)
    except ValueError:
        sizes = range(0)
    if not sizes or sizes.start < 1:
        raise ValueError(f"--components {text!r}: expected a number such as 10, or LO-HI as 5-15")
    return sizes


def shape_of(profile: str | None, beta: str | None) -> tuple[str, int | None]:
    """Profile and fixed β from the two options; β alone means the generalised profile."""
    from jaxcluster.structure.profiles import PROFILES

    if beta not in (None, "1", "2", "free"):
        raise ValueError(f"--beta {beta!r}: expected 1, 2 or free")
    name = profile
    if name is None:
        name = "king62" if beta is None else "generalised"
    if name not in PROFILES:
        raise ValueError(f"--profile {name!r}: expected one of {', '.join(PROFILES)}")
    if name == "king62" and beta not in (None, "2"):
        raise ValueError(f"--beta {beta}: king62 has beta 2; take --profile generalised")
    if name not in ("king62", "generalised") and beta is not None:
        raise ValueError(f"--beta {beta}: profile {name} has none; leave it out")
    return name, int(beta) if name == "generalised" and beta in ("1", "2") else None


def settings(items: list[str]) -> dict[str, Any]:
    """Read OPTION=VALUE of a model's build(), values as Python literals or else text."""
    options: dict[str, Any] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            raise ValueError(f"--set {item!r}: expected OPTION=VALUE")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options
