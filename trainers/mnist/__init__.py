"""The CNN on MNIST: its rows, data, network and training."""
