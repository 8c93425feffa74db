"""One training pass that serves every data budget: losses read on the way, and decays branched off it."""

from dataclasses import asdict, dataclass, replace

from sweeps.jobs.job import Cost, Shape, training_cost
from sweeps.store.rows import Identity, identity
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.network import flops_per_image
from trainers.mnist.results import Result
from trainers.mnist.train import DeviceImages, Diverged, Run, steps_of
from trainers.schedule import decay_factors, rate_factors

SINGLE_RUN = "single-run"  # one cosine over the largest budget, read at every budget on its way
CONSTANT = "constant"      # a constant rate after the warm-up, read likewise
WSD = "wsd"                # that constant trunk, with a short decay of its own for every budget
DECAY_SHARE = 0.2          # of a budget's steps; Hägele et al. 2024 (section 4) find 10 to 20% enough


@dataclass(frozen=True)
class _Stop:
    """A step at which the trunk halts for a row."""

    step: int        # of the trunk
    decay: int       # steps of the branch that leaves it here; 0: the trunk itself is read
    fraction: float
    protocol: str


@dataclass(frozen=True)
class TrunkJob:
    """Train once over the cell's fraction: a row for each protocol and budget.

    The first protocol pays for the trunk, each of its rows for the steps since the row before;
    a wsd row beside it pays for its decay alone. So spent_flops add up to what was computed.
    """

    cell: Cell                      # its fraction is the trunk's length
    recipe: Recipe                  # of the trunk: schedule cosine or constant
    budgets: tuple[float, ...]      # fractions, at most the cell's
    protocols: tuple[str, ...]
    table: str = "results"

    def __post_init__(self):
        """Raises ValueError for a budget beyond the trunk, and where protocol and schedule don't fit."""
        if not self.budgets or max(self.budgets) > self.cell.fraction:
            raise ValueError(f"budgets of a trunk over {self.cell.fraction:g} of the data lie above 0 and at most there")
        shape = "cosine" if self.protocols == (SINGLE_RUN,) else "constant"
        if not self.protocols or set(self.protocols) - {SINGLE_RUN, CONSTANT, WSD} or self.recipe.schedule != shape:
            raise ValueError(f"protocols {', '.join(self.protocols)} and a {self.recipe.schedule} trunk do not fit: "
                             "a cosine serves single-run, a constant rate serves constant and wsd")

    def identities(self) -> tuple[Identity, ...]:
        return tuple(identity(replace(self.cell, fraction=fraction), self._recipe_of(protocol), protocol)
                     for fraction in sorted(self.budgets) for protocol in self.protocols)

    def cost(self, shape: Shape) -> Cost:
        """Raises ValueError where a budget holds fewer images than a batch."""
        stops = self._stops(shape.train)
        steps = stops[-1].step + sum(stop.decay for stop in stops)
        return training_cost(self.cell.width, steps, self.recipe.batch_size, shape, evaluations=len(stops))

    def run(self, images: DeviceImages) -> list[Result]:
        """Rows by the step at which they leave the trunk. Where a tuning run diverges, a row of infinite loss."""
        trunk = Run(self.cell, self.recipe, images)
        try:
            return self._rows(trunk, len(images.train_images))
        except Diverged:
            if self.table != "tuning":
                raise
            return [self._named(trunk.diverged_result(), self.budgets[0], self.protocols[0])]

    def describe(self) -> dict:
        return {**asdict(self.cell), **asdict(self.recipe), "protocol": " + ".join(self.protocols)}

    def _rows(self, trunk: Run, images: int) -> list[Result]:
        factors = rate_factors(steps_of(self.cell.fraction, self.recipe.batch_size, images),
                               shape=self.recipe.schedule, warmup=self.recipe.warmup)
        rows, paid = [], 0
        for stop in self._stops(images):
            trunk.advance(factors[trunk.step:stop.step])
            run, steps = trunk, stop.decay
            if stop.decay:
                run = trunk.branch()
                run.advance(decay_factors(stop.decay))
            if stop.protocol == self.protocols[0]:
                steps, paid = steps + stop.step - paid, stop.step
            spent = float(steps * self.recipe.batch_size * flops_per_image(self.cell.width, trunk.images.classes))
            rows.append(self._named(run.result(spent_flops=spent), stop.fraction, stop.protocol))
        return rows

    def _stops(self, images: int) -> list[_Stop]:
        """In the trunk's order. A branch for n steps in all leaves it early by its own decay."""
        stops = []
        for fraction in self.budgets:
            steps = steps_of(fraction, self.recipe.batch_size, images)
            for protocol in self.protocols:
                decay = min(max(1, round(DECAY_SHARE * steps)), steps - 1) if protocol == WSD else 0
                stops.append(_Stop(steps - decay, decay, fraction, protocol))
        return sorted(stops, key=lambda stop: (stop.step, stop.fraction, stop.protocol))

    def _recipe_of(self, protocol: str) -> Recipe:
        return replace(self.recipe, schedule=WSD) if protocol == WSD else self.recipe

    def _named(self, row: Result, fraction: float, protocol: str) -> Result:
        return replace(row, fraction=fraction, schedule=self._recipe_of(protocol).schedule, protocol=protocol)
