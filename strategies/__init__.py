"""Strategies: they hear bars and say what they want to hold; they know core alone and never see a broker."""
