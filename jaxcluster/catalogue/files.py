"""Files of tables: formats by suffix, and what a table says of itself kept in each.

ECSV and VOTable keep units, masks and descriptions; ECSV keeps ``table.meta`` too. Here FITS gets
a further table for each entry of it, and parquet its units, descriptions and notes as JSON in the
file's metadata, under `NOTES`; a missing value there is a null, as pandas and polars expect.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

_FORMATS = {
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
    ".fits": "fits",
    ".fit": "fits",
    ".ecsv": "ascii.ecsv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
NOTES = b"jaxcluster"
MARK = "JAXCLUST"  # in the header of a further table that is an entry of `meta`


def format_of(path: Path) -> str:
    """Astropy's name of a file's format, by its suffix.

    Raises:
        ValueError: The suffix is none of those known.
    """
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in _FORMATS:
        expected = ", ".join(_FORMATS)
        raise ValueError(f"{path}: unknown suffix {suffix!r}, expected one of {expected}")
    return _FORMATS[suffix]


def write_table(table: Table, path: Path) -> None:
    """Write a table whole or not at all, with units, masks, descriptions and ``table.meta``.

    A VOTable and CSV keep no ``meta``, and CSV nothing but the numbers.

    Args:
        table: its ``meta`` holds texts, numbers, lists of texts or dicts of texts and numbers.
        path: the suffix says the format.

    Raises:
        ValueError: The suffix is none of those known.
    """
    form = format_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.stem}-part{path.suffix}")
    try:
        if form == "parquet":
            _write_parquet(table, scratch)
        elif form == "fits":
            _write_fits(table, scratch)
        else:
            table.write(scratch, format=form, overwrite=True)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def read_file(path: Path) -> Table:
    """Return the table of a file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The suffix is unknown, the file cannot be read, or two columns of a CSV file
            have one name.
    """
    form = format_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if form == "votable":
            # VOTable identifiers may be anything ("col7"); the names are what the user sees.
            return Table.read(path, format=form, use_names_over_ids=True)
        # Nullable integers: one missing source_id would turn all into float64, and Gaia's 19
        # digits into 16. Pandas knows the archive's "null" too.
        nullable: Any = {"dtype_backend": "numpy_nullable"}
        if form == "csv":
            import pandas as pd

            header = pd.read_csv(path, comment="#", header=None, nrows=1, dtype=str)
            _check_header([str(name) for name in header.iloc[0]])
            return Table.from_pandas(pd.read_csv(path, comment="#", **nullable))
        if form == "parquet":
            return _read_parquet(path, nullable)
        return _read_fits(path) if form == "fits" else Table.read(path, format=form)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as {form}: {error}") from error


def _check_header(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"columns {', '.join(twice)} appear more than once, and only one can be meant; rename "
            "or remove all but one"
        )


def _write_parquet(table: Any, path: Path) -> None:
    import pyarrow.parquet

    columns = {
        name: {"unit": str(column.unit or ""), "description": column.info.description or ""}
        for name, column in table.columns.items()
    }
    notes = json.dumps({"columns": columns, "meta": dict(table.meta)}, default=str)
    arrow = pyarrow.Table.from_pandas(table.to_pandas(), preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), NOTES: notes})
    pyarrow.parquet.write_table(arrow, path)


def _read_parquet(path: Path, nullable: dict[str, Any]) -> Table:
    import pandas as pd
    import pyarrow.parquet

    stored = (pyarrow.parquet.read_schema(path).metadata or {}).get(NOTES)
    if stored is None:  # somebody else's
        return Table.from_pandas(pd.read_parquet(path))
    table: Any = Table.from_pandas(pd.read_parquet(path, **nullable))
    notes = json.loads(stored)
    for name, said in notes["columns"].items():
        table[name].unit = said["unit"] or None
        table[name].description = said["description"] or None
    table.meta.update(notes["meta"])
    return table


def _write_fits(table: Any, path: Path) -> None:
    plain = table.copy(copy_data=False)
    plain.meta = {}
    hdus: list[Any] = [fits.PrimaryHDU(), fits.table_to_hdu(plain)]
    for number, column in enumerate(table.columns.values(), 1):
        if column.info.description:
            hdus[1].header[f"TCOMM{number}"] = column.info.description
    for name, value in table.meta.items():
        if not isinstance(value, dict):
            value = {name: value if isinstance(value, list | tuple) else [value]}
        else:  # None is no number of FITS
            value = {k: [np.nan if v is None else _flat(v)] for k, v in value.items()}
        hdus.append(fits.table_to_hdu(Table(value)))
        hdus[-1].name = name
        hdus[-1].header[MARK] = True
    fits.HDUList(hdus).writeto(path, overwrite=True)


def _flat(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)


def _read_fits(path: Path) -> Table:
    with fits.open(path) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise ValueError("it has no table, only images")
        table: Any = Table.read(tables[0])
        for number, name in enumerate(table.colnames, 1):
            table[name].description = tables[0].header.get(f"TCOMM{number}")
        for hdu in tables[1:]:
            if MARK not in hdu.header:
                continue
            notes, name = Table.read(hdu), hdu.name.lower()
            values = {c: notes[c].tolist() for c in notes.colnames}
            alone = list(values) == [name]
            table.meta[name] = values[name] if alone else {c: v[0] for c, v in values.items()}
    return table
