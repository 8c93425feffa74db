"""How long a job will take: three numbers a device, first guessed, then learnt from finished rows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sweeps.jobs.job import Cost
from trainers.mnist.results import Result


@dataclass(frozen=True)
class Speed:
    """Of one trial's share of a device."""

    step_s: float           # of a step, whatever its size: about 60 small operations and their Python
    flops_per_s: float      # training, beyond that
    eval_flops_per_s: float
    eval_s: float           # of a validation pass, whatever the width
    job_s: float            # Tune's own time for a trial

    def seconds(self, cost: Cost) -> float:
        return (self.job_s + cost.steps * self.step_s + cost.flops / self.flops_per_s
                + cost.evaluations * self.eval_s + cost.eval_flops / self.eval_flops_per_s)


# Fitted to the published standard study, 2-core server, both busy with a trial of one thread; for a GPU a guess until rows say more.
CPU = Speed(step_s=1.2e-3, flops_per_s=4.5e10, eval_flops_per_s=5e10, eval_s=0.1, job_s=0.05)
GPU = Speed(step_s=0.6e-3, flops_per_s=4e12, eval_flops_per_s=4e12, eval_s=0.05, job_s=0.05)


def learnt(guess: Speed, rows: Iterable[Result]) -> Speed:
    """The guess with step_s and flops_per_s fitted to finished rows of one device.

    Least squares on log seconds over a few steps would need a solver; relative residuals weighted
    least squares does as well. Fewer than eight rows change nothing.
    """
    rows = list(rows)
    if len(rows) < 8:
        return guess
    seconds = np.array([row.train_seconds for row in rows])
    design = np.array([[row.steps, row.flops] for row in rows], dtype=float)
    scaled = design / seconds[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    step, inverse = np.linalg.lstsq(scaled / norms, np.ones(len(rows)), rcond=None)[0] / norms
    if step <= 0 or inverse <= 0:
        return guess
    return Speed(step_s=float(step), flops_per_s=float(1 / inverse), eval_flops_per_s=guess.eval_flops_per_s,
                 eval_s=guess.eval_s, job_s=guess.job_s)
