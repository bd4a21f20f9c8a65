"""What several experiments train, measure and claim."""
