"""A plan in words, and as the CSV that sweeps/grid.py --cells runs."""

import csv
import io
import math
from collections.abc import Sequence

import numpy as np

from analysis.design.next_runs import NewCell, Plan
from analysis.estimates.words import shown

MOST_LINES = 12   # of cells on a terminal: the CSV has all


def plan_csv(plan: Plan) -> str:
    """A row a run: axes, choices, seed; a comment above says which are axes."""
    names = list(dict.fromkeys(name for cell in plan.cells for name in cell.settings))
    text = io.StringIO()
    if plan.axes:
        text.write(f"# axes: {', '.join(plan.axes)}\n")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*names, *([plan.seed] if plan.seed else [])])
    for cell in plan.cells:
        for seed in cell.seeds:
            rows.writerow([*(_plain(cell.settings[name]) for name in names), *([seed] if plan.seed else [])])
    return text.getvalue()


def _plain(value: object) -> object:
    """A whole number without its point: a column of whole numbers takes no 3.0."""
    return int(value) if isinstance(value, float) and value == int(value) and abs(value) < 2**53 else value


def plan_text(plan: Plan, *, command: str) -> str:
    """What is wanted, what is chosen, and what to expect of it; then the command that runs it."""
    t = plan.target
    lines = [f"{t} is {shown(plan.now) if t.C is None else plan.now} now, {_wide(plan, t.width(plan.now))} ({plan.speaks} law)",
             f"{plan.runs} runs in {len(plan.cells)} cells, {plan.spent:.3g} of {plan.budget:.3g} FLOPs:", ""]
    lines += ["  " + line for line in _aligned(_rows(plan.cells, plan.axes))]
    lines += ["", f"with them it is expected to be {_wide(plan, plan.width)}{_spread(plan)}"]
    if math.isfinite(plan.repeated):
        lines.append(f"the table's own cells once more, as many as these FLOPs pay for, would leave {_wide(plan, plan.repeated)}")
    return "\n".join([*lines, "", f"next: {command}"])


def _wide(plan: Plan, width: float) -> str:
    return f"{plan.target.shown(width)} {plan.target.scale}"


def _spread(plan: Plan) -> str:
    count = len(plan.widths)
    if not count:
        return " by the information alone"
    low, high = map(plan.target.shown, eight_in_ten(plan.widths))
    return f" (median of {count} simulated outcomes, {'eight in ten' if count >= 9 else 'all'} from {low} to {high})"


def eight_in_ten(widths: np.ndarray) -> tuple[float, float]:
    """Ends between which a further outcome lies with probability .8, of 9 or more; of fewer the lowest and the highest.

    Of n outcomes a further one is as likely to lie in each of the n + 1 gaps, so quantiles are those of rank p (n + 1).
    """
    low, high = np.quantile(widths, [0.1, 0.9], method="weibull")
    return float(low), float(high)


def _rows(cells: Sequence[NewCell], axes: Sequence[str]) -> list[tuple[str, ...]]:
    """The dearest of many, and what the others are."""
    varied = [name for name in axes if len({cell.settings[name] for cell in cells}) > 1] or list(axes)
    shown_cells = cells if len(cells) <= MOST_LINES else cells[-(MOST_LINES - 1):]
    rows = [(*varied, "runs", "there", "N", "D", "FLOPs each")]
    if len(shown_cells) < len(cells):
        rest = cells[:len(cells) - len(shown_cells)]
        rows.append((*(f"{min(c.settings[n] for c in rest):.4g} to {max(c.settings[n] for c in rest):.4g}" if _number(rest, n) else "..."
                       for n in varied), str(sum(len(c.seeds) for c in rest)), "", *(_range([getattr(c, k) for c in rest]) for k in "NDC")))
    return rows + [(*(f"{c.settings[n]:.4g}" if _number([c], n) else str(c.settings[n]) for n in varied), str(len(c.seeds)),
                    str(c.there or "new"), f"{c.N:.3g}", f"{c.D:.3g}", f"{c.C:.3g}") for c in shown_cells]


def _number(cells: Sequence[NewCell], name: str) -> bool:
    return all(isinstance(c.settings[name], (int, float)) for c in cells)


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows]
