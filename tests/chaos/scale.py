"""How much chaos: `CHAOS=full` for the long form (`make chaos`), `CHAOS_SEED` to repeat one run.

The short form plays the same schedule every time; the full one draws a new seed, and says it.
"""

import os
import secrets
from typing import Final, TypeVar

T = TypeVar("T")

FULL: Final = os.environ.get("CHAOS", "short") == "full"
FORM: Final = "full" if FULL else "short"
SEED: Final = int(os.environ.get("CHAOS_SEED") or (secrets.randbelow(10**6) if FULL else 1))

TIME_LIMIT_S: Final = 900 if FULL else 90
SETTLED_WITHIN_S: Final = 60.0 if FULL else 30.0
"""Every job is settled or parked within this time after the last disturbance: two leases + load."""


def scaled(*, short: T, full: T) -> T:
    """The value for the form (short or full) that runs."""
    return full if FULL else short
