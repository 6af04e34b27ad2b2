"""The other side of the peers measure: one script for each engine, run by the interpreter of the environment that has it."""
