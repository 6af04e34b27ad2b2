"""Brokers and their exchange, simulated on the wire and written from the brokers' documents; nothing here imports the engine."""
