"""Concurrency caps that operators set while the program runs. Pure."""

from typing import Final

import msgspec

LANE_CAP_SCHEMA: Final = 1
"""The schema of a stored `LaneCap`. A change of its fields is a new one."""

EVERY_LANE: Final = "*"
"""The scope of a cap that each lane has for which none is set."""

MAX_CAP: Final = 1_000_000
"""So many that it limits nothing: it lifts a cap of the settings."""


class LaneCap(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag=LANE_CAP_SCHEMA,
    forbid_unknown_fields=True,
):
    """How many jobs of a lane may be active at once, as an operator says (`jobs.states.ACTIVE`).

    It counts in place of what the settings say for the same scope.
    """

    scope: str
    """An account, a route, a target, or `*`: each lane in it has this cap of its own."""
    cap: int
    set_at: float
    """Unix seconds."""
    set_by: str
    note: str = ""
