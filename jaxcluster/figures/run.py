"""How the sampler ran, in figures: importance sampling, nested sampling or the chains of NUTS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from jaxcluster.figures.style import LABELS, POSTERIOR, PRIOR, draw_credit
from jaxcluster.inference.evidence import insertion_ranks, live_counts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcluster.jobs.results import Sampled


def run_figure(result: Sampled, credit: str | None = None) -> Figure:
    """How the sampler ran: the way and weights of importance sampling, compression, or chains.

    Args:
        result: of a job.
        credit: as in `corner_figure`.
    """
    from matplotlib.figure import Figure

    posterior = result.posterior
    figure = Figure(figsize=(9.0, 6.6), layout="constrained")
    draw = {"nuts": _draw_chains, "nested": _draw_nested, "importance": _draw_importance}
    draw[posterior.method](figure, posterior)
    stars = result.model.stars
    draw_credit(figure, () if stars is None else stars.columns, credit)
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


def batch_starts(live: Int[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
    """Return the dead points with which a batch starts, and all after the last births.

    Points that are replaced together die one by one, so that the count is a sawtooth; its maxima
    are the number of live points.

    Args:
        live: number of live points when each died.
    """
    starts = np.flatnonzero(np.diff(live, prepend=0) >= 0)
    return np.concatenate([starts, np.arange(starts[-1] + 1, len(live))])


def _draw_nested(figure, posterior):
    attributes = posterior.record
    log_l, log_weights, birth = (
        np.asarray(attributes[f"dead_{name}"], float)
        for name in ("log_likelihood", "log_weight", "birth")
    )
    live = live_counts(log_l, birth)
    compression = np.cumsum(1.0 / live)
    weight = np.exp(log_weights) * live  # per unit of ln X
    z, error = evidence_path(log_weights, live, attributes["log_evidence"])
    (likelihood, counts), (evidence, ranks) = figure.subplots(2, 2)
    figure.get_layout_engine().set(hspace=0.08)
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

    peaks = batch_starts(live)
    counts.plot(compression[peaks], live[peaks], color=POSTERIOR, lw=1.5)
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
    # the seed only spreads ties: it moves no rank by more than 1/live
    number, _ = np.histogram(insertion_ranks(log_l, birth, np.random.default_rng(0)), edges)
    expected = number.mean()
    low, high = expected - np.sqrt(expected), expected + np.sqrt(expected)
    ranks.axhspan(low, high, color="0.85", label="uniform ± 1σ")
    ranks.stairs(number, edges, baseline=None, color=POSTERIOR, lw=1.5)
    ranks.set(xlabel="insertion rank", ylabel="new points", xlim=(0, 1), ylim=(0, None))
    ranks.set_title(f"uniform? p = {attributes['insertion_rank_p']:.2g}", fontsize=10)
    ranks.legend(loc="lower right", fontsize=9, frameon=False)


def _draw_importance(figure, posterior):
    """Powers of L on the way to the posterior, ln Z by round, weights of the draws that count."""
    attributes = posterior.record
    figure.set_size_inches(9.0, 4.0)
    figure.get_layout_engine().set(rect=(0.0, 0.05, 1.0, 0.95))  # above the credit
    searches, rounds, weights = figure.subplots(1, 3)
    lengths = np.atleast_1d(attributes["search_length"])
    for number, power in enumerate(
        np.split(np.asarray(attributes["search_power"]), np.cumsum(lengths)[:-1]), start=1
    ):
        searches.semilogy(np.maximum(power, 1e-4), lw=1.5, label=f"search {number}")
    searches.set(xlabel="batch", ylabel=r"power of $L$")
    searches.legend(fontsize=9, frameon=False)

    z = np.atleast_1d(attributes["round_log_evidence"])
    error = np.atleast_1d(attributes["round_log_evidence_error"])
    number = np.arange(1, len(z) + 1)
    counted = np.atleast_1d(attributes["round_counts"]) > 0
    lengths = np.atleast_1d(attributes["estimate_rounds"])
    for end in np.cumsum(lengths)[:-1]:
        rounds.axvline(end + 0.5, color="0.8", lw=0.8)  # each estimate's own
    estimate = np.repeat(np.arange(len(lengths)), lengths)
    holds = estimate == attributes.get("estimate_that_holds", estimate)
    for some, colour, label in (
        (~counted, "0.7", "improve q"),
        (counted & ~holds, "C0", "confirm"),
        (counted & holds, POSTERIOR, "count"),
    ):
        if some.any():
            shown = number[some], z[some], error[some]
            rounds.errorbar(*shown, fmt="o", color=colour, ms=4, label=label)
    rounds.set(xlabel="round", ylabel=r"$\ln Z$")
    rounds.locator_params(axis="x", integer=True)
    rounds.legend(
        loc="upper left", ncols=3, columnspacing=0.5, handletextpad=0.1, fontsize=8, frameon=False
    )
    value, error = attributes["log_evidence"], attributes["log_evidence_error"]
    off = attributes.get("disagreement")
    confirmed = "not confirmed" if off is None else f"confirmed to {off:.1f} errors"
    rounds.set_title(rf"$\ln Z = {value:.2f} \pm {error:.2f}$" + f"\n{confirmed}", fontsize=10)
    rounds.margins(y=0.25)  # room for the legend

    log_w = np.asarray(attributes["round_log_weight"]) - value
    weights.hist(np.clip(log_w, -8, None), bins=40, color=POSTERIOR, histtype="step", lw=1.5)
    weights.set(xlabel=r"$\ln\,(\pi L / q Z)$, $-8$ and below", ylabel="draws that count")
    weights.set_yscale("log")
    weights.set_title(
        rf"$\hat k = {attributes['tail_index']:.2f}$, {attributes['ess']:.0f} effective draws",
        fontsize=10,
    )


def _draw_chains(figure, posterior):
    """Trace of each scalar parameter and of the log posterior, divergences marked."""
    statistics = posterior["sample_stats"]
    diverging, steps = np.asarray(statistics["diverging"]), np.asarray(statistics["n_steps"])
    chains = dict(posterior.scalars)
    quality = posterior.quality
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
        f"NUTS, {len(steps)} × {steps.shape[1]} draws: {quality['divergences']} diverging (black), "
        rf"largest $\hat R$ {quality['r_hat']:.3f}, least ESS {quality['ess']:.0f}, "
        f"{steps.mean():.0f} steps a draw",
        fontsize=10,
    )
