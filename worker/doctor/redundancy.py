"""Whether replicas confirm writes and Sentinels answer: without them nothing is submitted."""

from collections.abc import Sequence
from typing import Final

from worker.doctor.findings import Finding, fail, ok, warn
from worker.engine.services.redis_recovery import REPLICAS_FIX, SENTINELS_FIX
from worker.redis.primary import Primary
from worker.redis.sentinels import SentinelAnswer
from worker.store.client import Client, ReplicaWait
from worker.store.command_check import KEPT_MS
from worker.store.keys import Keys

REPLICAS: Final = "redis.replicas"
SENTINELS: Final = "redis.sentinels"


async def check_replicas(client: Client, keys: Keys, wait: ReplicaWait) -> Finding:
    """Write, and wait for as many replicas as an enqueue and a send mark do.

    Raises `redis.exceptions.RedisError`.
    """
    write = ("PSETEX", keys.command_check("text"), KEPT_MS, "1")
    _, confirming = await client.call_and_wait(write, wait)
    return judge_replicas(confirming, wait)


def judge_replicas(confirming: int, wait: ReplicaWait) -> Finding:
    """Judge how many replicas have confirmed a write in time."""
    text = f"{confirming} of {wait.replicas} replicas confirm a write within {wait.timeout_ms} ms"
    if confirming >= wait.replicas:
        return ok(REPLICAS, text)
    return fail(REPLICAS, f"{text}: nothing is submitted", REPLICAS_FIX)


async def check_sentinels(primary: Primary) -> list[Finding]:
    """Ask the Sentinels; no finding where there are none."""
    if primary.sentinels is None:
        return []
    answers = await primary.sentinels.ask()
    known, needed = len(primary.sentinels.clients), primary.sentinels.needed
    return [judge_sentinels(answers, known, needed, primary.sentinels.problem)]


def judge_sentinels(
    answers: Sequence[SentinelAnswer], known: int, needed: int, problem: str
) -> Finding:
    """Judge the answers of `known` Sentinels; `problem`: why the last of the others gave none."""
    verb = "answers" if len(answers) == 1 else "answer"
    text = f"{len(answers)} of {known} Sentinels {verb}"
    if len(answers) < needed:
        text += f", {needed} needed: nothing is submitted ({problem})"
        return fail(SENTINELS, text, SENTINELS_FIX)
    if len(answers) < known:
        return warn(SENTINELS, f"{text} ({problem})", SENTINELS_FIX)
    named = sorted({f"{host}:{port}" for host, port in (one.address for one in answers)})
    if len(named) > 1:
        text += f", and name different primaries: {', '.join(named)}"
        return warn(SENTINELS, text, "wait for the failover to end, else correct their settings")
    return ok(SENTINELS, f"{text} and name {named[0]}")
