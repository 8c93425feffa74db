"""The files that tables of runs come in, each read bounded in memory and time."""
