"""What a neural network learns, and when it learns it."""
