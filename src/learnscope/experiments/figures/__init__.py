"""Figures of experiments whose files would be too long with them, or that share them."""
