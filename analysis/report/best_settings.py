"""The table of the best settings: how they go with N, D and C."""

from collections.abc import Iterator

from analysis.choices.laws import ChoiceLaws
from analysis.estimates.words import big, shown
from analysis.fitted import Study
from analysis.questions.law_choice import LawChoice
from analysis.report.lines import Lines

NOTE = (
    "The choice that makes the loss lowest, as a product of powers of N and D, fitted with the curvature of log loss about it to all runs "
    "at once; along the frontier it goes as a power of C.")


def best_settings(study: Study) -> Lines:
    """Laws of the best settings, and what they are at the budgets that were asked for."""
    def rows(name: str, found: ChoiceLaws | None, law: LawChoice | None) -> Iterator[tuple[str, ...]]:
        for one in found.laws if found else ():
            at = [f"{C:.3g} FLOPs: {big(found.at(one.name, law.optimum(C), law.cost))}" for C in study.request.budgets] if law else []
            yield (name, one.name, *(shown(e) for e in (one.of_N, one.of_D, one.of_C)), big(one.middle),
                   f"{found.N:.3g}, {found.D:.3g}", "; ".join(at) or "-")

    made = [row for g in study.groups for row in rows(g.group.label or "all runs", g.choices, g.approaches.law)]
    made += rows("tuning", study.trial_choices, None)
    header = ("of", "choice", "N^", "D^", "C^", "best", "at N, D", "at the best N, D of")
    return Lines("Best settings", header, tuple(made), NOTE)
