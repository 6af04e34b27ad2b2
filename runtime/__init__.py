"""The process: wiring, the daemon, its control socket, read-outs and housekeeping."""
