"""A problem that keeps every worker from submitting is named wherever an operator looks."""

from typing import Any

import pytest

from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import PageReader
from worker.clock import SystemClock
from worker.doctor.environment import judge_workers
from worker.store.workers import Heartbeat


async def _json(pages: PageReader, path: str) -> Any:
    async with pages.http.get(pages.url + path) as response:
        return await response.json()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"clock_ahead_s": 3600.0},
            (
                "the clock of a worker is wrong",
                "its clock is 3600 s ahead of that of Redis, so it sends nothing",
                "let NTP",
            ),
        ),
        (
            {"failures": {"redis_sentinels": "1 of 3 Sentinels answers"}},
            (
                "the Sentinels do not confirm the primary",
                "1 of 3 Sentinels answers",
                "start the Sentinels again",
            ),
        ),
        (
            {"failures": {"redis_wait": "Redis refuses its user WAIT"}},
            ("Redis refuses WAIT", "Redis refuses its user WAIT", "+wait"),
        ),
        (
            {"failures": {"redis_primary": "INFO is refused"}},
            (
                "Redis does not say whether it is the primary",
                "INFO is refused",
                "run `knouds-worker doctor`",
            ),
        ),
        (
            {"failures": {"poller": "ValueError", "redis_replicas": "fewer replicas"}},
            (
                "too few replicas of Redis confirm writes",
                "fewer replicas",
                "lower KNOUDS_REDIS_WAIT_REPLICAS",
            ),
        ),
    ],
)
async def test_it_is_named_with_what_to_do(
    pages: PageReader,
    job_factory: JobFactory,
    facts: dict[str, Any],
    words: tuple[str, str, str],
) -> None:
    headline, text, fix = words
    await job_factory.queued("a")
    now = SystemClock().now()
    beat = Heartbeat(id="w1", host="h", pid=1, started_at=now, seen_at=now, **facts)
    await job_factory.store.workers.record_heartbeat(beat)

    blocker = (await _json(pages, "/v1/jobs/a/why"))["blockers"][0]
    assert (blocker["kind"], blocker["text"]) == ("worker", f"worker w1: {text}")
    assert fix.lower() in blocker["action"].lower()
    (troubles,) = (await _json(pages, "/readyz"))["troubles"].values()
    (worker,) = (await _json(pages, "/v1/stats"))["workers"]
    assert troubles == worker["failures"]
    assert any(f"{text}: " in line and fix in line for line in troubles.values())
    overview = (await pages.get("/")).text
    assert f"{headline}" in overview
    assert "drained or stopping" not in overview
    findings = judge_workers([beat], now, 10.0, 1)
    assert [one.fix for one in findings if text in one.text and one.level == "fail"]


def _beat(name: str, now: float, **facts: Any) -> Heartbeat:
    return Heartbeat(id=name, host="h", pid=1, started_at=now, seen_at=now, **facts)


async def test_it_is_no_reason_to_wait_while_another_worker_submits(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued("a")
    now = SystemClock().now()
    workers = job_factory.store.workers
    await workers.record_heartbeat(_beat("w1", now, clock_ahead_s=3600.0))
    await workers.record_heartbeat(_beat("w2", now))
    blockers = (await _json(pages, "/v1/jobs/a/why"))["blockers"]
    assert [one["kind"] for one in blockers] == ["line"]
    assert "the clock of a worker is wrong" in (await pages.get("/")).text
