"""Faults on request: what there is, what is ordered, and what waits to happen."""
