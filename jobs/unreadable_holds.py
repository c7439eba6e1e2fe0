"""Stand-ins for holds whose record cannot be read: they stop their scope until they are released.

What stopped the scope is not known, and it may cost money to find out by a submit.
"""

from typing import Final

import msgspec

from jobs.holds import Hold
from jobs.newer import newer_hold

ACTION_UNREADABLE: Final = (
    "Find out why the scope was stopped (audit trail, log, parked jobs), then release the hold:"
    " that replaces or deletes the record"
)


def unreadable_record_hold(key: str, why: str) -> Hold:
    """A closed hold in place of the one under a key, `scope|code`, that cannot be read."""
    message = f"the record in the field {key} of the hash of holds cannot be read ({why})"
    return msgspec.structs.replace(newer_hold(key, message), action=ACTION_UNREADABLE)


def is_unreadable_hold(hold: Hold | None) -> bool:
    """Whether a hold stands for a record that cannot be read."""
    return hold is not None and hold.action == ACTION_UNREADABLE


def readable_hold(hold: Hold, now: float) -> Hold:
    """The hold to write where `hold` stands for a record that cannot be read; else `hold`."""
    if not is_unreadable_hold(hold):
        return hold
    return msgspec.structs.replace(hold, created_at=now, message="", action="")
