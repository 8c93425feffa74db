"""What a kept fit says of given FLOPs, or of a given size and data: as estimates, as text, as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from analysis.approaches.kept import KeptGroup
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt
from analysis.estimates.words import shown


@dataclass(frozen=True)
class Best:
    """The best use of C FLOPs, by one approach."""

    group: str
    by: str                # approach 3 or approach 2
    C: float
    N: Estimate
    D: Estimate
    L: Estimate | None     # approach 2 says nothing of the loss
    inside: bool           # C lies within the table's compute
    warnings: tuple[Doubt, ...]


@dataclass(frozen=True)
class Loss:
    """The law's loss of N parameters on D examples."""

    group: str
    N: float
    D: float
    L: Estimate
    inside: bool           # N and D lie within the sampled


@dataclass(frozen=True)
class Foretold:
    """All that was asked."""

    best: tuple[Best, ...]
    losses: tuple[Loss, ...]


def foretold(groups: Sequence[KeptGroup], budgets: Sequence[float], runs: Sequence[tuple[float, float]]) -> Foretold:
    """For each group and budget by approach 3 and approach 2, for each group and (N, D) by approach 3."""
    return Foretold(tuple(found for g in groups for C in budgets for found in _best(g, C)),
                    tuple(_loss(g, N, D) for g in groups if g.law for N, D in runs))


def _best(g: KeptGroup, C: float) -> list[Best]:
    found = []
    if g.law:
        o = g.optimum(C)
        found.append(Best(g.label, "approach 3", C, o.N, o.D, o.L, o.inside, o.warnings))
    if g.path:
        found.append(Best(g.label, "approach 2", C, g.path.params(C), g.path.samples(C), None, g.path.inside(C), ()))
    return found


def _loss(g: KeptGroup, N: float, D: float) -> Loss:
    law = g.law
    return Loss(g.label, N, D, g.loss(N, D), bool(law.N[0] <= N <= law.N[1] and law.D[0] <= D <= law.D[1]))


def foretold_text(made: Foretold) -> str:
    """Aligned lines, then what is doubtful."""
    several = len({one.group for one in (*made.best, *made.losses)}) > 1
    blocks = [_aligned([("group", "FLOPs", "by", "model size N*", "data D*", "D*/N*", "loss L*", ""), *(
        (b.group, f"{b.C:.3g}", b.by, str(b.N), str(b.D), f"{b.D.value / b.N.value:.3g}", shown(b.L), _where(b.inside))
        for b in made.best)], several)] if made.best else []
    blocks += [_aligned([("group", "N", "D", "loss", ""), *(
        (x.group, f"{x.N:.3g}", f"{x.D:.3g}", shown(x.L), _where(x.inside)) for x in made.losses)], several)] if made.losses else []
    notes = [f"note: {d.text}" for d in dict.fromkeys(d for b in made.best for d in b.warnings)]
    level = next(e.level for e in (*(b.N for b in made.best), *(x.L for x in made.losses)))
    return "\n\n".join([*blocks, "\n".join([*notes, f"{level:.0%} intervals; those of a loss are of the law, not of one run's noise"])])


def _where(inside: bool) -> str:
    return "inside the table" if inside else "extrapolated"


def _aligned(rows: list[tuple[str, ...]], several: bool) -> str:
    rows = rows if several else [row[1:] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def foretold_json(made: Foretold) -> dict:
    return {"optima": [asdict(b) for b in made.best], "losses": [asdict(x) for x in made.losses]}
