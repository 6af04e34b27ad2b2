"""The shared words of the house: everything imports this package, it imports nothing of ours."""
