"""What learns: networks in the forms of the literature."""
