"""`/metrics` and `/v1/stats/history` tell what happened and how things stand, of all processes."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from arq import ArqRedis
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from jobs.lanes import JobId
from jobs.outcomes import Accepted, CallFailure, Finished, ProviderError, Refused, StillRunning
from jobs.requests import JobRequest, new_job
from jobs.states import Kind
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from worker.store import Store, open_store
from worker.store.client import Argument, Client
from worker.store.metrics.buffer import MetricsBuffer
from worker.store.metrics.catalog import MAX_TARGETS, METRICS
from worker.store.metrics.counters import Counters
from worker.store.metrics.series import Series, SeriesWindow
from worker.store.scripts import Scripts, source

Labels = tuple[tuple[str, str], ...]
NOW = 1_900_000_000.0


async def scraped(api: CheckedApi) -> dict[str, dict[Labels, float]]:
    """Sample name → labels → value, as Prometheus reads it."""
    reply = await api.get("/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), "a series appears twice"
            found[sample.name][labels] = sample.value
    return found


def of(found: Mapping[Labels, float], **labels: str) -> float:
    return found.get(tuple(sorted(labels.items())), 0.0)


async def test_jobs_are_shown_by_state_with_the_age_of_the_oldest(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.queued("q1")
    await job_factory.queued("q2")
    await job_factory.running("r1")
    found = await scraped(api)
    assert of(found["knouds_jobs"], state="queued") == 2
    assert of(found["knouds_jobs"], state="running") == 1
    assert of(found["knouds_jobs"], state="dead") == 0
    assert 0 <= of(found["knouds_oldest_age_seconds"], state="queued") < 60
    assert of(found["knouds_lane_queued"], lane="default/model/gpt-image-2") == 2
    assert found["knouds_redis_up"][()] == 1


async def test_what_waits_for_operators_is_shown_by_code(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await job_factory.held("h1")
    await job_factory.dead("d1")
    await api.post("/v1/holds", {"scope": "studio"})
    found = await scraped(api)
    assert of(found["knouds_parked"], code="INSUFFICIENT_CREDITS") == 1
    assert of(found["knouds_dead"], code="INVALID_INPUTS") == 1
    assert of(found["knouds_holds"], phase="closed", code="manual") == 1


async def test_counters_are_those_of_all_processes(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    other = open_store(store.client.redis, store.keys.namespace)
    for counted in (store, other):
        counted.metrics.buffer.submitted("model", Accepted("e"))
        counted.metrics.buffer.submitted(
            "model", Refused(ProviderError("X_UNKNOWN", http_status=418))
        )
        counted.metrics.buffer.submitted("workflow", Refused(ProviderError(None, http_status=429)))
        counted.metrics.buffer.polled(StillRunning("processing"))
        counted.metrics.buffer.polled(CallFailure("slow down", http_status=429))
        counted.metrics.buffer.webhook_received("forged")
        counted.metrics.buffer.webhook_processed("processed")
        counted.metrics.buffer.job_rescued("submitting")
        counted.metrics.buffer.run_end_recorded("poll", 0.7)
        await counted.metrics.counters.flush(NOW)
    await job_factory.uncertain("u1")
    await job_factory.retrying("t1")
    await job_factory.succeeded("s1")
    await store.metrics.counters.flush(NOW)
    found = await scraped(api)
    submits = found["knouds_submits_total"]
    assert of(submits, kind="model", outcome="accepted", code="") == 2
    assert of(submits, kind="model", outcome="refused", code="other") == 2
    assert of(submits, kind="workflow", outcome="refused", code="HTTP_429") == 2
    assert of(found["knouds_rate_limited_total"], route="workflow") == 2
    assert of(found["knouds_rate_limited_total"], route="executions") == 2
    assert of(found["knouds_polls_total"], outcome="running") == 2
    assert of(found["knouds_webhooks_received_total"], outcome="forged") == 2
    assert of(found["knouds_webhooks_handled_total"], outcome="processed") == 2
    assert of(found["knouds_jobs_rescued_total"], state="submitting") == 2
    assert of(found["knouds_jobs_enqueued_total"], kind="model") == 3
    assert of(found["knouds_jobs_settled_total"], state="succeeded", kind="model") == 1
    assert of(found["knouds_jobs_parked_total"], code="uncertain") == 1
    assert found["knouds_jobs_uncertain_total"][()] == 1
    assert of(found["knouds_jobs_retried_total"], code="EXECUTION_FAILED") == 1
    assert of(found["knouds_credits_spent_total"], target="model/gpt-image-2") == 0.5
    delay = found["knouds_completion_delay_seconds_bucket"]
    assert of(delay, seen_by="poll", le="0.5") == 0
    assert of(delay, seen_by="poll", le="1.0") == of(delay, seen_by="poll", le="+Inf") == 2
    assert of(found["knouds_completion_delay_seconds_sum"], seen_by="poll") == 1.4
    assert of(found["knouds_queue_wait_seconds_count"], kind="model") == 3
    assert of(found["knouds_run_duration_seconds_count"], kind="model") == 1
    assert of(found["knouds_job_attempts_bucket"], state="succeeded", le="1.0") == 1


async def test_the_api_brings_what_it_counted_itself(api: CheckedApi, store: Store) -> None:
    for n in range(3):
        await api.enqueue(id=f"j{n}")
    await store.metrics.counters.flush(NOW)
    assert of((await scraped(api))["knouds_jobs_enqueued_total"], kind="model") == 3


async def test_labels_are_bounded_whatever_comes(api: CheckedApi, store: Store) -> None:
    for n in range(300):
        store.metrics.buffer.submitted(
            "model", Refused(ProviderError(f"CODE_{n}", http_status=400))
        )
        for field in (f"credits_spent|model/t{n}", f"jobs_parked|{n}|extra", f"unheard_of|{n}"):
            await store.client.call("HINCRBYFLOAT", store.keys.counters, field, 1)
    await store.client.call("HSET", store.keys.counters, "polls|running", "much")
    await store.metrics.counters.flush(NOW)
    found = await scraped(api)
    assert len(found["knouds_submits_total"]) <= 4
    spent = found["knouds_credits_spent_total"]
    assert len(spent) == MAX_TARGETS + 1
    assert of(spent, target="other") == 250
    assert "knouds_unheard_of_total" not in found


def test_a_process_names_so_many_targets_and_no_more() -> None:
    tally = MetricsBuffer()
    for n in range(MAX_TARGETS + 20):
        job_request = JobRequest(kind=Kind.MODEL, target=f"t{n}", inputs=b"{}")
        job = new_job(job_request, JobId("j"), NOW, max_attempts=5, deadline_s=60.0)
        tally.job_changed(job, msgspec.structs.replace(job, cost=1.0))
    fields = {f for f in tally.drain().totals if f.startswith("credits_spent|")}
    assert len(fields) == MAX_TARGETS + 1
    assert "credits_spent|other" in fields


async def test_counts_that_could_not_be_brought_are_kept(store: Store) -> None:
    await store.client.call("SET", store.keys.counters, "in the way")
    store.metrics.buffer.webhook_processed("processed")
    for _ in range(2):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await store.metrics.counters.flush(NOW)
    await store.client.call("DEL", store.keys.counters)
    await store.metrics.counters.flush(NOW)
    assert await store.metrics.counters.read() == {"webhooks_handled|processed": 1.0}


class CutReplies(Client):
    """Executes each command and loses the reply, as a connection that ends does."""

    cuts = True

    async def call(self, *command: Argument) -> Any:
        reply = await super().call(*command)
        if self.cuts:
            raise RedisConnectionError("Connection closed by server.")
        return reply


async def test_a_flush_whose_reply_is_lost_counts_once(store: Store, redis: ArqRedis) -> None:
    """Also what was counted meanwhile: it is another flush."""
    keys, buffer = store.keys, MetricsBuffer()
    series, client = Series(store.client, keys), CutReplies(redis)
    counters = Counters(store.client, keys, Scripts(client), buffer, series)
    buffer.webhook_processed("processed")
    buffer.polled(StillRunning("processing"))
    await store.client.call("SCRIPT LOAD", source("count"))
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            await counters.flush(NOW)
        buffer.webhook_processed("processed")
    client.cuts = False
    await counters.flush(NOW + 4)
    await counters.flush(NOW + 6)
    found = await counters.read()
    assert (found["webhooks_handled|processed"], found["polls|running"]) == (4.0, 1.0)
    points = await series.read(SeriesWindow.FIVE_MINUTES, NOW + 6)
    assert sum(point.counts["polls"] for point in points) == 1


async def test_every_metric_is_shown(api: CheckedApi) -> None:
    text = (await api.get("/metrics")).body.decode()
    for name, meter in METRICS.items():
        family = f"knouds_{name}" if meter.bounds else f"knouds_{name}_total"
        assert f"# TYPE {family} {'histogram' if meter.bounds else 'counter'}" in text


# Over time.


async def test_history_shows_what_happened_in_steps(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.succeeded("s1")
    await job_factory.dead("d1")
    store.metrics.buffer.submitted("model", Finished(b"{}"))
    store.metrics.buffer.polled(CallFailure("x", http_status=429))
    for delay in (0.2, 0.3, 3.0):
        store.metrics.buffer.run_end_recorded("webhook", delay)
    await store.metrics.counters.flush(job_factory.clock.now())
    for window, step, length in (("5m", 10, 30), ("1h", 60, 60), ("24h", 300, 288)):
        points = (await api.get("/v1/stats/history", window=window)).json["points"]
        assert [len(points), points[-1]["step_s"]] == [length, step]
        sums = {
            name: sum(point[name] for point in points)
            for name in ("enqueued", "succeeded", "dead", "submits", "polls", "credits")
        }
        assert sums == {
            "enqueued": 2,
            "succeeded": 1,
            "dead": 1,
            "submits": 1,
            "polls": 1,
            "credits": 0.5,
        }
        (seen,) = [p for p in points if p["delay_p50_s"] is not None]
        assert 0.25 <= seen["delay_p50_s"] <= 0.5
        assert 2 < seen["delay_p95_s"] <= 4
        assert seen["rate_limited"] == 1


async def test_buckets_of_the_series_expire(store: Store) -> None:
    store.metrics.buffer.polled(StillRunning("x"))
    await store.metrics.counters.flush(NOW)
    fine, coarse = store.keys.series(10, int(NOW)), store.keys.series(300, int(NOW) // 300 * 300)
    assert 3_600 < await store.client.call("TTL", fine) <= 3_700
    assert 86_400 < await store.client.call("TTL", coarse) <= 87_100


async def test_an_unknown_window_is_refused(api: CheckedApi) -> None:
    reply = await api.get("/v1/stats/history", window="1y")
    assert (reply.status, reply.field) == (400, "window")
