"""What a run will be and cost, known before it starts; and how fast a device works it off."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Of one run, or of several together."""

    flops: float               # C of training, forward and backward
    steps: int = 0             # of the optimiser
    evaluations: int = 0       # passes over the validation set
    eval_flops: float = 0.0    # of all of them

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.steps + other.steps,
                    self.evaluations + other.evaluations, self.eval_flops + other.eval_flops)


@dataclass(frozen=True)
class Speed:
    """Of one trial's share of a device: seconds = run_s + steps step_s + C / flops_per_s + evaluations."""

    step_s: float           # of a step, whatever its size: small operations and their Python
    flops_per_s: float      # training, beyond that
    eval_flops_per_s: float
    eval_s: float           # of a validation pass, whatever the size
    run_s: float = 0.05     # of a trial, whatever it does

    def seconds(self, cost: Cost) -> float:
        return (self.run_s + cost.steps * self.step_s + cost.flops / self.flops_per_s
                + cost.evaluations * self.eval_s + cost.eval_flops / self.eval_flops_per_s)
