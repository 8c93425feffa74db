"""What a reader asks of a fit: claims, differences, other laws, accuracy, the learning rate."""
