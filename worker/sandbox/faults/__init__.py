"""Faults on request: the table of faults, the options that ask for them, the queue of an admin."""
