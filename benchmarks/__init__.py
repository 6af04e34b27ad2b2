"""What the house costs, side by side with the obvious alternative: `python -m benchmarks` (or `make bench`)."""
