"""Learning rates tuned inside the sweep, by Optuna studies that bracket."""
