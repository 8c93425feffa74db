"""Which cells to train next, so that the interval that is wanted shrinks most for the FLOPs."""
