"""Stars around a place out of a HATS catalogue, which may be all of Gaia: the rest is not read.

HATS (Caplar et al. 2025) keeps a survey as one parquet file for each HEALPix pixel; `lsdb` opens
the few that a cone meets. It is an extra: ``pip install 'jaxcluster[lsdb]'``.
"""

from pathlib import Path
from typing import Any

from astropy.table import Table

from jaxcluster.catalogue.tables import Reader

# each catalogue has the second of them, a catalogue with its margins the first
PROPERTIES = ("collection.properties", "hats.properties", "properties")


def is_hats(source: str | Path) -> bool:
    """Whether this is the folder of a HATS catalogue, or the address of one (s3://, https://)."""
    return "://" in str(source) or properties(source) != ""


def properties(source: str | Path) -> str:
    """Text of the properties in a folder, "" where there are none."""
    files = [Path(source) / name for name in PROPERTIES]
    return next((file.read_text() for file in files if file.is_file()), "")


def read_cone(source: str | Path, ra: float, dec: float, radius_arcmin: float) -> Table:
    """Return the stars of a HATS catalogue around a place.

    Only columns that something here reads: names, positions, motions, magnitudes, their errors and
    correlations, and quality.

    Args:
        source: folder or address of the catalogue, with columns of Gaia's archive or VizieR.
        ra: right ascension [deg].
        dec: declination [deg].
        radius_arcmin: of the cone [arcmin].

    Raises:
        ImportError: without lsdb.
        ValueError: where the catalogue has no star there, or cannot be opened.

    Example:
        >>> read_cone("gaia_dr3", 132.85, 11.81, 60.0)  # doctest: +SKIP
    """
    try:
        import dask
        import lsdb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"{source} is a HATS catalogue, which lsdb reads: pip install 'jaxcluster[lsdb]'"
        ) from error
    try:
        everything: Any = lsdb.open_catalog(source, columns="all")
        known = Reader(Table(names=list(everything.columns))).known()
        cone: Any = lsdb.open_catalog(source, columns=known)
        cone = cone.cone_search(ra, dec, radius_arcsec=60.0 * radius_arcmin)
        # here and now: a worker that waits for tasks of its own would wait for ever
        with dask.config.set(scheduler="synchronous"):
            frame = cone.compute(progress_bar=False)
    except Exception as error:
        raise ValueError(
            f"{source}: no stars within {radius_arcmin:g} arcmin of ({ra:.4f}, {dec:.4f}) could be "
            f"read from this HATS catalogue: {error}"
        ) from error
    if len(frame) == 0:
        raise ValueError(
            f"{source}: has no star within {radius_arcmin:g} arcmin of ({ra:.4f}, {dec:.4f})"
        )
    return Table.from_pandas(frame.convert_dtypes(dtype_backend="numpy_nullable"))
