"""The catalogue: one file for each result, found by itself; what several of them share is in folders."""
