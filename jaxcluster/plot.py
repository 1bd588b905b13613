"""Figures of a Bayes factor: colour-magnitude diagram, corner plot, and how the sampler ran."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from jaxcluster.bayes_factor import Result
from jaxcluster.cmd import EQUAL_PAIR, PopulationModel, plane_of
from jaxcluster.evidence import live_counts
from jaxcluster.stars import Stars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {
    "log_age": r"$\log_{10}$(age/yr)",
    "metallicity": "[M/H]",
    "distance_modulus": "distance\nmodulus [mag]",
    "a_v": "$A_V$ [mag]",
    "mass_slope": "mass-function\nslope",
    "binary_fraction": "binary\nfraction",
    "mass_ratio_slope": "mass-ratio\nslope",
    "field_fraction": "field\nfraction",
    "model_scatter": "model\nscatter [mag]",
    "extinction_scatter": "scatter of\n$A_V$ [mag]",
}
GAIA, CREDIT = {"G", "BP", "RP"}, "Data: ESA/Gaia/DPAC"
LINE, FIELD, POSTERIOR, PRIOR = "#c4302b", "0.55", "#1f4e79", "#d08700"
# Two points of an isochrone more than JUMP apart (colour, magnitude / 4) are not joined where less
# than EMPTY of the mass lies between them per unit length: the helium flash and phases that the
# grid filled. Red giants have 5e-5, the flash below 2e-5; PARSEC's main sequence has steps of 3 mag
# at some ages, but they are full of stars.
JUMP, EMPTY = 0.1, 3e-5
N_DRAWS = 20
SHARES = (0.95, 0.8, 0.5, 0.2)  # of field stars inside the contours


def save_figures(result: Result, folder: str | Path, credit: str | None = None) -> list[Path]:
    """Write every figure of a run as a PNG file.

    Args:
        result: from `bayes_factor`.
        folder: made where it does not exist.
        credit: as in `cmd_figure`.

    Returns:
        Paths of cmd.png, corner.png and run.png.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "cmd": cmd_figure(result, credit),
        "corner": corner_figure(result, credit=credit),
        "run": run_figure(result, credit),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    return [folder / f"{name}.png" for name in figures]


# --- colour-magnitude diagram --------------------------------------------------------------------


def cmd_figure(result: Result, credit: str | None = None) -> Figure:
    """Stars by membership over the field's density, with the posterior's isochrones.

    Isochrones (where `result.model.cluster` is a `PopulationModel`): at the median of each
    parameter, at 20 posterior draws, and of pairs of equal stars, 0.75 mag brighter. Error bars at
    the left are medians of the stars around that magnitude.

    Args:
        result: from `bayes_factor`.
        credit: line at the bottom; by default that of Gaia where the bands are Gaia's.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    stars, limits = result.stars, result.limits
    magnitude, colour = np.asarray(stars.x[:, 0]), np.asarray(stars.x[:, 1])
    width = max(float(np.ptp(colour)), 0.5)
    edges = (colour.min() - 0.16 * width, colour.max() + 0.06 * width)

    figure = Figure(figsize=(6.4, 7.6), layout="constrained")
    ax = figure.add_subplot()
    handles = [*_draw_field(ax, result, edges)]
    membership = np.asarray(result.members["membership"])
    order = np.argsort(membership)
    points = ax.scatter(
        colour[order],
        magnitude[order],
        c=membership[order],
        s=float(np.clip(3000 / len(stars), 8, 22)),
        cmap="viridis_r",
        vmin=0,
        vmax=1,
        linewidths=0.2,
        edgecolors="0.3",
        zorder=2,
    )
    figure.colorbar(points, ax=ax, label="membership probability", aspect=35, pad=0.02)
    _draw_errors(ax, stars, edges[0] + 0.06 * width)

    cluster = result.model.cluster
    if isinstance(cluster, PopulationModel):
        draws = {name: values.ravel() for name, values in _scalars(result.posterior).items()}
        n = len(next(iter(draws.values())))
        for i in np.linspace(0, n - 1, min(n, N_DRAWS)).astype(int):
            line = _sequence(cluster, {name: values[i] for name, values in draws.items()})
            ax.plot(line[:, 1], line[:, 0], color=LINE, lw=0.6, alpha=0.25, zorder=3)
        line = _sequence(cluster, {name: np.median(values) for name, values in draws.items()})
        ax.plot(line[:, 1], line[:, 0], color=LINE, lw=1.3, zorder=4)
        ax.plot(line[:, 1], line[:, 0] - EQUAL_PAIR, color=LINE, lw=1.0, ls="--", zorder=4)
        handles += [
            Line2D([], [], color=LINE, lw=1.3, label="isochrone, posterior median"),
            Line2D([], [], color=LINE, lw=0.6, alpha=0.5, label="posterior draws"),
            Line2D([], [], color=LINE, lw=1.0, ls="--", label="equal-mass binaries"),
        ]
    for limit in limits:
        ax.axhline(limit, color="0.2", lw=0.9, ls=":")
    handles.append(Line2D([], [], color="0.2", lw=0.9, ls=":", label="magnitude limits"))

    pad = 0.03 * (limits[1] - limits[0])
    ax.set_xlim(*edges)
    ax.set_ylim(limits[1] + pad, limits[0] - pad)
    ax.set_ylabel(_axis_label(stars.columns[0]))
    ax.set_xlabel(_axis_label(stars.columns[1]))
    ax.set_title(_verdict(result), fontsize=10)
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    _draw_credit(figure, stars.columns, credit)
    return figure


def _draw_field(ax, result, edges):
    """Draw contours that hold given shares of the field; return what the legend shows of them."""
    from matplotlib.lines import Line2D

    magnitude, colour = np.linspace(*result.limits, num=161), np.linspace(*edges, num=121)
    grid = np.stack(np.meshgrid(magnitude, colour, indexing="ij"), axis=-1)
    points = grid.reshape(-1, 2)
    noise = np.zeros((len(points), 2, 2))
    log_density = result.field(Stars(points, noise, result.stars.columns))
    density = np.exp(np.asarray(log_density, float)).reshape(grid.shape[:2])
    sorted_ = np.sort(density, axis=None)[::-1]
    held = np.cumsum(sorted_)
    levels = sorted_[[np.searchsorted(held, share * held[-1]) for share in SHARES]]
    levels = np.unique(levels)  # matplotlib wants them to increase
    ax.contour(colour, magnitude, density, levels=levels, colors=FIELD, linewidths=0.8, zorder=1)
    shares = ", ".join(f"{share:.0%}"[:-1] for share in SHARES[::-1])
    return [Line2D([], [], color=FIELD, lw=0.8, label=f"{shares} % of the field")]


def _draw_errors(ax, stars, where):
    magnitude = np.asarray(stars.x[:, 0])
    errors = np.sqrt(np.diagonal(np.asarray(stars.noise), axis1=1, axis2=2))
    groups = np.array_split(np.argsort(magnitude), min(5, len(stars)))
    typical = np.array([[np.median(magnitude[g]), *np.median(errors[g], axis=0)] for g in groups])
    ax.errorbar(
        np.full(len(typical), where),
        typical[:, 0],
        xerr=typical[:, 2],
        yerr=typical[:, 1],
        fmt="none",
        ecolor="black",
        elinewidth=0.9,
        capsize=1.5,
    )
    ax.annotate(
        "typical\nerrors",
        (where, typical[0, 0]),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )


def _sequence(
    population: PopulationModel, parameters: Mapping[str, Any]
) -> Float[np.ndarray, "e 2"]:
    """Return (magnitude, colour) of single stars, NaN where no line is to be drawn."""
    isochrone = population.grid.isochrone(
        parameters["log_age"], parameters["metallicity"], parameters["a_v"]
    )
    _, matrix = plane_of(population.columns)
    line = np.asarray(isochrone.magnitudes + parameters["distance_modulus"]) @ matrix.T
    mass = np.asarray(isochrone.initial_mass)
    length = np.hypot(np.diff(line[:, 0]) / 4, np.diff(line[:, 1]))
    empty = (length > JUMP) & (np.diff(mass) < EMPTY * length * mass[1:])
    return np.insert(line, np.flatnonzero(empty) + 1, np.nan, axis=0)


# --- corner plot ---------------------------------------------------------------------------------


def corner_figure(
    result: Result, truth: Mapping[str, float] | None = None, credit: str | None = None
) -> Figure:
    """Posterior of the scalar parameters in pairs, with the prior over each marginal.

    Histograms and priors are densities on the same scale, so that an uninformed parameter shows.

    Args:
        result: from `bayes_factor`.
        truth: values by parameter name, to be marked.
        credit: as in `cmd_figure`.

    Raises:
        ValueError: a truth that is no scalar parameter, or a posterior in which none varies.
    """
    import corner
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    truth = truth or {}
    draws = {name: values.ravel() for name, values in _scalars(result.posterior).items()}
    if unknown := [name for name in truth if name not in draws]:
        raise ValueError(f"truth: {unknown} are not scalar parameters; those are {list(draws)}")
    order = sorted(draws, key=lambda name: [*LABELS, name].index(name))
    draws = {name: draws[name] for name in order if np.ptp(draws[name]) > 0}
    if not draws:
        raise ValueError("posterior: no scalar parameter varies, there is nothing to draw")
    names, table = list(draws), np.stack(list(draws.values()), axis=-1)
    ranges = [_range(draws[name], truth.get(name)) for name in names]
    n = len(names)

    small = n <= 4  # then the legend needs room of its own above the panels
    figure = Figure(figsize=(1.3 * n + 1.4, 1.3 * n + 1.4 + 1.1 * small))
    corner.corner(
        table,
        fig=figure,
        labels=[LABELS.get(name, name) for name in names],
        label_kwargs={"fontsize": 11},
        labelpad=0.12,
        range=ranges,
        bins=24,
        color=POSTERIOR,
        levels=(0.68, 0.95),
        smooth=1.0,
        plot_datapoints=True,
        data_kwargs={"alpha": 0.15, "ms": 1.5},
        hist_kwargs={"density": True, "lw": 1.3},
        truths=[truth.get(name) for name in names] if truth else None,
        truth_color=LINE,
        max_n_ticks=4,
    )
    axes = np.array(figure.axes).reshape(n, n)
    prior = result.model.prior
    for i, name in enumerate(names):
        axes[i, i].set_title(_interval(draws[name]), fontsize=11)
        if isinstance(prior, Mapping) and name in prior:
            x = np.linspace(*ranges[i], 200)
            support: Any = prior[name].support  # numpyro's log_prob is finite outside as well
            inside = np.asarray(support(x))
            density = np.zeros(len(x))
            density[inside] = np.exp(np.asarray(prior[name].log_prob(x[inside])))
            axes[i, i].plot(x, density, color=PRIOR, lw=1.3, ls="--")
            axes[i, i].set_ylim(0, max(axes[i, i].get_ylim()[1], 1.1 * density.max()))
    for ax in figure.axes:
        ax.tick_params(labelsize=9)
        for axis in (ax.xaxis, ax.yaxis):  # labels of neighbouring panels must not meet
            low, high = axis.get_view_interval()
            inner = (np.array(axis.get_majorticklocs()) - low) / (high - low)
            axis.set_ticks(low + (high - low) * inner[(inner > 0.12) & (inner < 0.88)])
    handles = [
        Line2D([], [], color=POSTERIOR, label="posterior; 68, 95 % contours"),
        Line2D([], [], color=PRIOR, ls="--", label="prior"),
    ]
    if truth:
        handles.append(Line2D([], [], color=LINE, marker="s", ms=4, label="truth"))
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=1.2 / width,
        bottom=1.2 / height,
        top=1 - (0.5 + 1.1 * small) / height,
        wspace=0.09,
        hspace=0.09,
    )
    figure.legend(
        handles=handles,
        title=_verdict(result).replace("; ", "\n"),
        loc="upper right",
        bbox_to_anchor=(0.98, 1 - 0.15 / height),
        fontsize=8 if small else 12,
        title_fontsize=8 if small else 12,
        frameon=False,
    )
    _draw_credit(figure, result.stars.columns, credit)
    return figure


def _range(values, truth):
    """Range of the draws, widened to show a truth that lies outside."""
    low, high = values.min(), values.max()
    if truth is not None:
        low, high = min(low, truth), max(high, truth)
    return low - 0.02 * (high - low), high + 0.02 * (high - low)


def _interval(values):
    low, middle, high = np.quantile(values, [0.16, 0.5, 0.84])
    digits = int(np.clip(1 - np.floor(np.log10(max(min(high - middle, middle - low), 1e-6))), 0, 6))
    return f"${middle:.{digits}f}^{{+{high - middle:.{digits}f}}}_{{-{middle - low:.{digits}f}}}$"


# --- the sampler's run ---------------------------------------------------------------------------


def run_figure(result: Result, credit: str | None = None) -> Figure:
    """How the sampler ran: nested sampling's compression, or the chains of NUTS.

    Args:
        result: from `bayes_factor`.
        credit: as in `cmd_figure`.
    """
    from matplotlib.figure import Figure

    attributes = result.posterior["posterior"].attrs
    figure = Figure(figsize=(9.0, 6.6), layout="constrained")
    if attributes["method"] == "nuts":
        _draw_chains(figure, result.posterior)
    else:
        _draw_nested(figure, attributes)
    _draw_credit(figure, result.stars.columns, credit)
    return figure


def evidence_path(
    log_weights: Float[np.ndarray, " n"], live: Int[np.ndarray, " n"], log_evidence: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return ln Z up to each dead point and its error; NaN below 1e−13 of the whole Z.

    Volumes shrink by t_j with Var(ln t_j) = 1/n_j², and ∂ ln Z_i / ∂ ln t_j is the share of Z_i
    from j on, so to first order Var(ln Z_i) = Σ_{j ≤ i} (1 − Z_j/Z_i)² / n_j².

    Args:
        log_weights: normalised posterior weight of each dead point, ln.
        live: number of live points when each died.
        log_evidence: ln Z of the whole run.
    """
    z = np.cumsum(np.exp(log_weights))
    z = z / z[-1]
    before = np.concatenate([[0.0], z[:-1]])  # point j and later: 1 − Z_{j−1}/Z_i
    a, b, c = (np.cumsum(before**k / np.asarray(live, float) ** 2) for k in (0, 1, 2))
    started = z > 1e-13
    safe = np.where(started, z, 1.0)
    variance = a - 2 * b / safe + c / safe**2
    error = np.sqrt(np.maximum(variance, 0.0))
    return (
        np.where(started, log_evidence + np.log(safe), np.nan),
        np.where(started, error, np.nan),
    )


def rank_histogram(
    log_likelihood: Float[np.ndarray, " n"],
    birth: Float[np.ndarray, " n"],
    edges: Float[np.ndarray, " e"],
) -> Float[np.ndarray, " bins"]:
    """Count where new points came in among the survivors of their contour, from 0 to 1.

    The k-th of m + 1 places is spread evenly over [k, k + 1]/(m + 1), else bins that hold one place
    more than others stand out. All points of a batch count; the test
    (`evidence.insertion_rank_p`) takes one of each.
    """
    cumulative = np.zeros(len(edges))
    for contour in np.unique(birth[np.isfinite(birth)]):
        survivors = np.sort(log_likelihood[(birth < contour) & (log_likelihood > contour)])
        place = np.searchsorted(survivors, log_likelihood[birth == contour])
        cumulative += np.clip(edges[:, None] * (len(survivors) + 1) - place, 0, 1).sum(axis=1)
    return np.diff(cumulative)


def _draw_nested(figure, attributes):
    log_l, log_weights, birth = (
        np.asarray(attributes[f"dead_{name}"], float)
        for name in ("log_likelihood", "log_weight", "birth")
    )
    live = live_counts(log_l, birth)
    compression = np.cumsum(1.0 / live)
    weight = np.exp(log_weights) * live  # per unit of ln X
    z, error = evidence_path(log_weights, live, attributes["log_evidence"])
    (likelihood, counts), (evidence, ranks) = figure.subplots(2, 2)
    name = r"compression $-\ln X$"

    mass = likelihood.twinx()
    mass.fill_between(compression, weight / weight.max(), color=PRIOR, alpha=0.3, lw=0)
    mass.set(ylim=(0, 1.05), ylabel=r"posterior mass per $\ln X$")
    mass.yaxis.label.set_color("#8a5a00")
    likelihood.plot(compression, log_l, color=POSTERIOR, lw=1.5)
    likelihood.set_zorder(mass.get_zorder() + 1)
    likelihood.patch.set_visible(False)
    # from the prior the likelihood climbs through thousands: show what follows the first third
    start = np.interp(compression[-1] / 3, compression, log_l)
    top = log_l[-1] + 0.05 * (log_l[-1] - start)
    likelihood.set(xlabel=name, ylabel=r"$\ln L$", ylim=(start, top))

    counts.plot(compression, live, color=POSTERIOR, lw=0.8)
    counts.set(xlabel=name, ylabel="live points", ylim=(0, None))

    shown = np.isfinite(z) & (z > attributes["log_evidence"] - 12)
    x, z, error = compression[shown], z[shown], error[shown]
    evidence.fill_between(x, z - error, z + error, color=POSTERIOR, alpha=0.3, lw=0)
    evidence.plot(x, z, color=POSTERIOR, lw=1.5)
    evidence.set_title(
        rf"$\ln Z = {attributes['log_evidence']:.2f} \pm {attributes['log_evidence_error']:.2f}$, "
        f"information {attributes['information']:.1f} nat",
        fontsize=10,
    )
    evidence.set(xlabel=name, ylabel=r"$\ln Z$ up to $X$")

    edges = np.linspace(0.0, 1.0, int(np.clip(len(birth) / 40, 5, 25)) + 1)
    number = rank_histogram(log_l, birth, edges)
    expected = number.mean()
    low, high = expected - np.sqrt(expected), expected + np.sqrt(expected)
    ranks.axhspan(low, high, color="0.85", label="uniform ± 1σ")
    ranks.stairs(number, edges, color=POSTERIOR, lw=1.5)
    ranks.set(xlabel="insertion rank", ylabel="new points", xlim=(0, 1), ylim=(0, None))
    ranks.set_title(f"uniform? p = {attributes['insertion_rank_p']:.2g}", fontsize=10)
    ranks.legend(loc="lower right", fontsize=9, frameon=False)


def _draw_chains(figure, posterior):
    """Trace of each scalar parameter and of the log posterior, divergences marked."""
    import arviz

    statistics = posterior["sample_stats"]
    diverging, steps = np.asarray(statistics["diverging"]), np.asarray(statistics["n_steps"])
    chains = _scalars(posterior)
    least = min(float(arviz.ess(values)) for values in chains.values())
    worst = max(float(arviz.rhat(values)) for values in chains.values())
    chains["ln posterior"] = np.asarray(statistics["lp"])
    figure.set_size_inches(9.0, 1.1 * len(chains) + 1.0)
    axes = figure.subplots(len(chains), sharex=True)
    for ax, (name, values) in zip(axes, chains.items(), strict=True):
        for chain, bad in zip(values, diverging, strict=True):
            ax.plot(chain, lw=0.5, alpha=0.8)
            ax.plot(np.flatnonzero(bad), chain[bad], "|", color="black", ms=7)
        ax.set_ylabel(LABELS.get(name, name), fontsize=9)
    axes[-1].set_xlabel("draw")
    figure.align_ylabels(axes)
    figure.suptitle(
        f"NUTS, {len(steps)} × {steps.shape[1]} draws: {diverging.sum()} diverging (black), "
        rf"largest $\hat R$ {worst:.3f}, least ESS {least:.0f}, {steps.mean():.0f} steps a draw",
        fontsize=10,
    )


# --- words ---------------------------------------------------------------------------------------


def _scalars(posterior) -> dict[str, Float[np.ndarray, "chains draws"]]:
    return {
        str(name): np.asarray(values, float)
        for name, values in posterior["posterior"].data_vars.items()
        if values.ndim == 2
    }


def _axis_label(column: str) -> str:
    return f"{column.replace('-', ' − ')} [mag]"


def _verdict(result: Result) -> str:
    n_members = int((np.asarray(result.members["membership"]) > 0.5).sum())
    words = f"{len(result.stars)} stars, {n_members} with P > 0.5"
    if result.log10_bayes_factor is None:
        return f"{words}; no evidence from this sampler"
    value = rf"{result.log10_bayes_factor:.1f} \pm {result.log10_bayes_factor_error:.1f}"
    flagged = "; field density flagged" if result.flags else ""
    return rf"$\log_{{10}}\,\mathrm{{BF}} = {value}$; {words}{flagged}"


def _draw_credit(figure, columns, credit):
    if credit is None:
        bands, _ = plane_of(columns)
        credit = CREDIT if GAIA & set(bands) else ""
    if credit:
        figure.supxlabel(credit, x=0.99, y=0.004, ha="right", va="bottom", fontsize=7, color="0.4")
