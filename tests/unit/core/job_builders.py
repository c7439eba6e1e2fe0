"""Jobs, outcomes and contexts for the tests of the core."""

from typing import Any, Final

import msgspec

from jobs import transitions
from jobs.effects import DecisionContext, DecisionRules
from jobs.error_table import ErrorTable
from jobs.evidence.records import EvidenceFinding
from jobs.job import Job, Reason
from jobs.lanes import JobId
from jobs.outcomes import Accepted, Finished, ProviderError
from jobs.states import Kind, OnUncertain, State
from worker.provider.knouds.error_rows import ERROR_RULES

NOW: Final = 1_790_000_000.0
DEADLINE_S: Final = 3_600.0

ERROR_TABLE: Final = ErrorTable(ERROR_RULES)

ACCEPTED: Final = Accepted("ex-1", "req-1")
FINISHED: Final = Finished(b'{"images": []}', cost=2.5)
FAILED: Final = ProviderError("EXECUTION_FAILED", "upstream fell over", 500)
NO_CREDITS: Final = ProviderError("INSUFFICIENT_CREDITS", "balance too low", 402)


def a_job(**facts: Any) -> Job:
    """A queued job; `facts` replace its fields."""
    usual: dict[str, Any] = {
        "id": JobId("j1"),
        "kind": Kind.MODEL,
        "target": "suno",
        "account": "default",
        "state": State.QUEUED,
        "since": NOW,
        "created_at": NOW,
        "updated_at": NOW,
        "queued_at": NOW,
        "fingerprint": "f",
        "max_attempts": 5,
        "deadline_s": DEADLINE_S,
    }
    return Job(**(usual | facts))


def changed(job: Job, **facts: Any) -> Job:
    """The job with other fields, whatever the lifecycle table says."""
    return msgspec.structs.replace(job, **facts)


def a_context(now: float = NOW, jitter: float = 0.5, **rules: Any) -> DecisionContext:
    """A context with the default rules; `rules` replace them."""
    rules.setdefault("error_table", ERROR_TABLE)
    rules.setdefault("base_url", "https://knouds.ai")
    return DecisionContext(now, jitter, DecisionRules(**rules))


# One job for each state, reached by legal transitions.


def scheduled(**facts: Any) -> Job:
    return a_job(state=State.SCHEDULED, due_at=NOW + 60, queued_at=None, **facts)


def waiting(**facts: Any) -> Job:
    times = {"parents_check_at": NOW, "queued_at": None}
    return a_job(state=State.WAITING, **{"after": ("p1", "p2"), **times, **facts})


def queued(**facts: Any) -> Job:
    return a_job(**facts)


def admitted(*, opening_hold_ids: tuple[str, ...] = (), **facts: Any) -> Job:
    return transitions.admit(
        a_job(**facts),
        NOW,
        submit_token="h1",
        lease_until=NOW + 30,
        opening_hold_ids=opening_hold_ids,
    )


def submitted(*, opening_hold_ids: tuple[str, ...] = (), **facts: Any) -> Job:
    return transitions.send(
        admitted(opening_hold_ids=opening_hold_ids, **facts), NOW, owner="w1", lease_until=NOW + 30
    )


def running(**facts: Any) -> Job:
    return transitions.accept(submitted(**facts), NOW, ACCEPTED, next_poll_at=NOW + 1)


def sync_run(**facts: Any) -> Job:
    return transitions.open_connection(admitted(**facts), NOW, owner="w1", lease_until=NOW + 30)


def retrying(**facts: Any) -> Job:
    return transitions.retry(submitted(**facts), NOW, FAILED, due_at=NOW + 2)


def cancelling(**facts: Any) -> Job:
    return transitions.request_cancel(running(**facts), NOW, by="ann")


def held(*, hold_id: str | None = "hold-1", **facts: Any) -> Job:
    reason = Reason(code=NO_CREDITS.display_code, http_status=402, action="Top up", hold_id=hold_id)
    return transitions.park_refused(submitted(**facts), NOW, NO_CREDITS, reason)


def uncertain(**facts: Any) -> Job:
    return transitions.park_uncertain(submitted(**facts), NOW, why="connection lost")


def awaiting_finding(finding: EvidenceFinding = EvidenceFinding.PENDING, **facts: Any) -> Job:
    """A job under `reconcile` whose submit was lost."""
    facts = {"on_uncertain": OnUncertain.RECONCILE, **facts}
    sent = submitted(**facts)
    waiting = transitions.await_finding(sent, NOW, why="connection lost")
    submits = tuple(
        msgspec.structs.replace(submit, finding=finding) for submit in waiting.uncertain_submits
    )
    return msgspec.structs.replace(waiting, uncertain_submits=submits)


def did_not_start(**facts: Any) -> Job:
    return awaiting_finding(EvidenceFinding.NOT_STARTED, **facts)


def lost_run(**facts: Any) -> Job:
    """An uncertain job whose run the provider does not know any more; it is polled on."""
    why = "the provider does not know it"
    return transitions.park_uncertain(running(**facts), NOW, why=why, next_poll_at=NOW + 300)


def stuck(**facts: Any) -> Job:
    return transitions.park_stuck(running(**facts), NOW, next_poll_at=NOW + 300)


def manual(**facts: Any) -> Job:
    return transitions.park_manual(a_job(**facts), NOW, by="ann", note="later")


def dead(**facts: Any) -> Job:
    error = ProviderError("INVALID_INPUTS", "no prompt", 400)
    return transitions.dead_letter(
        submitted(**facts), NOW, error, Reason(code=error.display_code, http_status=400)
    )


def succeeded(**facts: Any) -> Job:
    return transitions.succeed(running(**facts), NOW, FINISHED)


def cancelled(**facts: Any) -> Job:
    return transitions.cancel(a_job(**facts), NOW, by="ann")
