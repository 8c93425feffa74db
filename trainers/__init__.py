"""One training run: data, network, schedule, and the row that it yields. Imports nothing else of ours."""
