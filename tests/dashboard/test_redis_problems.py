"""A Redis that refuses is named first wherever an operator looks, and no worker is taken for gone.

Workers that live cannot write their heartbeats then.
"""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from rich.console import Console, Group

from config.settings import Settings
from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import PageReader
from tests.refusing_redis import RefusingRedis, refused
from tests.refusing_redis import server as server  # noqa: PLC0414
from worker.cli.live_stats import ChangeLines
from worker.cli.tables import stats_tables
from worker.clock import SystemClock
from worker.doctor.probes import check_workers
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.store.workers import Heartbeat


@pytest.fixture
async def store(server: RefusingRedis, namespace: str) -> AsyncGenerator[Store]:
    """The store of the API, under the user that is refused."""
    client = connect(Settings(namespace=namespace), server.url, fail_fast=True)
    yield open_store(client, namespace)
    await client.aclose(close_connection_pool=True)


async def _json(pages: PageReader, path: str) -> Any:
    async with pages.http.get(pages.url + path) as response:
        return await response.json()


async def _text(pages: PageReader, path: str) -> str:
    async with pages.http.get(pages.url + path) as response:
        return await response.text()


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        ("noreplicas", "Redis has fewer replicas than min-replicas", "bring its replicas back"),
        ("oom", "Redis has used all of its maxmemory (OOM)", "raise maxmemory"),
        ("no right to run scripts", "EVALSHA (NOPERM)", "+evalsha"),
    ],
)
async def test_it_is_named_first_with_what_to_do(  # noqa: PLR0917
    server: RefusingRedis,
    redis_url: str,
    pages: PageReader,
    job_factory: JobFactory,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    fix: str,
) -> None:
    await job_factory.queued("a")
    store, now = job_factory.store, SystemClock().now()
    beat = Heartbeat(id="w1", host="h", pid=1, started_at=now - 120, seen_at=now - 60)
    await store.workers.record_heartbeat(beat)

    async with refused(server, name, redis_url):
        overview = (await pages.get("/")).text
        assert "needs your attention: Redis " in overview
        assert text in overview
        assert fix in overview.lower()
        assert "o worker is running" not in overview

        blockers = (await _json(pages, "/v1/jobs/a/why"))["blockers"]
        assert [one["kind"] for one in blockers] == ["redis", "line"]
        assert text in blockers[0]["text"]
        assert fix in blockers[0]["action"].lower()

        stats = await _json(pages, "/v1/stats")
        (refusal,) = stats["redis_refuses"]
        assert (refusal["text"], refusal["action"]) == (blockers[0]["text"], blockers[0]["action"])
        console = Console(width=300)
        console.print(Group(*stats_tables(stats)))
        ChangeLines().show_stats("", stats)
        shown = capsys.readouterr().out
        assert shown.startswith(refusal["text"])
        assert shown.count(refusal["action"]) == 2
        assert "workers not known" in shown
        assert "0 workers" not in shown

        metrics = await _text(pages, "/metrics")
        assert "knouds_redis_up 1.0" in metrics
        assert "knouds_redis_ready 0.0" in metrics

        (finding,) = await check_workers(store, Settings(), now)
        assert finding.level == "warn"
        assert text in finding.text
        assert fix in finding.fix.lower()


async def test_a_redis_that_refuses_nothing_hides_no_worker_that_is_gone(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued("a")
    assert "No worker is running, and 1 job waits for one" in (await pages.get("/")).text
    assert (await _json(pages, "/v1/stats"))["redis_refuses"] == []
    assert "knouds_redis_ready 1.0" in await _text(pages, "/metrics")
