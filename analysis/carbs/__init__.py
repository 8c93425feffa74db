"""What a CARBS search found, beside a grid of equal cost."""
