"""Slow definitions in float64, straight from the formulas, that every fast function is tested against."""
