"""What a job's record keeps of a submit whose outcome is unknown: as whom it was sent, its finding.

Laws of a finding:
- It is written by compare-and-set with the record, and only `merged` builds the next one.
- `started` and `ambiguous` never become `not_started`: a row that was seen does not unhappen.
- A submit stays a claimant of rows for `WATCH_S`, whatever becomes of its job meanwhile.
"""

from enum import StrEnum
from typing import Final

import msgspec

from jobs.states import Mode
from jobs.usage import UsageRow

WATCH_S: Final = 86_400.0
"""How long after its sending an uncertain submit is compared with new rows."""

MAX_ROWS_KEPT: Final = 10
"""Most rows that a finding keeps."""

MAX_SUBMITS_KEPT: Final = 10
"""Most uncertain submits in a record. Older ones are dropped."""


class EvidenceFinding(StrEnum):
    """What the provider's list of runs says about an uncertain submit."""

    PENDING = "pending"
    """Not known yet: its row may still appear, or the list could not be read so far."""

    NOT_STARTED = "not_started"
    """The list was read in full, twice, and has no row that could be its run: it can be submitted
    again without a known risk."""

    STARTED = "started"
    """The list has a row for it that belongs to no other run on record."""

    AMBIGUOUS = "ambiguous"
    """There are rows that no run on record explains, but fewer than uncertain submits: an operator
    decides."""

    UNKNOWN = "unknown"
    """The list cannot tell: it could not be read, other programs use the account, or nothing proves
    that the list would show the run."""


class SentAs(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Where a submit was sent and as whom: only this user's list at this address is evidence."""

    base_url: str
    user_id: str | None = None
    """The provider's id of the user whose key was used; None if it was not known."""


class UncertainSubmit(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    forbid_unknown_fields=True,
):
    """A submit whose outcome is unknown, and what is known of it by now. Times are Unix seconds."""

    number: int
    """The number of its attempt."""
    mode: Mode
    sent_at: float
    sent_as: SentAs | None = None
    is_accepted: bool = False
    """A 2xx, an execution id or a request id is on record: it is never `not_started`."""
    request_id: str | None = None
    finding: EvidenceFinding = EvidenceFinding.PENDING
    is_final: bool = False
    """Whether only a new row can change the finding."""
    note: str = ""
    """Why it is pending or unknown, or how many of how many started."""
    rows: tuple[UsageRow, ...] = ()
    """The rows that may be its run."""
    checked_at: float | None = None
    """When the list was last read for it; None: not yet."""
    check_at: float | None = None
    """When to read the list next; None: it is not compared any more."""


class Assessment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one reading of the list says about one uncertain submit."""

    finding: EvidenceFinding
    note: str = ""
    rows: tuple[UsageRow, ...] = ()
    is_final: bool = False
    lacks_depth: bool = False
    """The list has to be read further back to say more."""
    has_orphans: bool = False
    """Its rows are those that no run on record explains."""


_NEVER_WITHDRAWN: Final = frozenset({EvidenceFinding.STARTED, EvidenceFinding.AMBIGUOUS})


def merged(submit: UncertainSubmit, found: Assessment, now: float) -> UncertainSubmit:
    """The submit with a new assessment; a finding that a row supports is not withdrawn.

    A `not_started` is withdrawn only by a row: a reading that says less does not count.
    """
    says_less = found.finding in _SAYS_LESS and not found.has_orphans
    keeps = (submit.finding in _NEVER_WITHDRAWN and found.finding not in _NEVER_WITHDRAWN) or (
        submit.finding is EvidenceFinding.NOT_STARTED and says_less
    )
    if keeps:
        return msgspec.structs.replace(submit, checked_at=now)
    return msgspec.structs.replace(
        submit,
        finding=found.finding,
        note=found.note,
        rows=found.rows[:MAX_ROWS_KEPT],
        is_final=found.is_final,
        checked_at=now,
    )


_SAYS_LESS: Final = frozenset({EvidenceFinding.PENDING, EvidenceFinding.UNKNOWN})


def is_late_row(before: UncertainSubmit, after: UncertainSubmit) -> bool:
    """Whether a row appeared for a submit after its finding said that there is none.

    Then rows may come later than the grace, and `not_started` cannot be relied on.
    """
    is_none = EvidenceFinding.NOT_STARTED
    return before.finding is is_none and after.finding is not is_none
