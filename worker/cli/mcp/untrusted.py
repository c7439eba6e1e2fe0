"""What of a document of the API is a fact of ours, and what others wrote.

An assistant reads both. Inputs, results, messages of the provider and notes may contain sentences
that read like instructions, so they stand apart, under `untrusted`. Only fields that are listed
here are facts: a field that the API gets later is untrusted until somebody lists it.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from worker.cli.text import Doc

UNTRUSTED: Final = "untrusted"

MAX_FACT_CHARS: Final = 400
"""A longer text, or one with line breaks, is no fact, whatever its field."""

Facts = Mapping[str, "Facts | None"]
"""Names of fields; of an object, or a list of objects, with the names of its fields."""


def _named(names: str, **inside: Facts) -> Facts:
    return {**dict.fromkeys(names.split()), **inside}


_HELD_BY: Final = _named("hold_id scope code action action_url")

JOB: Final = _named(
    "id tenant kind target account state priority mode attempt max_attempts cost estimate"
    " created_at scheduled_for start_by submitted_at eta eta_late finished_at updated_at finding"
    " payloads_hidden payload_problem durability est_cost waits_for_budget schedule",
    reason=_named("code http_status action action_url hold_id"),
    held_by=_HELD_BY,
)
WHY: Final = _named(
    "id state",
    blockers=_named("kind action hold_id breaker_id until"),
    evidence=_named("finding is_final checked_at next_check_at sent_at ended_at http_status"),
)
GROUP: Final = _named(
    "state code cause kind target account count oldest action action_url est_cost findings newer"
)
HOLD: Final = _named(
    "id scope code phase http_status action action_url created_at hits relapses step accepted"
    " released_at jobs newer"
)
STATS: Final = _named(
    "states oldest lane_count holds breakers rates",
    lanes=_named("lane account kind target queued active cap head_since drain_s"),
    quota=_named("route limit remaining reset_at seen_at"),
    workers=_named("id started_at seen_at submitting sync_runs polling stopping drained"),
)
PREVIEW: Final = _named("kind target account est_cost")
COUNTS: Final = _named(
    "matched done skipped failed est_cost holds_released deadlines_extended inputs_lost"
)


def split(doc: Doc, facts: Facts) -> tuple[Doc, Doc]:
    """The facts of a document, and the rest without its empty values; neither changes `doc`.

    Items of a list of objects have their rest inside, under `untrusted`.

    >>> split({"id": "a", "result": {"text": "b"}, "tags": []}, {"id": None})
    ({'id': 'a'}, {'result': {'text': 'b'}})
    """
    known: Doc = {}
    rest: Doc = {}
    for name, value in doc.items():
        inside = facts.get(name)
        if name not in facts or not _is_fact(value):
            if value not in (None, "", [], {}):
                rest[name] = value
        elif inside is None or value is None:
            known[name] = value
        elif isinstance(value, list):
            known[name] = [marked(cast("Doc", one), inside) for one in cast("list[object]", value)]
        else:
            known[name], others = split(cast("Doc", value), inside)
            if others:
                rest[name] = others
    return known, rest


def marked(doc: Doc, facts: Facts) -> Doc:
    """The facts of a document, with its rest under `untrusted` where there is any."""
    known, rest = split(doc, facts)
    return {**known, UNTRUSTED: rest} if rest else known


def _is_fact(value: Any) -> bool:
    return not isinstance(value, str) or (len(value) <= MAX_FACT_CHARS and value.isprintable())
