"""What a plan promises is what its runs keep, and more than a grid of equal cost would: counted on simulated worlds (-m slow)."""

from pathlib import Path

import numpy as np
import pytest
from worlds.simulated_grids import Grid, grid

from analysis.design.exchange import Setting
from analysis.design.information import Noise
from analysis.design.next_runs import Asked, candidates, joined, laws_of, learning, plan_next, same_grid
from analysis.design.places import places_of
from analysis.design.target import parsed_target
from analysis.fitted import Request
from analysis.table.runs import group_of, read_table

TABLES, OUTCOMES = 12, 3   # of one table kept and promised differ by 22%: of 4 their median is anywhere from .8 to 1.25
WORLDS = {
    "additive, two seeds": dict(widths=7, fractions=6, seeds=2, noise=0.03),
    "g = 3, like the study, cells apart": dict(widths=8, fractions=6, seeds=2, noise=0.06, cell_noise=0.03, g=3.0, alpha=0.9, beta=0.7),
    "one seed, 2%": dict(widths=7, fractions=6, seeds=1, noise=0.02, p=1.0, alpha=0.4, beta=0.35),
}


def written(world: Grid, folder: Path) -> str:
    file = folder / "t.csv"
    file.write_text("\n".join(["params,samples,flops,loss,seed", *(f"{n},{d},{c},{loss!r},{s}" for n, d, c, loss, s in zip(
        world.N, world.D, world.C, map(float, world.L), world.seed, strict=True))]))
    return str(file)


def lived(known: dict, N, D, *, rng: int, outcome: int = 0) -> np.ndarray:
    """What the world of table `rng` itself yields at N, D: cells that the table has are the same cells."""
    world, random = grid(**known | {"noise": 0.0}, rng=rng), np.random.default_rng([77, rng, outcome])
    own = dict(zip(zip(world.N, world.D, strict=True), np.log(world.L / world.surface.loss(world.N, world.D)), strict=True))
    new = dict.fromkeys(zip(N, D, strict=True))
    departure = {place: own.get(place, known.get("cell_noise", 0.0) * random.standard_normal()) for place in new}
    each = known.get("noise", 0.0) * random.standard_normal(len(N))
    return world.surface.loss(N, D) * np.exp(each + [departure[place] for place in zip(N, D, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("target", ["a", "N*@", "L@"])
def test_the_promised_width_is_kept_and_a_grid_of_equal_cost_is_beaten(name, target, tmp_path):
    """Kept to promised within 20%, by the mean of its log over tables; the plan's interval is narrower than those that the same
    FLOPs leave when spent on the table's own cells once more, or on a finer grid."""
    kept, beats, known = [], {"again": [], "finer": []}, WORLDS[name]
    for k in range(TABLES):
        world = grid(**known, rng=k)
        table = read_table([written(world, tmp_path)])
        group, wanted = group_of(table, None), parsed_target(target if target == "a" else f"{target}{10 * world.C.max()}")
        places, budget = places_of(table, group, {}), 0.3 * world.C.sum()
        request = Request(resamples=150, rng=k)
        plan = plan_next(table, group, places, Asked(wanted, budget, 30, OUTCOMES, request))
        N, D, C = (np.repeat([getattr(cell, letter) for cell in plan.cells], [len(cell.seeds) for cell in plan.cells]) for letter in "NDC")

        def width(N, D, C):
            runs = joined(group.runs, N, D, C, lived(known, N, D, rng=k))
            return wanted.width(wanted.estimate(laws_of(runs, table, request).law))

        got = width(N, D, C)
        kept.append(got / plan.width)
        for rival, chosen in rivals(places, table, group, budget, request).items():
            beats[rival].append(got / width(*chosen))
    logs = np.log(kept)
    print(f"\n{name}, {target}: kept/promised {np.exp(logs.mean()):.2f} (log +- {logs.std(ddof=1) / TABLES**0.5:.2f}), median "
          f"{np.median(kept):.2f}, within 20% in {np.mean(np.abs(logs) < np.log(1.2)):.0%} of {TABLES}; width of a grid's "
          + ", ".join(f"{rival} {np.median(ratio):.2f}" for rival, ratio in beats.items()))
    assert 0.8 < np.exp(logs.mean()) < 1.2
    assert np.median(beats["again"]) < 1 and np.median(beats["finer"]) < 1


def rivals(places, table, group, budget, request):
    """N, D, C of the table's own cells once more, and of the values between them, the cheapest first, as many as are paid for."""
    offered = learning(candidates(places), laws_of(group.runs, table, request).law)
    setting = Setting(offered.C, offered.there, offered.outside, Noise(1.0, 1.0, False), budget, 1000, 1)
    again = np.flatnonzero(same_grid(offered, setting))
    between = np.flatnonzero((offered.there == 0) & (offered.outside == 0))
    between = between[np.argsort(offered.C[between])]
    finer = between[np.cumsum(offered.C[between]) <= budget]
    return {name: tuple(getattr(offered, letter)[index] for letter in "NDC") for name, index in (("again", again), ("finer", finer))}
