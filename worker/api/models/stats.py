"""Responses that show the system: lanes, rate limits, workers, and counts over time."""

import heapq
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta

from jobs.lanes import cap_of_lane
from jobs.rate_limits import RateLimitBucket
from jobs.states import Kind, State
from worker.api.models.response import ResponseModel, Time, optional_rfc3339, rfc3339
from worker.app.credit_warnings import CreditWarningCause
from worker.app.queries import QueueStats
from worker.engine.worker_problems import capitalized, described_failures, refusal_text
from worker.store.metrics.series import SeriesPoint, SeriesWindow
from worker.store.read.lane_counts import FairKeyCount, LaneCount
from worker.store.workers import Heartbeat

MAX_LANES_SHOWN: Final = 200


class FairKeyResponse(ResponseModel):
    """A fair key that has jobs waiting."""

    key: Annotated[str, Meta(description="one of a tenant as `<tenant>~<key>`")]
    queued: int


class FairKeysResponse(ResponseModel):
    """The fair keys that have jobs waiting in a lane."""

    waiting: Annotated[int, Meta(description="how many there are")]
    at_cap: Annotated[int, Meta(description="of them, those that wait for the end of a run")]
    busiest: Annotated[
        list[FairKeyResponse],
        Meta(
            description="those with the most jobs, among the next 1,000; empty below role read, and"
            " for tenants"
        ),
    ]


class LaneResponse(ResponseModel):
    """The jobs of one lane."""

    lane: str
    account: str
    kind: Kind
    target: str
    queued: int
    active: int
    cap: int | None
    key_cap: Annotated[int | None, Meta(description="that of each fair key")]
    fair_keys: Annotated[
        FairKeysResponse | None, Meta(description="null where no queued job has a fair key")
    ]
    head_since: Time | None
    drain_s: Annotated[
        float | None,
        Meta(description="until its last job can be sent, where the provider limits its route"),
    ]


class RateLimitResponse(ResponseModel):
    """What the provider last reported of a route's limit."""

    route: str
    limit: int | None
    remaining: int | None
    reset_at: Time | None
    seen_at: Time


class WorkerResponse(ResponseModel):
    """A worker whose heartbeat is fresh."""

    id: str
    host: str
    pid: int
    started_at: Time
    seen_at: Time
    submitting: int
    sync_runs: int
    polling: int
    stopping: bool
    drained: Annotated[
        bool, Meta(description="an operator took it out of service: it takes no new jobs")
    ]
    polls_failing_since: Annotated[
        Time | None, Meta(description="since when none of its polls got an answer, else null")
    ]
    poll_failure: Annotated[str, Meta(description="why the last of them got none")]
    unproved_accounts: Annotated[
        tuple[str, ...],
        Meta(description="accounts whose submits wait until a poll of their last runs is answered"),
    ]
    failures: Annotated[
        dict[str, str],
        Meta(
            description="services that are being restarted, with the class of their last error;"
            " `clock`, `redis_sentinels`, `redis_primary`, `redis_wait`, `redis_replicas` and"
            " `redis_data`: what is the matter, and what to do"
        ),
    ]
    clock_ahead_s: Annotated[
        float, Meta(description="how far the clock of its machine is ahead of that of Redis")
    ]


class ReconcileOffResponse(ResponseModel):
    """An account for which `reconcile` submits nothing again: a row came after the grace."""

    account: str
    at: Time
    job_id: str
    row_id: int | None


class ReconcileOnResponse(ResponseModel):
    """An account for which `reconcile` is on, and whether it was off."""

    account: str
    was_off: bool


class RedisRefusalResponse(ResponseModel):
    """Something that Redis refuses, which `/readyz` answers with 503."""

    reason: Annotated[str, Meta(description="Redis' first word, as `NOREPLICAS`")]
    text: str
    action: Annotated[str, Meta(description="what ends it")]


class CreditWarningResponse(ResponseModel):
    """Something about credits that needs an operator."""

    cause: CreditWarningCause
    name: Annotated[str, Meta(description="of the budget, or the account")]
    text: str
    action: Annotated[str, Meta(description="what to do")]


class StatsResponse(ResponseModel):
    """Counts of jobs, lanes, rate limits, workers and holds."""

    states: dict[State, int]
    oldest: Annotated[dict[State, float], Meta(description="seconds, for states that have jobs")]
    lanes: Annotated[
        list[LaneResponse],
        Meta(description=f"the {MAX_LANES_SHOWN} with the most queued and active jobs"),
    ]
    lane_count: Annotated[int, Meta(description="how many lanes there are")]
    quota: list[RateLimitResponse]
    workers: list[WorkerResponse]
    redis_refuses: Annotated[
        list[RedisRefusalResponse],
        Meta(description="while it is not empty, workers may live that are not in `workers`"),
    ]
    holds: int
    breakers: Annotated[int, Meta(description="breakers that stop submits or slow them down")]
    reconcile_off: list[ReconcileOffResponse]
    rates: dict[str, float]
    credit_warnings: Annotated[
        list[CreditWarningResponse],
        Meta(
            description="budgets that are used to 80 % or closed, and balances that are likely to"
            " be used up within the hour; empty below role read"
        ),
    ]


class HistoryPointResponse(ResponseModel):
    """What happened in one interval."""

    at: Annotated[Time, Meta(description="when it began")]
    step_s: int
    enqueued: float
    succeeded: float
    dead: float
    cancelled: float
    parked: float
    submits: float
    polls: float
    rate_limited: Annotated[float, Meta(description="responses with status 429")]
    credits: Annotated[float, Meta(description="cost of runs, as far as the provider reported it")]
    delay_p50_s: Annotated[
        float | None,
        Meta(description="from the end of a run to its record, at most; null where none ended"),
    ]
    delay_p95_s: float | None


class HistoryResponse(ResponseModel):
    """What happened over time, oldest first; the last interval is not over yet."""

    window: SeriesWindow
    points: list[HistoryPointResponse]


def stats_response(
    stats: QueueStats, caps: Mapping[str, int], key_caps: Mapping[str, int], *, shows_keys: bool
) -> StatsResponse:
    """Counts of jobs, lanes, rate limits, workers and holds.

    `shows_keys`: whether the caller may see the names of fair keys, which are of every tenant.
    """
    return StatsResponse(
        states=stats.states,
        oldest={state: round(age, 3) for state, age in stats.oldest_age_s.items()},
        lanes=[
            _lane(
                one,
                stats.drain_s.get(one.lane),
                cap_of_lane(caps, one.lane),
                cap_of_lane(key_caps, one.lane),
                shows_keys=shows_keys,
            )
            for one in _busiest(stats.lanes)
        ],
        lane_count=len(stats.lanes),
        quota=[_rate_limit(route, bucket) for route, bucket in sorted(stats.rate_limits.items())],
        workers=[worker_response(heartbeat) for heartbeat in stats.workers],
        redis_refuses=[
            RedisRefusalResponse(
                reason=one.code.value, text=refusal_text(one), action=capitalized(one.fix)
            )
            for one in stats.redis_problems
        ],
        holds=stats.hold_count,
        breakers=len(stats.breakers),
        reconcile_off=[
            ReconcileOffResponse(
                account=one.account, at=rfc3339(one.at), job_id=one.job_id, row_id=one.row_id
            )
            for one in stats.reconcile_off
        ],
        rates=stats.rates,
        credit_warnings=[
            CreditWarningResponse(cause=one.cause, name=one.name, text=one.text, action=one.action)
            for one in stats.credit_warnings
        ],
    )


def _busiest(lanes: Sequence[LaneCount]) -> list[LaneCount]:
    """The busiest lanes first, where there are many; else all in the order of their turns."""
    if len(lanes) <= MAX_LANES_SHOWN:
        return list(lanes)
    return heapq.nlargest(MAX_LANES_SHOWN, lanes, key=lambda one: one.queued + one.active)


def _fair_keys(count: FairKeyCount, *, shows_keys: bool) -> FairKeysResponse:
    busiest = [FairKeyResponse(key=key, queued=queued) for key, queued in count.busiest]
    return FairKeysResponse(
        waiting=count.waiting, at_cap=count.at_cap, busiest=busiest if shows_keys else []
    )


def _lane(
    count: LaneCount,
    drain_s: float | None,
    cap: int | None,
    key_cap: int | None,
    *,
    shows_keys: bool,
) -> LaneResponse:
    keys = count.fair_keys
    return LaneResponse(
        lane=str(count.lane),
        account=count.lane.account,
        kind=count.lane.kind,
        target=count.lane.target,
        queued=count.queued,
        active=count.active,
        cap=cap,
        key_cap=key_cap,
        fair_keys=None if keys is None else _fair_keys(keys, shows_keys=shows_keys),
        head_since=optional_rfc3339(count.head_since),
        drain_s=None if drain_s is None else round(drain_s, 1),
    )


def _rate_limit(route: str, bucket: RateLimitBucket) -> RateLimitResponse:
    return RateLimitResponse(
        route=route,
        limit=bucket.limit,
        remaining=bucket.remaining,
        reset_at=optional_rfc3339(bucket.reset_at),
        seen_at=rfc3339(bucket.reported_at),
    )


def worker_response(heartbeat: Heartbeat) -> WorkerResponse:
    """A worker, as its last heartbeat shows it."""
    return WorkerResponse(
        id=heartbeat.id,
        host=heartbeat.host,
        pid=heartbeat.pid,
        started_at=rfc3339(heartbeat.started_at),
        seen_at=rfc3339(heartbeat.seen_at),
        submitting=heartbeat.submitting,
        sync_runs=heartbeat.sync_runs,
        polling=heartbeat.polling,
        stopping=heartbeat.stopping,
        drained=heartbeat.drained,
        polls_failing_since=optional_rfc3339(heartbeat.polls_failing_since),
        poll_failure=heartbeat.poll_failure,
        unproved_accounts=heartbeat.unproved_accounts,
        failures=described_failures(heartbeat),
        clock_ahead_s=heartbeat.clock_ahead_s,
    )


def history_point_response(point: SeriesPoint) -> HistoryPointResponse:
    """One interval of the history."""
    return HistoryPointResponse(
        at=rfc3339(point.at),
        step_s=point.step_s,
        **point.counts,
        delay_p50_s=point.delay_p50_s,
        delay_p95_s=point.delay_p95_s,
    )
