"""As which user an account's submits are sent: asked once, and known before the first of them."""

import asyncio

from jobs.evidence.records import SentAs
from jobs.outcomes import CallFailure
from tests.simulation.manual_clock import ManualClock
from worker.engine.account_identities import ASK_AGAIN_S, AccountIdentities
from worker.provider.port import Identity


class SlowProvider:
    """Answers `whoami` when the test says so."""

    def __init__(self) -> None:
        self.questions = 0
        self.answer: asyncio.Future[Identity | CallFailure] = asyncio.Future()

    async def whoami(self, account: str) -> Identity | CallFailure:
        assert account == "default"
        self.questions += 1
        return await asyncio.shield(self.answer)


def identities(provider: SlowProvider, clock: ManualClock) -> AccountIdentities:
    return AccountIdentities(provider, clock, "https://knouds.ai/")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_every_submit_waits_for_the_first_answer() -> None:
    """Fifty submits at the start of a worker: all of them are sent as a known user."""
    provider, clock = SlowProvider(), ManualClock()
    known = identities(provider, clock)
    waiting = [asyncio.create_task(known.prepare("default")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    provider.answer.set_result(Identity(user_id="u_1"))
    await asyncio.gather(*waiting)
    assert provider.questions == 1
    assert known.sent_as("default") == SentAs("https://knouds.ai", "u_1")


async def test_without_an_answer_submits_go_on_and_it_is_asked_again_later() -> None:
    provider, clock = SlowProvider(), ManualClock()
    provider.answer.set_result(CallFailure("HTTP 502", 502))
    known = identities(provider, clock)
    await known.prepare("default")
    await known.prepare("default")
    assert (provider.questions, known.user_id("default")) == (1, None)
    provider.answer = asyncio.Future()
    provider.answer.set_result(Identity(user_id="u_1"))
    clock.pass_time(ASK_AGAIN_S)
    await known.prepare("default")
    for _ in range(3):
        await asyncio.sleep(0)
    await known.close()
    assert (provider.questions, known.user_id("default")) == (2, "u_1")
