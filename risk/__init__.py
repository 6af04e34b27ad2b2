"""Risk: limits in the order path, after the strategy and before the wire. It knows core alone."""
