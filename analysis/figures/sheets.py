"""The study's figures, laid out, named and captioned, one at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.estimates.estimate import Estimate
from analysis.estimates.words import shown
from analysis.figures import comparison, compute, diagnosis
from analysis.figures.theme import COLUMN, HEIGHT, colour_bar, heading, log_norm, settle, sheet, themed, tidy_log_ticks
from analysis.fitted import GroupFit, Study

BELOW = 0.1       # share of the compute over which a frontier may lie below every run unsaid
MOST_GROUPS = 3   # panels side by side; the numbers of further groups are in the tables


@dataclass(frozen=True)
class Plate:
    """A finished figure."""

    name: str       # of its files
    title: str
    caption: str    # one sentence: what to see
    figure: Figure


def plates(study: Study, *, lost: list[str]) -> Iterator[Plate]:
    """Every figure that the study has results for, drawn as it is asked for.

    A figure that numbers beyond sense make undrawable is named in `lost`: the rest is still drawn.
    """
    with themed():
        for name, draw in FIGURES.items():
            try:
                plate = draw(study)
                if plate is not None:
                    settle(plate.figure)
                    yield plate
            except (ValueError, ArithmeticError, np.linalg.LinAlgError) as why:
                lost.append(f"{name}: {why}")


def _panels(groups: Sequence[GroupFit], draw: Callable, *, width: float = COLUMN, height: float = HEIGHT,
            share_x: bool = False) -> Figure:
    """One panel a group, side by side on one scale, each titled by its group."""
    groups = groups[:MOST_GROUPS]
    figure = sheet(len(groups), width=width, height=height)
    for ax, group in zip(figure.axes, groups, strict=False):
        draw(group, ax)
        _title(ax, group)
    if share_x:
        low, high = zip(*(ax.get_xlim() for ax in figure.axes), strict=True)
        for ax in figure.axes:
            ax.set_xlim(min(low), max(high))
    low, high = zip(*(ax.get_ylim() for ax in figure.axes), strict=True)
    falling = low[0] > high[0]   # rows are numbered from the top
    for place, ax in enumerate(figure.axes):
        ax.set_ylim((max(low), min(high)) if falling else (min(low), max(high)))
        tidy_log_ticks(ax)
        if place:
            ax.set_ylabel("")
            ax.tick_params(axis="y", which="both", labelleft=False)
    return figure


def _title(ax: Axes, group: GroupFit) -> None:
    if group.group.label:
        ax.set_title(heading(group.group.label), loc="left", fontweight="bold")


def _sizes(groups: Sequence[GroupFit]) -> LogNorm:
    return log_norm([n for g in groups[:MOST_GROUPS] for n in (g.seen.N.min(), g.seen.N.max())])


def _of(groups: Sequence[GroupFit], text: Callable[[GroupFit], str]) -> str:
    """The text of each group, named where there are several; nothing of those that have none."""
    told = [(g.group.label if len(groups) > 1 else "", text(g)) for g in groups[:MOST_GROUPS]]
    return "; ".join((f"{label}: " if label else "") + said for label, said in told if said)


def _loss(study: Study) -> Plate:
    norm = _sizes(study.groups)
    figure = _panels(study.groups, lambda g, ax: compute.plot_loss_against_compute(g.seen, g.approaches.law, ax, norm=norm))
    colour_bar(figure, norm, "parameters $N$")
    fitted = [g for g in study.groups if g.approaches.law is not None]
    below = _of(fitted, _below)
    return Plate("loss", "Loss against compute",
                 "A point a run, a thin line a model size; the thick line is the lowest loss that compute can buy, "
                 "L* = E + K C^-gamma, with its interval, dotted where the best N or D was not trained"
                 f"{'; ' + below if below else ''}." if fitted else
                 "A point a run, a thin line a model size; no frontier could be fitted.", figure)


def _below(g: GroupFit) -> str:
    """A word where the line lies below every run."""
    found = compute.below_every_run(g.approaches.law, g.seen.C, g.seen.L)
    return (f"over {found.share:.0%} of the compute it lies below every run, by {found.gap:.0%} in the middle: "
            "none had the best N and D"
            if found.share > BELOW else "")


def _optima(study: Study) -> Plate | None:
    groups = [g for g in study.groups if g.approaches.law or g.approaches.isoflop or g.approaches.envelope][:MOST_GROUPS]
    if not groups:
        return None
    figure = sheet(2, len(groups))
    for row, g in zip(figure.axes[::2], groups, strict=True):
        compute.plot_optimal_params(g.approaches.envelope, g.approaches.isoflop, g.approaches.law, g.answers.claims, row)
        _title(row, g)
    for row, g in zip(figure.axes[1::2], groups, strict=True):
        compute.plot_optimal_samples(g.approaches.envelope, g.approaches.isoflop, g.approaches.law, g.answers.claims, row)
    return Plate("optimum", "The best model and the best amount of data",
                 "The compute-optimal N* and D* by each approach: the steeper the line, the larger the share of new "
                 "compute that should go into it" + ("; dashed lines are published exponents through the same middle." if any(
                     g.answers.claims for g in groups) else "."), figure)


def _exponents(study: Study) -> Plate | None:
    groups = [g for g in study.groups if g.approaches.law or g.approaches.isoflop or g.approaches.envelope]
    if not groups:
        return None

    def draw(g: GroupFit, ax: Axes) -> None:
        comparison.plot_exponents(_exponents_of(g), g.answers.claims, ax)

    return Plate("exponents", "The exponent a beside the published ones",
                 "Filled marks are this table's estimates of a with 95% intervals (shaded: approach 3's), hollow ones are published, with the "
                 "verdict of the likelihood-ratio test (Holm's correction, each claim's own error allowed for), which is not whether intervals "
                 "overlap; approaches 1 and 2 have their bias on this grid taken off where it is known.", _panels(groups, draw, height=2.2, share_x=True))


def _exponents_of(g: GroupFit) -> list[tuple[int, str, Estimate | None]]:
    """(approach, name, a), the quoted law's last."""
    of, rows = g.approaches, []
    for i, name, fit in ((1, "approach 1", of.envelope), (2, "approach 2", of.isoflop)):
        rows.append((i, name, of.calibrations[name].corrected if name in of.calibrations else fit and fit.a))
    if of.additive is not None and (of.quoted is not of.additive or of.law.other is not None):
        rows.append((4, "approach 3, additive law", of.additive.a))
    return [*rows, (3, "approach 3", of.law and of.law.a)]


def _isoflops(study: Study) -> Plate | None:
    groups = [g for g in study.groups if g.approaches.isoflop is not None]
    if not groups:
        return None
    counts = _of(groups, lambda g: f"{len(g.approaches.isoflop.minima)} budgets over {g.approaches.isoflop.decades:.1f} decades")
    norm = log_norm([m.C for g in groups[:MOST_GROUPS] for m in g.approaches.isoflop.minima])
    figure = _panels(groups, lambda g, ax: compute.plot_isoflops(g.approaches.isoflop, ax, norm=norm))
    return Plate("isoflop", "IsoFLOP curves",
                 "Along equal compute (the number at each curve), loss against size: the star is the best size for that budget, "
                 f"and the dashed path through all stars is approach 2 ({counts}).", figure)


def _errors(study: Study) -> Plate | None:
    groups = [g for g in study.groups if g.answers.accuracy is not None]
    if not groups:
        return None
    fitted = [g for g in groups if g.answers.accuracy.of_compute is not None]
    law = _of(fitted, lambda g: f"gamma {shown(g.answers.accuracy.of_compute.gamma)}")
    norm = _sizes(groups)
    figure = _panels(groups, lambda g, ax: compute.plot_error_against_compute(g.seen, g.answers.accuracy.of_compute, ax, norm=norm))
    colour_bar(figure, norm, "parameters $N$")
    return Plate("error", "Error rate against compute",
                 f"The error rate falls with compute as the loss does, by a law of its own ({law or 'none fitted'}).", figure)


def _error_of_loss(study: Study) -> Plate | None:
    groups = [g for g in study.groups if g.answers.accuracy is not None and g.answers.accuracy.of_loss is not None]
    if not groups:
        return None
    scatter = _of(groups, lambda g: f"scatter {g.answers.accuracy.of_loss.scatter:.1%} against "
                  f"{g.answers.accuracy.of_loss.power_scatter:.1%}")
    return Plate("error_of_loss", "Error rate against loss",
                 f"Loss predicts the error rate: exponential law and power law ({scatter}).",
                 _panels(groups, lambda g, ax: compute.plot_error_against_loss(g.seen, g.answers.accuracy.of_loss, ax)))


def _differences(study: Study) -> Plate | None:
    groups = [g for g in study.groups if g.approaches.law is not None][:6]
    if len(groups) < 2:
        return None
    first = [d for d in study.differences if (d.first, d.second) == (study.differences[0].first,
                                                                     study.differences[0].second)]
    figure = sheet(2 if first else 1, height=2.4)
    comparison.plot_group_exponents([(g.group.label, {q: getattr(g.approaches.law, q) for q in
                                                      ("alpha", "beta", "a", "b", "gamma")}) for g in groups],
                                    figure.axes[0])
    if not first:
        return Plate("differences", "Exponents of each group", "Each exponent by group, with intervals.", figure)
    comparison.plot_differences(first, figure.axes[1])
    clear = [d.quantity for d in first if 0 not in d.estimate and d.quantity != "E"]
    return Plate("differences", f"{first[0].first} against {first[0].second}",
                 "Left, each exponent by group; right, the differences, whose intervals (Student's t, bootstrap standard errors) "
                 + (f"exclude zero for {', '.join(clear)}." if clear else "all hold zero: no effect is shown."), figure)


def _learning_rate(study: Study) -> Plate | None:
    fit = study.learning_rate
    if fit is None:
        return None
    figure = sheet()
    comparison.plot_learning_rate(fit, figure.axes[0])
    tuned = "learning rate" if fit.choice == "lr" else fit.choice
    rule = "" if fit.rule is None else f", where the rule 1/sqrt(fan_in) would have it go as {fit.against}^{fit.rule:g} (dashed)"
    return Plate("learning_rate", f"{tuned[:1].upper()}{tuned[1:]} against {fit.against}",
                 f"The tuned {tuned} goes as {fit.against}^{shown(fit.exponent)}{rule}.", figure)


def _with_law(study: Study) -> list[GroupFit]:
    return [g for g in study.groups if g.approaches.law is not None]


def _surface(study: Study) -> Plate | None:
    groups = _with_law(study)
    if not groups:
        return None
    return Plate("surface", "The fitted surface",
                 "Contours of the fitted loss over size and data with the runs as dots: the red path is the "
                 "best use of compute, and where it leaves the dots the law extrapolates.",
                 _panels(groups, lambda g, ax: diagnosis.plot_surface(g.approaches.quoted, ax)))


def _residuals(study: Study) -> Plate | None:
    groups = _with_law(study)
    if not groups:
        return None
    return Plate("residuals", "What the surface misses",
                 "Residuals of log loss against compute: a trend or a fan here is a "
                 "misfit that no interval shows.",
                 _panels(groups, lambda g, ax: diagnosis.plot_residuals(g.approaches.quoted, ax), height=2.2))


def _profiles(study: Study) -> Plate | None:
    groups = [g for g in study.groups if g.answers.profiles][:MOST_GROUPS]
    if not groups:
        return None
    columns = max(len(g.answers.profiles) for g in groups)
    figure = sheet(columns, len(groups), width=1.35, height=1.5)
    axes = np.reshape(figure.axes, (len(groups), columns))
    for row, g in zip(axes, groups, strict=True):
        for ax, profile in zip(row, g.answers.profiles, strict=False):
            diagnosis.plot_profile(profile, ax)
        for ax in row[len(g.answers.profiles):]:
            ax.set_axis_off()
        row[0].set_ylabel("rise of objective")
        _title(row[0], g)
    return Plate("profiles", "Profile likelihoods",
                 "How much worse the fit becomes as one parameter is held: the interval is where the curve stays under "
                 "the dashed line, and a curve that never rises marks a parameter the table does not determine.", figure)


def _clouds(study: Study) -> Plate | None:
    groups = _with_law(study)[:MOST_GROUPS]
    if not groups:
        return None
    figure = sheet(2, len(groups), height=2.4)
    for ax, g in zip(figure.axes[::2], groups, strict=True):
        diagnosis.plot_exponent_cloud(g.approaches.quoted, ax)
        _title(ax, g)
    for ax, g in zip(figure.axes[1::2], groups, strict=True):
        diagnosis.plot_floor_cloud(g.approaches.quoted, ax)
    return Plate("clouds", "Bootstrap clouds",
                 "Each dot is the fit to one resampled table: a cloud across the dashed line cannot tell a from 0.5, "
                 "and a slanted cloud at right shows how far a hangs on the irreducible loss.", figure)


# In the order of the story. Names of files too: a run clears away those that an earlier one drew and it did not.
FIGURES: dict[str, Callable[[Study], Plate | None]] = {
    "loss": _loss, "optimum": _optima, "exponents": _exponents, "isoflop": _isoflops, "error": _errors,
    "error_of_loss": _error_of_loss, "differences": _differences, "learning_rate": _learning_rate, "surface": _surface,
    "residuals": _residuals, "profiles": _profiles, "clouds": _clouds}
