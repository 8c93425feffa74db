"""Loss as a power of one variable: model size, data or compute, each where nothing else limits it."""
