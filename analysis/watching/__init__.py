"""A sweep watched while it runs: its table and journal read, the grid drawn."""
