"""From records to JSON. Inputs and results are embedded as they are, never decoded."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from jobs.concurrency import LaneCaps
from jobs.holds import Gates, Hold
from jobs.job import Attempt, Job, JobEvent, Reason
from jobs.lanes import Lane
from jobs.rate_limits import RateLimitBucket
from jobs.states import State
from jobs.why import Blocker
from worker.app.bulk_request import BulkAction, BulkCounts, BulkRequest
from worker.app.eta import Eta
from worker.app.queries import GroupSummary, QueueStats, UncertainEvidence
from worker.store.read.queries import LaneCount
from worker.store.workers import Heartbeat

View = Mapping[str, object]

_MAX_TIMESTAMP_S: Final = 253_402_300_799.0
"""The end of the year 9999: the last second RFC 3339 can write."""

_encoder: Final = msgspec.json.Encoder()

NO_GATES: Final = Gates()
WAITING_STATES: Final = (State.SCHEDULED, State.QUEUED, State.RETRYING)


def json_response(
    view: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A view as an answer."""
    return web.Response(
        status=status,
        body=_encoder.encode(view),
        content_type="application/json",
        headers=headers,
    )


def rfc3339(seconds: float) -> str:
    """Unix seconds as RFC 3339, UTC, milliseconds; what no calendar holds is cut to what it does.

    A provider's `Retry-After` may say anything.
    """
    bounded = round(min(max(seconds, 0.0), _MAX_TIMESTAMP_S), 3)
    return datetime.fromtimestamp(bounded, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _optional_time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _raw_json(text: bytes | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text)


# Jobs.


def job_view(
    job: Job,
    inputs: bytes | None = None,
    result: bytes | None = None,
    *,
    eta: Eta | None = None,
    gates: Gates = NO_GATES,
    payloads_hidden: bool = False,
) -> View:
    """A job; `inputs` and `result` as JSON text, null for those who may not see them."""
    if payloads_hidden:
        inputs = result = None
    return {
        "id": job.id,
        "kind": job.kind,
        "target": job.target,
        "account": job.account,
        "state": job.state,
        "reason": None if job.reason is None else _reason(job.reason),
        "held_by": _held_by(job, gates),
        "priority": job.priority,
        "tags": job.tags,
        "batch": job.batch,
        "inputs": _raw_json(inputs),
        "result": _raw_json(result),
        "cost": job.cost,
        "mode": job.mode,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "execution_id": job.execution_id,
        "request_id": job.request_id,
        "created_at": rfc3339(job.created_at),
        "scheduled_for": _optional_time(job.scheduled_for),
        "submitted_at": _optional_time(job.submitted_at),
        "eta": _optional_time(eta.likely_at if eta else None),
        "eta_late": _optional_time(eta.late_at if eta else None),
        "finished_at": _optional_time(job.finished_at),
        "updated_at": rfc3339(job.updated_at),
        "attempts": [_attempt(attempt) for attempt in job.attempts],
        "events": [_event(event) for event in job.events],
        "payloads_hidden": payloads_hidden,
    }


def _held_by(job: Job, gates: Gates) -> View | None:
    """The hold that closes the lane of a job that waits for its turn."""
    hold = (
        gates.closing_hold(job.lane)
        if job.state in WAITING_STATES and not job.bypass_hold
        else None
    )
    if hold is None:
        return None
    return {
        "hold_id": hold.id,
        "scope": hold.scope,
        "code": hold.code,
        "action": hold.action,
        "action_url": hold.action_url,
    }


def _reason(reason: Reason) -> View:
    return {
        "code": reason.code,
        "http_status": reason.http_status,
        "message": reason.message,
        "action": reason.action,
        "action_url": reason.action_url,
        "hold_id": reason.hold_id,
    }


def _attempt(attempt: Attempt) -> View:
    return {
        "number": attempt.number,
        "mode": attempt.mode,
        "started_at": rfc3339(attempt.started_at),
        "ended_at": _optional_time(attempt.ended_at),
        "outcome": attempt.outcome,
        "http_status": attempt.http_status,
        "code": attempt.code,
        "message": attempt.message,
        "provider_status": attempt.provider_status,
        "execution_id": attempt.execution_id,
        "request_id": attempt.request_id,
        "polls": attempt.polls,
        "cost": attempt.cost,
    }


def _event(event: JobEvent) -> View:
    return {"at": rfc3339(event.at), "event": event.name, "by": event.by, "note": event.note}


def page_view(items: Sequence[View], next_cursor: str | None = None) -> View:
    """A list."""
    return {"items": items, "next_cursor": next_cursor}


def why_view(job: Job, blockers: Sequence[Blocker], evidence: UncertainEvidence | None) -> View:
    """What keeps a job from running."""
    return {
        "id": job.id,
        "state": job.state,
        "blockers": [_blocker(b) for b in blockers],
        "evidence": None if evidence is None else _evidence(evidence),
    }


def _evidence(evidence: UncertainEvidence) -> View:
    return {
        "sent_at": _optional_time(evidence.sent_at),
        "ended_at": _optional_time(evidence.ended_at),
        "http_status": evidence.http_status,
        "message": evidence.message,
        "executions": [
            {
                "execution_id": orphan.execution_id,
                "event": orphan.event,
                "received_at": rfc3339(orphan.received_at),
                "status": orphan.status,
                "cost": orphan.cost,
            }
            for orphan in evidence.executions
        ],
    }


def _blocker(blocker: Blocker) -> View:
    return {
        "kind": blocker.kind,
        "text": blocker.text,
        "action": blocker.action,
        "hold_id": blocker.hold_id,
        "until": _optional_time(blocker.until),
    }


# Many jobs.


def group_view(summary: GroupSummary) -> View:
    """A group; the words are those of the job that is in it longest."""
    group, reason = summary.group, summary.group.sample.reason
    return {
        "state": group.state,
        "code": group.code,
        "kind": group.lane.kind,
        "target": group.lane.target,
        "account": group.lane.account,
        "count": group.count,
        "oldest": rfc3339(group.since),
        "message": reason.message if reason else "",
        "action": reason.action if reason else "",
        "action_url": reason.action_url if reason else None,
        "est_cost": summary.est_cost,
    }


def counts_view(request: BulkRequest, counts: BulkCounts) -> View:
    """What became of the jobs of a bulk act."""
    view = {
        "matched": counts.matched,
        "done": counts.done,
        "skipped": counts.skipped.total(),
        "skipped_why": counts.skipped,
        "failed": counts.failed,
        "errors": [{"id": job_id, "detail": detail} for job_id, detail in counts.errors],
        "est_cost": counts.est_cost,
        "dry_run": request.dry_run,
    }
    if request.action is BulkAction.RELEASE:
        view["holds_released"] = counts.holds_released
    return view


def hold_view(hold: Hold, jobs: int) -> View:
    """A hold, with the number of jobs it parked."""
    return {
        "id": hold.id,
        "scope": hold.scope,
        "code": hold.code,
        "phase": hold.phase,
        "http_status": hold.http_status,
        "message": hold.message,
        "action": hold.action,
        "action_url": hold.action_url,
        "created_at": rfc3339(hold.created_at),
        "created_by": hold.created_by,
        "note": hold.note,
        "hits": hold.hits,
        "relapses": hold.relapses,
        "step": hold.step,
        "accepted": hold.accepted,
        "released_at": _optional_time(hold.released_at),
        "released_by": hold.released_by,
        "jobs": jobs,
    }


def stats_view(stats: QueueStats, caps: LaneCaps) -> View:
    """How everything stands."""
    return {
        "states": stats.states,
        "oldest": {state: round(age, 3) for state, age in stats.oldest_age_s.items()},
        "lanes": [_lane(lane, caps, stats.drain_s) for lane in stats.lanes],
        "quota": [_rate_limit(route, seen) for route, seen in sorted(stats.rate_limits.items())],
        "workers": [_worker(beat) for beat in stats.workers],
        "holds": stats.hold_count,
        "rates": stats.rates,
    }


def _lane(count: LaneCount, caps: LaneCaps, drain: Mapping[Lane, float]) -> View:
    return {
        "lane": str(count.lane),
        "account": count.lane.account,
        "kind": count.lane.kind,
        "target": count.lane.target,
        "queued": count.queued,
        "active": count.active,
        "cap": caps.of(count.lane),
        "head_since": _optional_time(count.head_since),
        "drain_s": round(drain[count.lane], 1) if count.lane in drain else None,
    }


def _rate_limit(route: str, bucket: RateLimitBucket) -> View:
    return {
        "route": route,
        "limit": bucket.limit,
        "remaining": bucket.remaining,
        "reset_at": _optional_time(bucket.reset_at),
        "seen_at": rfc3339(bucket.reported_at),
    }


def _worker(heartbeat: Heartbeat) -> View:
    return {
        "id": heartbeat.id,
        "host": heartbeat.host,
        "pid": heartbeat.pid,
        "started_at": rfc3339(heartbeat.started_at),
        "seen_at": rfc3339(heartbeat.seen_at),
        "submitting": heartbeat.submitting,
        "sync_runs": heartbeat.sync_runs,
        "polling": heartbeat.polling,
        "stopping": heartbeat.stopping,
        "failures": heartbeat.failures,
    }
