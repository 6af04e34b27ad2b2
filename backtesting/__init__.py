"""Judging strategies on recorded data: the same engine, a clock moved by hand, and a ledger in memory."""
