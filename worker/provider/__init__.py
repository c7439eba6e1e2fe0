"""Providers of runs: the port the engine uses, an HTTP transport, and the client of Knouds."""
