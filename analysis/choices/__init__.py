"""Laws of the best learning rate, batch size and other choices against N, D and C, from runs in which they vary."""
