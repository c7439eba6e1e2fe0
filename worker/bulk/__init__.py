"""The acts of people on all jobs that a filter admits."""

from worker.bulk.acting import Bulk
from worker.bulk.wishes import SWEEPS, Act, Counts, Order, Wanted, merge

__all__ = ["SWEEPS", "Act", "Bulk", "Counts", "Order", "Wanted", "merge"]
