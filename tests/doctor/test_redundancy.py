"""What the doctor says of replicas and Sentinels: a real write waits, and each is asked."""

from collections.abc import Sequence
from typing import Any

import pytest
from arq import ArqRedis

from config.settings import Settings
from worker.clock import RedisClock
from worker.doctor.findings import Finding, Level
from worker.doctor.probes import check_all
from worker.doctor.redundancy import judge_replicas, judge_sentinels
from worker.redis.primary_choice import SentinelAnswer
from worker.store import open_store
from worker.store.client import ReplicaWait

A, B, C = (SentinelAnswer((host, 1), 3, f"s{n}") for n, host in enumerate("abc", 1))


async def _redis_findings(redis: ArqRedis, settings: Settings) -> list[Finding]:
    store = open_store(redis, settings.namespace)
    return [one async for group in check_all(store, settings, RedisClock(), None) for one in group]


async def test_a_server_without_the_replicas_that_are_waited_for_fails(
    redis: ArqRedis, namespace: str
) -> None:
    facts: dict[str, Any] = {"namespace": namespace, "redis_wait_ms": 20}
    found = await _redis_findings(redis, Settings(redis_wait_replicas=1, **facts))
    (finding,) = (one for one in found if one.name == "redis.replicas")
    assert finding.level is Level.FAIL
    assert finding.text.startswith("0 of 1 replicas confirm a write within 20 ms")
    assert "KNOUDS_REDIS_WAIT_REPLICAS" in finding.fix
    without = await _redis_findings(redis, Settings(**facts))
    assert not [one for one in without if one.name == "redis.replicas"]


def test_as_many_replicas_as_are_waited_for_are_enough() -> None:
    assert judge_replicas(2, ReplicaWait(2, 100)).level is Level.OK
    assert judge_replicas(1, ReplicaWait(2, 100)).level is Level.FAIL


@pytest.mark.parametrize(
    ("answers", "level", "words"),
    [
        ([A, A, A], Level.OK, "3 of 3 Sentinels answer and name a:1"),
        ([A, A], Level.WARN, "2 of 3 Sentinels answer (refused)"),
        ([A], Level.FAIL, "1 of 3 Sentinels answers, 2 needed: nothing is submitted (refused)"),
        ([A, B, A], Level.WARN, "s1 names a:1, epoch 3; s2 names b:1, epoch 3"),
        ([A, B], Level.FAIL, "none is used): nothing is submitted"),
        ([A, B, C], Level.FAIL, "none is used): nothing is submitted"),
    ],
)
def test_sentinels_are_judged_by_their_answers(
    answers: Sequence[SentinelAnswer], level: Level, words: str
) -> None:
    found = judge_sentinels(answers, 3, 2, "refused")
    assert (found.level, words in found.text) == (level, True)
    assert bool(found.fix) is (level is not Level.OK)
