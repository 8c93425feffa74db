"""CARBS beside its rivals, on problems whose front is known."""
