"""What a search believes: models of loss, cost and failure, fitted to what it was told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sweeps.carbs import surrogate
from sweeps.carbs.observation import Observation
from sweeps.carbs.plateau import plateau_of
from sweeps.carbs.space import Space

Array = np.ndarray


@dataclass(frozen=True)
class Learnt:
    """Where the next fit starts: the hyperparameters of the last one."""

    theta: dict[str, list[float]] = field(default_factory=dict)  # by model: loss, cost, failure
    warp: int = len(surrogate.WARPS) // 2                        # index of the losses' warp
    fitted: int = 0                                              # observations that these have seen


@dataclass(frozen=True)
class Beliefs:
    """The models, and the data they were fitted to, of one moment."""

    X: Array                # (n, d) finished runs, in basic coordinates
    log_cost: Array         # (n,)
    observed: Array         # (n,) losses
    loss: surrogate.LossModel
    cost: surrogate.CostModel
    failure: surrogate.FailureModel | None
    fitted: int             # observations that the hyperparameters have seen

    @cached_property
    def intervals(self) -> surrogate.Interval:
        """Of the loss of each finished run, free of observation noise."""
        found, plateau = self.loss.interval(self.X), plateau_of(self.observed)
        if plateau is None:
            return found
        # Nothing is worse than the plateau, and what lies on it is known for itself.
        return surrogate.Interval(*(np.where(plateau.on, flat, np.minimum(part, plateau.high)) for part, flat in (
            (found.loss, plateau.level), (found.low, plateau.low), (found.high, plateau.high))))

    @property
    def learnt(self) -> Learnt:
        models = {"loss": self.loss, "cost": self.cost, "failure": self.failure}
        theta = {name: model.process.theta.tolist() for name, model in models.items() if model is not None}
        return Learnt(theta, self.loss.index, self.fitted)


def believe(space: Space, observations: Sequence[Observation], learnt: Learnt) -> Beliefs:
    """Models given all observations, trained from where the last ones came to. Raises ValueError under 2 finished runs."""
    finished = [o for o in observations if o.finished]
    if len(finished) < 2:
        raise ValueError(f"need at least 2 finished runs for a model, got {len(finished)}")
    iterations = _iterations(len(observations), learnt.fitted)
    X = np.array([space.encode(o.config) for o in finished])
    loss = np.array([o.loss for o in finished])
    log_cost = np.log([o.cost for o in finished])
    keep = informative(log_cost, loss)
    theta = {name: np.array(values) for name, values in learnt.theta.items()}
    losses = _fit_loss(X[keep], loss[keep], log_cost[keep], theta.get("loss"), learnt.warp, iterations)
    some = keep[surrogate.spread(len(keep), surrogate.TRAIN)]
    costs = surrogate.fit_cost(X[some], log_cost[some], start=theta.get("cost"), iterations=iterations)
    losses = _with_stopped(space, observations, losses)
    failures = _fit_failure(space, observations, theta.get("failure"), iterations)
    return Beliefs(X, log_cost, loss, losses, costs, failures, len(observations) if iterations else learnt.fitted)


def _fit_loss(X: Array, loss: Array, log_cost: Array, start: Array | None, index: int, iterations: int) -> surrogate.LossModel:
    """Of the runs off a plateau; those on it are known to be no better than it."""
    plateau = plateau_of(loss)
    off = np.ones(len(loss), bool) if plateau is None else ~plateau.on
    losses = surrogate.fit_loss(X[off], loss[off], log_cost[off], start=start, index=index, iterations=iterations)
    if plateau is None:
        return losses
    return losses.censored(X[~off], np.full((~off).sum(), plateau.level), np.full((~off).sum(), np.inf))


def _with_stopped(space: Space, observations: Sequence[Observation], losses: surrogate.LossModel) -> surrogate.LossModel:
    """The loss model given runs that were stopped, too, within what is known of their ends."""
    stopped = [o for o in observations if o.stopped][-surrogate.TRAIN:]
    if not stopped:
        return losses
    least = np.array([-np.inf if o.least is None else o.least for o in stopped])
    return losses.censored(np.array([space.encode(o.config) for o in stopped]), least, np.array([o.loss for o in stopped]))


def _iterations(n: int, fitted: int) -> int:
    """How long to train: well at first, briefly when warm, not at all until 2% are new."""
    if n <= fitted * 1.02:
        return 0
    return 60 if n < 30 else 20


def _fit_failure(space: Space, observations: Sequence[Observation], start: Array | None,
                 iterations: int) -> surrogate.FailureModel | None:
    failed = np.array([o.failed for o in observations])
    if not failed.any():
        return None
    X = np.array([space.encode(o.config) for o in observations])
    # All failures first, then successes: walls are where the failures are.
    keep = np.argsort(~failed, kind="stable")[:surrogate.TRAIN] if len(X) > surrogate.TRAIN else slice(None)
    # The first failure may fall between two fits of the other models: this one is trained then.
    return surrogate.fit_failure(X[keep], failed[keep], start=start, iterations=60 if start is None else iterations)


def informative(log_cost: Array, loss: Array) -> Array:
    """At most KEEP runs for the models: half those nearest the front, half spread through the rest."""
    n, keep = len(loss), surrogate.KEEP
    if n <= keep:
        return np.arange(n)
    order = np.lexsort((loss, log_cost))
    excess = np.empty(n)
    excess[order] = loss[order] - np.minimum.accumulate(loss[order])
    near = np.argsort(excess, kind="stable")
    rest = np.sort(near[keep // 2:])
    return np.sort(np.concatenate([near[:keep // 2], rest[np.linspace(0, len(rest) - 1, keep - keep // 2).astype(int)]]))
