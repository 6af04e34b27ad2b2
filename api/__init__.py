"""The web process: HTTP API and live updates over what the daemon and the brokers say. It decides nothing about trading."""
