"""The catalogue: one file for each result, found by itself."""
