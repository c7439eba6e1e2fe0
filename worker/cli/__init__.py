"""The command line: services to start, and a client of the HTTP API for everything else."""
