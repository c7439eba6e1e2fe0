"""The record of a job: what Redis stores and what `jobs.decide` works on.

Times are Unix seconds (float, millisecond precision). Inputs and results are stored beside the
record, not in it: a transition does not rewrite them, and a log line cannot leak them. Records
hold no reference cycles, so the garbage collector does not track them (`gc=False`): with ten
thousand of them its pauses would be noticeable.
"""

from functools import lru_cache
from typing import Final

import msgspec

from jobs.budgets.reservation import Reservation
from jobs.credits.sources import CostSource
from jobs.evidence.records import EvidenceFinding, SentAs, UncertainSubmit
from jobs.lanes import JobId, Lane
from jobs.states import UNSENT, Kind, Mode, OnUncertain, State

JOB_SCHEMA: Final = 4
"""The schema of a stored record. A change of the fields, here or in a type within, is a new one."""

EVENTS_KEPT: Final = 200
"""Most events in a record. Older ones are dropped, and `events_dropped` counts them."""

ATTEMPTS_KEPT: Final = 100
"""Most attempts in a record. Older ones are dropped."""

UNCERTAIN: Final = "uncertain"
"""Reason code of a parked job: it is unknown whether its submit started a run."""
BUDGET: Final = "budget"
"""Reason code of a parked job: its run would cost more than the whole limit of a budget."""
PARENT: Final = "parent"
"""Reason code of a parked job: a job that it waits for was cancelled, or is not on record."""
PARENT_RESULT: Final = "parent_result"
"""Reason code of a parked job: its inputs take from a result what that does not have."""
OUTAGE: Final = "outage"
"""Reason code of a dead letter: its target failed for longer than `KNOUDS_OUTAGE_LIMIT_S`."""
STUCK: Final = "stuck"
"""Reason code of a parked job: its run is past its deadline."""
MANUAL: Final = "manual"
"""Reason code of a job that an operator parked, and code of a hold that an operator placed."""
REDIRECTED: Final = "redirected"
"""Code of a hold: the base URL redirects elsewhere."""
NOT_THE_API: Final = "not_the_api"
"""Code of a hold: a page answers where the provider's API should."""
NOT_APPROVED: Final = "not_approved"
"""Code of a hold: the provider has not approved the account, so it cannot run anything yet."""
NO_KEY: Final = "no_key"
"""Code of a hold: the accounts of its jobs have no API key. It closes no lane."""
INPUTS_LOST: Final = "inputs_lost"
"""Reason code of a parked job: its record is there and its inputs are not."""
INPUTS_ERASED: Final = "inputs_erased"
"""Reason code of a parked job: its inputs were erased."""
PAYLOAD_KEY_LOST: Final = "payload_key_lost"
"""Reason code of a parked job: its inputs are encrypted, and no key reads them."""

EXPIRED: Final = "expired"
"""Reason code of a cancelled job: it was not sent by its `start_by`."""

EDITED: Final = "edited"
"""Name of the event of a job of which an operator changed something, with what that was."""
PAYLOADS_ERASED: Final = "payloads_erased"
"""Name of the event of a job whose inputs and result were erased."""


@lru_cache(maxsize=4_096)
def _lane(account: str, kind: Kind, target: str) -> Lane:
    """The lane, cached: every poll asks for it."""
    return Lane(account, kind, target)


CAUSE_MARK: Final = "~"
"""Between code and cause in the name of a group of uncertain jobs."""


def split_group(name: str) -> tuple[str, str]:
    """Code and cause of a group; the cause is empty except for uncertain jobs.

    >>> split_group("uncertain~HTTP_502"), split_group("INVALID~INPUTS")
    (('uncertain', 'HTTP_502'), ('INVALID~INPUTS', ''))
    """
    code, _, cause = name.partition(CAUSE_MARK)
    return (code, cause) if code == UNCERTAIN else (name, "")


class Reason(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    forbid_unknown_fields=True,
):
    """Why a job is parked, dead or retrying, and what an operator can do about it.

    `code` is the provider's own, letter for letter, `HTTP_<status>` where it sent none, or one of
    ours in lower case, such as `uncertain`, `stuck`, `manual` or `redirected`.
    """

    code: str
    http_status: int | None = None
    message: str = ""
    action: str = ""
    action_url: str | None = None
    hold_id: str | None = None
    """The hold that parked it, if a hold did."""
    cause: str = ""
    """Why the outcome of an `uncertain` job is unknown: `HTTP_502`, `worker_lost` and so on."""

    @property
    def group(self) -> str:
        """The group of jobs that wait for the same: its code, of uncertain jobs with the cause."""
        return f"{self.code}{CAUSE_MARK}{self.cause}" if self.cause else self.code


class Attempt(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    array_like=True,
    gc=False,
    forbid_unknown_fields=True,
):
    """One submit that reached the provider, or may have reached it."""

    number: int
    """1 is the first."""
    mode: Mode
    started_at: float
    ended_at: float | None = None
    """None while it is under way."""
    outcome: str | None = None
    """`succeeded`, `failed`, `refused`, `uncertain`, `stuck`, `cancelled` or `discarded`."""
    http_status: int | None = None
    code: str | None = None
    message: str | None = None
    provider_status: str | None = None
    execution_id: str | None = None
    request_id: str | None = None
    polls: int = 0
    cost: float | None = None
    """Credits."""
    duration_s: float | None = None
    """Seconds that the run took, where the answer to a sync run said so."""
    cost_source: CostSource | None = None
    """Who says what it cost, where it was not an answer; `estimate` without a `cost`: unknown."""
    reservations: tuple[Reservation, ...] = ()
    """What it reserved of budgets, and where its cost is settled."""

    @property
    def is_uncertain(self) -> bool:
        """Whether it ended with an unknown outcome."""
        return self.outcome == UNCERTAIN or (self.outcome == "failed" and self.code == UNCERTAIN)


class JobOutage(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    forbid_unknown_fields=True,
):
    """What the failures of its lane did to a job since its first one; see `jobs.retries`."""

    since: float
    """Time of that failure, Unix seconds."""
    failures: int = 1
    given_back: int = 0
    """Attempts given back to it, as a probe or in a quiet lane; they are charged once another job
    succeeded."""
    refused: int = 0
    """Attempts that refused submits spent while its lane was quiet, see `jobs.quiet_lane`."""
    is_postponed: bool = False
    """Its next try waits for longer than the usual backoff, since its lane is quiet."""
    was_charged: bool = False
    """It failed again after others succeeded: its own inputs may be the cause, and as a probe it
    spends its attempts."""
    failed_epoch: int = -1
    """The epoch of its lane's breaker in which its last spent attempt failed; -1: none."""


class JobEvent(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    omit_defaults=True,
    gc=False,
    forbid_unknown_fields=True,
):
    """One line of a job's history: what happened, when, by whom, with which note."""

    at: float
    name: str
    """A `Transition` value, `enqueue`, `edited`, `cancel_sent`, `finding`, `late_answer`,
    `new_status`, `other_run` or `payloads_erased`."""
    by: str = ""
    note: str = ""


class Job(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="schema",
    tag=JOB_SCHEMA,
    forbid_unknown_fields=True,
):
    """A job. Only `jobs.transitions` builds the next version of one."""

    id: JobId
    kind: Kind
    target: str
    state: State
    since: float
    """When it entered its state."""
    created_at: float
    updated_at: float
    fingerprint: str
    """Digest of the request: the same id with another digest is a conflict."""
    account: str = "default"
    max_attempts: int = 5
    deadline_s: float = 3_600.0
    """Seconds a run may take before the job parks as `stuck`."""
    priority: int = 0
    tags: tuple[str, ...] = ()
    batch: str | None = None
    fair_key: str | None = None
    """Whose turn it takes in its lane, as its app names it, see `jobs.fairness`."""
    on_uncertain: OnUncertain = OnUncertain.PARK
    scheduled_for: float | None = None
    due_at: float | None = None
    """When the scheduler moves it to `queued`: set in `scheduled` and `retrying`."""
    queued_at: float | None = None
    bypass_hold: bool = False
    """An operator released this one job past a closed hold."""
    opening_hold_ids: tuple[str, ...] = ()
    """Opening holds that count this submit in their step."""
    breaker_epochs: tuple[int, ...] = ()
    """Epochs of the breakers that it passed when it was admitted, see
    `jobs.breakers.BreakerEpochs`; those that are missing at the end are 0."""
    canary_of: tuple[str, ...] = ()
    """Probing breakers that count this submit in their step, by id."""
    probe_of: str | None = None
    """The probing breaker of its lane, which counts this run until it ends, by id."""
    outage: JobOutage | None = None
    submit_token: str | None = None
    """Fence of one submit: only the arq entry with this token may submit the job."""
    lease_until: float | None = None
    """From this time on the rescuer may take it from its owner."""
    owner: str | None = None
    """Id of the worker that submits it or holds its open connection."""
    sent_at: float | None = None
    """Set just before the first byte of the request: from here on the outcome can be unknown."""
    sent_as: SentAs | None = None
    """Where and as which user of the provider it is sent: set and reset with `sent_at`."""
    uncertain_submits: tuple[UncertainSubmit, ...] = ()
    """Submits whose outcome is or was unknown, and what the provider's list says about them."""
    spent: int = 0
    """Attempts spent since enqueue or the last requeue."""
    submits: int = 0
    """Attempts ever begun, across requeues: the number of the last one."""
    mode: Mode | None = None
    execution_id: str | None = None
    expects_webhook: bool = False
    """The provider announced a webhook for this run."""
    submitted_at: float | None = None
    deadline_at: float | None = None
    next_poll_at: float | None = None
    cancel_requested: bool = False
    cancel_sent: bool = False
    finished_at: float | None = None
    cost: float | None = None
    """Credits of all its attempts, as far as they are known: estimates do not count."""
    estimate: float | None = None
    """What its next or present attempt is expected to cost, credits; set when it is admitted."""
    reservations: tuple[Reservation, ...] = ()
    """What it reserves of budgets from its admission until its attempt begins."""
    waits_for_budget: str | None = None
    """The name of the budget of a tag or batch that keeps it out of its lane, while queued."""
    cost_check_at: float | None = None
    """When to look for the cost of its attempts in the provider's list of runs; None: no need."""
    reason: Reason | None = None
    attempts: tuple[Attempt, ...] = ()
    events: tuple[JobEvent, ...] = ()
    events_dropped: int = 0
    counted_for: str = ""
    """The token whose limit of open jobs counts it; empty for none."""
    input_bytes: int = 0
    """Of its inputs when it was enqueued, if it is counted."""
    schedule: str = ""
    """The schedule that it is a run of, as its name is stored; empty for none."""
    after: tuple[str, ...] = ()
    """The jobs that have to succeed before it is queued, by their stored ids."""
    takes_results: bool = False
    """Its inputs have references to results of those that are not replaced yet."""
    parents_check_at: float | None = None
    """When to look at those jobs next, beside what their ends make due: set in `waiting`."""
    callback_url: str | None = None
    """Where its app hears of it, see `jobs.callbacks`."""
    start_by: float | None = None
    """It is cancelled unless it is sent by then, see `jobs.start_by`."""
    has_metadata: bool = False
    """Its app gave it metadata, which are stored beside the record, as its inputs are."""
    result_note: str | None = None
    """Set when the result was too large to keep in full."""

    @property
    def lane(self) -> Lane:
        """The queue this job belongs to."""
        return _lane(self.account, self.kind, self.target)

    @property
    def enqueued_by(self) -> str:
        """The token that enqueued it; empty where that is no longer in the record."""
        first = self.events[0] if self.events else None
        return first.by if first is not None and first.name == "enqueue" else ""

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request that started its last run; None where it has no run."""
        at_provider = self.submitted_at is not None and self.attempts
        return self.attempts[-1].request_id if at_provider else None

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt under way, or None."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.ended_at is None else None

    @property
    def awaits_finding(self) -> bool:
        """Whether it waits, under `reconcile`, until it is known whether its submit started."""
        return (
            self.state is State.RETRYING
            and self.on_uncertain is OnUncertain.RECONCILE
            and self.reason is not None
            and self.reason.code == UNCERTAIN
        )

    @property
    def finding(self) -> EvidenceFinding | None:
        """What is known of its last submit, where its outcome is unknown; else None."""
        submit = self.last_uncertain_submit
        return None if submit is None else submit.finding

    @property
    def last_uncertain_submit(self) -> UncertainSubmit | None:
        """Its last submit, where the outcome of that is unknown; else None."""
        last = self.attempts[-1].number if self.attempts else None
        newest = self.uncertain_submits[-1] if self.uncertain_submits else None
        return newest if newest is not None and newest.number == last else None

    @property
    def attempt(self) -> int:
        """The number of its current attempt: those spent, plus the one under way or that ended it.

        It counts from the last requeue on, and does not exceed `max_attempts`.
        """
        last_outcome = self.attempts[-1].outcome if self.attempts else "failed"
        is_waiting = self.state in UNSENT
        counts = self.open_attempt is not None or last_outcome not in ("failed", "refused")
        return self.spent + (counts and not is_waiting)

    @property
    def parked_as(self) -> str | None:
        """The code of its reason if it is parked, else None."""
        return self.reason.code if self.state is State.PARKED and self.reason else None
