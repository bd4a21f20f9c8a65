"""What we look at: pure functions from tensors to estimates, one subject a file."""
