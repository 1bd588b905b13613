"""What a batch writes at its end: tables with units, figures, and a page to look at."""

import base64
import html
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from jaxcluster.catalogue.files import write_table
from jaxcluster.figures.catalogue import THRESHOLD, cost_figure, histogram_figure, members_figure
from jaxcluster.figures.style import CREDIT
from jaxcluster.inference.posterior import versions
from jaxcluster.jobs.vet import FAILED, TEXTS, UNITS

LONG = ("star", "membership", "cmd_png")  # not of the table of candidates
MOST_PICTURES = 2000  # beyond, those above the threshold have one
SHOWN = {  # columns of the page, and what they say
    "log10_bayes_factor": "log₁₀ BF",
    "log10_bayes_factor_total_error": "± σ",
    "n_stars": "stars",
    "n_field": "field",
    "n_members": "members",
    "cpu_seconds": "CPU s",
}
WORDS = {
    "log_age": "log age [yr]",
    "metallicity": "[M/H]",
    "distance_modulus": "(m−M)₀ [mag]",
    "a_v": "A_V [mag]",
}
STYLE = """body{font:14px sans-serif;margin:2em;color:#222}table{border-collapse:collapse}
th{cursor:pointer;position:sticky;top:0;background:#eee;text-align:right;padding:4px 8px}
td{text-align:right;padding:2px 8px;border-bottom:1px solid #ddd;vertical-align:middle}
td.text,th.text{text-align:left;max-width:28em}tr.yes td{background:#eef4fb}
.note{color:#666;font-size:12px}img.plot{max-width:48%}"""
SORT = """document.querySelectorAll('th').forEach((th,i)=>th.onclick=()=>{
const body=document.querySelector('tbody'),up=th.dataset.up!=='1';
document.querySelectorAll('th').forEach(t=>delete t.dataset.up);th.dataset.up=up?'1':'0';
const key=r=>{const v=r.cells[i].dataset.v;return v===undefined?r.cells[i].textContent:+v};
const rank=(a,b)=>typeof a==='string'?a.localeCompare(b):isNaN(a)-isNaN(b)||a-b;
[...body.rows].sort((a,b)=>up?rank(key(a),key(b)):rank(key(b),key(a))).forEach(r=>body.append(r))})"""


def write_results(rows: Any, out: str | Path, **meta: Any) -> list[Path]:
    """Write a batch's tables, figures and page; return their paths.

    Args:
        rows: from `batch`.
        out: folder.
        **meta: provenance, for the tables.
    """
    out = Path(out)
    texts = (*TEXTS, "configuration")
    table: Any = Table.from_pandas(rows.drop(columns=list(LONG)).fillna(dict.fromkeys(texts, "")))
    for name, unit in UNITS.items():
        if name in table.colnames:
            table[name].unit = unit
    table.meta = {
        "versions": versions(),
        **{n: json.dumps(m, default=str) for n, m in meta.items()},
    }
    paths = [out / "results.parquet", out / "results.ecsv", out / "members.parquet"]
    for path in paths[:2]:
        write_table(table, path)
    write_table(_members(rows), paths[2])
    figures = {
        "bayes_factors": histogram_figure({"candidates": np.asarray(rows["log10_bayes_factor"])}),
        "members": members_figure(rows),
        "cost": cost_figure(rows),
    }
    for name, figure in figures.items():
        paths.append(out / f"{name}.png")
        figure.savefig(paths[-1], dpi=110)
    paths.append(out / "index.html")
    scratch = paths[-1].with_suffix(".part")
    scratch.write_text(page(rows, figures), encoding="utf-8")
    scratch.replace(paths[-1])
    return paths


def _members(rows: Any) -> Table:
    """One row a star of each sample."""
    done = rows[rows["star"].notna()]
    counts = [len(stars) for stars in done["star"]]
    table: Any = Table()
    table["candidate"] = np.repeat(np.asarray(done["candidate"], str), counts)
    for name, kind in (("star", np.int64), ("membership", float)):
        values = [np.asarray(each) for each in done[name]]
        whole = np.concatenate(values) if values else np.array([])
        table[name] = whole if whole.dtype.kind in "OU" else whole.astype(kind)
    table["star"].description = "source_id, or the row of the candidate's table where it has none"
    table["membership"].description = "probability of being a member of the cluster"
    return table


def page(rows: Any, figures: dict[str, Any]) -> str:
    """Return the page: figures, and a table that sorts by any column."""
    pictures = np.asarray(rows["log10_bayes_factor"], float) > THRESHOLD
    if len(rows) <= MOST_PICTURES:
        pictures[:] = True
    medians = [name for name in rows.columns if name.endswith("_median")]
    words = [name.removesuffix("_median") for name in medians]
    words = [WORDS.get(word, word.replace("_", " ")) for word in words]
    shown = {**SHOWN, **dict(zip(medians, words, strict=True))}
    head = "".join(f"<th>{html.escape(word)}</th>" for word in shown.values())
    body = "".join(
        _row(row, shown, bool(picture))
        for row, picture in zip(rows.to_dict("records"), pictures, strict=True)
    )
    plots = "".join(
        f'<img class="plot" alt="{name}" src="data:image/png;base64,{_png(figure)}">'
        for name, figure in figures.items()
    )
    found = rows["log10_bayes_factor"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>candidates</title>'
        f"<style>{STYLE}</style><h1>{len(rows)} candidates</h1>"
        f"<p>{(found > THRESHOLD).sum()} have log₁₀ BF &gt; {THRESHOLD:g}, the threshold of Li, Li "
        f"&amp; Shao (2025); {(rows['status'] == FAILED).sum()} failed. Headings sort.</p>"
        f"{plots}<table><thead><tr><th class=text>diagram</th><th class=text>candidate</th>{head}"
        f"<th class=text>flags</th></tr></thead><tbody>{body}</tbody></table>"
        f'<p class="note">{CREDIT}. Diagrams: BP − RP to the right, bright stars up, dark points '
        f"are probable members, the line is the isochrone of the likeliest draw. "
        f"{html.escape(json.dumps(versions()))}</p><script>{SORT}</script></html>"
    )


def _row(row: dict[str, Any], shown: dict[str, str], picture: bool) -> str:
    import pandas as pd

    png = row["cmd_png"] if picture and isinstance(row["cmd_png"], bytes) else None
    image = "" if png is None else f'<img src="data:image/png;base64,{_base64(png)}">'
    cells = []
    for name in shown:
        value = math.nan if pd.isna(row[name]) else float(row[name])
        digits = 0 if name.startswith("n_") or name == "cpu_seconds" else 2
        text = "" if math.isnan(value) else f"{value:.{digits}f}"
        cells.append(f"<td data-v={value}>{text}</td>")
    said = row["message"] if row["status"] == FAILED else row["flags"]
    above = not math.isnan(row["log10_bayes_factor"]) and row["log10_bayes_factor"] > THRESHOLD
    return (
        f"<tr{' class=yes' if above else ''}><td>{image}</td>"
        f"<td class=text>{html.escape(row['candidate'])}</td>{''.join(cells)}"
        f'<td class="text note">{html.escape(said or "")}</td></tr>'
    )


def _png(figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return _base64(file.getvalue())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
