"""What a process does with the answers of Sentinels: which server it uses, and what it logs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from arq import ArqRedis
from redis.asyncio.sentinel import MasterNotFoundError
from structlog.testing import capture_logs

from config.settings import Settings
from worker.redis.connect import connect
from worker.redis.primary import Primary
from worker.redis.primary_choice import SETTLED_AFTER_S, SentinelAnswer
from worker.redis.sentinels import STRAGGLER_S, SentinelClients

A, B = ("a", 6379), ("b", 6379)
NAMES = ("s1", "s2", "s3")
OLD = tuple(SentinelAnswer(A, 1, name) for name in NAMES)
NEW = tuple(SentinelAnswer(B, 2, name) for name in NAMES)
AGAIN = tuple(SentinelAnswer(A, 0, name) for name in NAMES)
STRANGER = SentinelAnswer(B, 1, "s1")


@dataclass
class AskedSentinels:
    """Three Sentinels that give the answers of a test, and the primary that they name."""

    answers: Sequence[SentinelAnswer] = OLD
    now: float = 0.0
    primary: Primary = field(init=False)

    def __post_init__(self) -> None:
        self.primary = Primary(monotonic=lambda: self.now)
        clients = [connect(Settings(), "redis://127.0.0.1:1")] * len(NAMES)
        self.primary.sentinels = SentinelClients(clients, "main")

    async def check(self, answers: Sequence[SentinelAnswer], after_s: float = 0.7) -> None:
        self.now += after_s
        self.answers = answers
        await self.primary.check_sentinels()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> AskedSentinels:
    asked = AskedSentinels()

    async def ask(_: SentinelClients) -> list[SentinelAnswer]:
        return list(asked.answers)

    monkeypatch.setattr(SentinelClients, "ask", ask)
    return asked


async def test_a_single_wrong_sentinel_moves_nobody(asked: AskedSentinels) -> None:
    await asked.check(OLD)
    for answers in ((STRANGER, *OLD[1:]), OLD, (STRANGER, OLD[1])):
        await asked.check(answers)
        assert await asked.primary.locate() == A
        assert asked.primary.generation == 0
    assert asked.primary.is_confirmed, "of a moment ago"
    await asked.check((STRANGER, OLD[1]))
    assert not asked.primary.is_confirmed, "one of two names it"


async def test_a_failover_begins_a_generation_once_most_name_it(asked: AskedSentinels) -> None:
    await asked.check(OLD)
    await asked.check((NEW[0], *OLD[1:]), after_s=1.1)
    assert (asked.primary.generation, asked.primary.is_confirmed) == (0, False)
    await asked.check((*NEW[:2], OLD[2]))
    assert (asked.primary.generation, asked.primary.is_confirmed) == (1, True)
    assert await asked.primary.locate() == B


async def test_sentinels_that_are_set_up_again_for_the_same_server_begin_none(
    asked: AskedSentinels,
) -> None:
    await asked.check(OLD)
    for _ in range(2):
        await asked.check(AGAIN, after_s=SETTLED_AFTER_S + 0.1)
        assert (asked.primary.generation, asked.primary.is_confirmed) == (0, True)
    await asked.check(NEW[:2])
    assert asked.primary.generation == 1


async def test_nothing_is_chosen_at_first_where_they_disagree(asked: AskedSentinels) -> None:
    asked.answers = (STRANGER, OLD[1])
    with pytest.raises(MasterNotFoundError) as error:
        await asked.primary.locate()
    assert "s1 names b:6379, epoch 1; s2 names a:6379, epoch 1; none is used" in str(error.value)
    assert str(error.value).endswith("('main' is not known)"), "why the third gave no answer"
    asked.answers = (STRANGER, *OLD[1:])
    assert await asked.primary.locate() == A
    assert not asked.primary.problem.endswith("is not known)"), "all have answered"


async def test_a_disagreement_is_logged_once(asked: AskedSentinels) -> None:
    with capture_logs() as logs:
        for answers in (OLD, (STRANGER, *OLD[1:]), OLD, (STRANGER, *OLD[1:])):
            await asked.check(answers)
    (line,) = logs
    assert line["event"] == "redis.sentinels_unclear"
    assert "s1 names b:6379" in line["why"]


async def test_those_that_disagree_wait_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow one decides between two; once most agree, a slow one is left out."""
    clients = [connect(Settings(), f"redis://127.0.0.1:{port}") for port in (1, 2, 3)]
    sentinels = SentinelClients(clients, "main")
    given = dict(zip(clients, (STRANGER, *OLD[1:]), strict=True))

    async def ask_one(_: SentinelClients, client: ArqRedis) -> SentinelAnswer | None:
        if client is clients[2]:
            await asyncio.sleep(4 * STRAGGLER_S)
        return given[client]

    monkeypatch.setattr(SentinelClients, "_ask_one", ask_one)
    assert len(await sentinels.ask()) == len(NAMES)
    given[clients[0]] = OLD[0]
    assert len(await sentinels.ask()) == 2
