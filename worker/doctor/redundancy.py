"""Whether replicas confirm writes and Sentinels answer: without them nothing is submitted."""

from collections.abc import Sequence
from typing import Final

from worker.doctor.findings import Finding, fail, ok, warn
from worker.engine.replica_marks import REPLICAS_FIX, WAIT_REFUSED_FIX, wait_refused_text
from worker.engine.services.redis_recovery import (
    SENTINELS_FIX,
)
from worker.redis.primary import Primary
from worker.redis.primary_choice import PrimaryChoice, SentinelAnswer
from worker.store.client import Client, ReplicaWait
from worker.store.command_check import KEPT_MS
from worker.store.keys import Keys

REPLICAS: Final = "redis.replicas"
SENTINELS: Final = "redis.sentinels"
DISAGREEMENT_FIX: Final = (
    "wait for the failover to end, else correct the Sentinel that names another server"
)


async def check_replicas(client: Client, keys: Keys, wait: ReplicaWait) -> Finding:
    """Write, and wait for as many replicas as an enqueue and a send mark do.

    Raises `redis.exceptions.RedisError`.
    """
    write = ("PSETEX", keys.command_check("text"), KEPT_MS, "1")
    _, confirming = await client.call_and_wait(write, wait)
    if refusal := client.wait_refusal:
        return fail(REPLICAS, wait_refused_text(refusal), WAIT_REFUSED_FIX)
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
    choice = PrimaryChoice(known).choose(answers, None, 0.0)
    if choice.primary is None:
        return fail(SENTINELS, f"{choice.problem}: nothing is submitted", DISAGREEMENT_FIX)
    if len(answers) < known:
        return warn(SENTINELS, f"{text} ({problem})", SENTINELS_FIX)
    if choice.problem:
        return warn(SENTINELS, choice.problem, DISAGREEMENT_FIX)
    host, port = choice.primary.address
    return ok(SENTINELS, f"{text} and name {host}:{port}")
