"""The critical batch size: what a larger batch saves in steps and costs in examples."""
