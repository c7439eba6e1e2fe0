"""Problems of a worker that are no error of a service: what each is called, and what to do.

A heartbeat names them in its `failures`, with a text for the operator, beside the services that are
being restarted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from jobs.why import Blocker
from worker.engine.clock_follower import CLOCK, NTP, clock_text
from worker.engine.eviction import EVICTION, EVICTION_FIX
from worker.engine.replica_marks import REPLICAS, REPLICAS_FIX, WAIT_REFUSED, WAIT_REFUSED_FIX
from worker.engine.services.redis_recovery import (
    EMPTIED,
    EMPTIED_FIX,
    PRIMARY,
    PRIMARY_FIX,
    RECOVERING,
    RECOVERING_FIX,
    SENTINELS,
    SENTINELS_FIX,
)
from worker.store.payload_keys import LACKING, LACKING_FIX
from worker.store.refusals import RedisRefusal
from worker.store.workers import Heartbeat


@dataclass(frozen=True, slots=True)
class WorkerProblem:
    """A problem of a worker, in words."""

    name: str
    text: str
    headline: str
    """A few words for a list of problems."""
    fix: str
    """What to do."""
    stops_submits: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    headline: str
    fix: str
    stops_submits: bool = True


_KNOWN: Final = MappingProxyType(
    {
        CLOCK: _Known("the clock of a worker is wrong", NTP),
        SENTINELS: _Known("the Sentinels do not confirm the primary", SENTINELS_FIX),
        PRIMARY: _Known("Redis does not say whether it is the primary", PRIMARY_FIX),
        WAIT_REFUSED: _Known("Redis refuses WAIT", WAIT_REFUSED_FIX),
        REPLICAS: _Known("too few replicas of Redis confirm writes", REPLICAS_FIX),
        RECOVERING: _Known("Redis came back with other data", RECOVERING_FIX),
        LACKING: _Known("a worker lacks a key of payloads", LACKING_FIX),
        EVICTION: _Known("Redis evicts keys", EVICTION_FIX, stops_submits=False),
        EMPTIED: _Known("Redis lost its data", EMPTIED_FIX, stops_submits=False),
    }
)


def worker_problems(beat: Heartbeat) -> list[WorkerProblem]:
    """The problems that a heartbeat names, those first that stop submits; no failing services."""
    texts = dict(beat.failures)
    if beat.is_clock_off:
        texts[CLOCK] = clock_text(beat.clock_ahead_s)
    return [
        WorkerProblem(name, texts[name], known.headline, known.fix, known.stops_submits)
        for name, known in _KNOWN.items()
        if name in texts
    ]


def failing_services(beat: Heartbeat) -> dict[str, str]:
    """The services that are being restarted, with the class of the last error."""
    return {name: error for name, error in beat.failures.items() if name not in _KNOWN}


def described_failures(beat: Heartbeat) -> dict[str, str]:
    """What a heartbeat names in `failures`: a known problem with what to do, in one line."""
    fixes = {one.name: f"{one.text}: {one.fix}" for one in worker_problems(beat)}
    return beat.failures | fixes


def submit_blocker(workers: Sequence[Heartbeat]) -> Blocker | None:
    """What keeps every one of these workers from submitting; None if one of them submits."""
    stopped = [
        (beat, next((one for one in worker_problems(beat) if one.stops_submits), None))
        for beat in workers
    ]
    if not stopped or any(problem is None for _, problem in stopped):
        return None
    beat, problem = stopped[0]
    if problem is None:
        return None
    others = f" (one of {len(stopped)} that all submit nothing)" if len(stopped) > 1 else ""
    return Blocker("worker", f"worker {beat.id}{others}: {problem.text}", capitalized(problem.fix))


def redis_blocker(problems: Sequence[RedisRefusal]) -> Blocker | None:
    """What keeps every job from going on while Redis refuses; None while it refuses nothing."""
    if not problems:
        return None
    return Blocker("redis", refusal_text(problems[0]), capitalized(problems[0].fix))


def refusal_text(problem: RedisRefusal) -> str:
    """What Redis refuses, and what follows from that."""
    return f"{problem.reason}: until that ends, jobs and heartbeats of workers may stand still"


def capitalized(fix: str) -> str:
    """What to do, as a sentence."""
    return fix[:1].upper() + fix[1:]
