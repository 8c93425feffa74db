"""How fast a cell, a sweep and its start are, each beside its limit and what a user would otherwise do."""
