"""When the provider's list is read again for an uncertain submit."""

from typing import Final

from jobs.evidence.assess import DECIDE_WITHIN_S, EvidenceRules
from jobs.evidence.records import WATCH_S, Assessment, EvidenceFinding, UncertainSubmit

MIN_OPEN_CHECK_S: Final = 10.0
MAX_OPEN_CHECK_S: Final = 120.0
"""Shortest and longest pause between two readings while a finding is open."""

MIN_WATCH_CHECK_S: Final = 30.0
MAX_WATCH_CHECK_S: Final = 3_600.0
"""The same while a row of a submit that did not start, as it seems, would be late. Such a row stops
`reconcile`, so the first readings follow each other closely."""

HAS_ROWS: Final = frozenset({EvidenceFinding.STARTED, EvidenceFinding.AMBIGUOUS})


def next_check_at(submit: UncertainSubmit, rules: EvidenceRules, now: float) -> float | None:
    """When to read the list next for a submit; None once it is not compared any more.

    A quarter of its age passes between two readings that look for late rows. A submit with rows
    only keeps claiming them.
    """
    ends_at = submit.sent_at + WATCH_S
    if now >= ends_at:
        return None
    ripe_at = submit.sent_at + rules.grace_of(submit.mode)
    if now < ripe_at:
        return ripe_at
    if not submit.is_final:
        pause_s = (now - ripe_at) / 4
        return now + min(max(pause_s, MIN_OPEN_CHECK_S), MAX_OPEN_CHECK_S)
    if submit.finding in HAS_ROWS:
        return ends_at
    pause_s = (now - submit.sent_at) / 4
    return min(ends_at, now + min(max(pause_s, MIN_WATCH_CHECK_S), MAX_WATCH_CHECK_S))


def unread(submit: UncertainSubmit, rules: EvidenceRules, why: str, now: float) -> Assessment:
    """The assessment of a submit while the list cannot be read."""
    ripe_at = submit.sent_at + rules.grace_of(submit.mode)
    if now < ripe_at:
        return Assessment(finding=EvidenceFinding.PENDING, note="its row may still appear")
    is_late = now >= ripe_at + DECIDE_WITHIN_S
    return Assessment(finding=EvidenceFinding.UNKNOWN, note=why, is_final=is_late)
