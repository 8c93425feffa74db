"""Who is beaten by nobody."""

import numpy as np

Array = np.ndarray


def monotone(cost: Array, loss: Array) -> Array:
    """Indices of the points no other beats at equal or lower cost, by rising cost."""
    order = np.lexsort((loss, cost))
    running = np.minimum.accumulate(loss[order])
    first = np.concatenate([[True], running[1:] < running[:-1]])
    return order[first]
