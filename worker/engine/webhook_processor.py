"""Works on what the provider delivered: each delivery is a look at a run that somebody else took.

The API only stores them. Here the job of each is found, and told what a poll would have told it.
A claim is a lease: those of a worker that died come due again. A delivery without a job waits a
while, since it may have overtaken the submit's answer, and is then kept as evidence for people.
"""

import asyncio
from typing import Final, Protocol

import msgspec
import structlog
from msgspec import Raw
from redis.exceptions import RedisError

from jobs import transitions
from jobs.effects import Looks
from jobs.indexes import is_watched
from jobs.outcomes import PollAnswer
from jobs.webhooks import next_look
from worker.engine.poison_guard import Isolation
from worker.engine.wakeups import Bell
from worker.engine.webhook_policy import Reliance
from worker.provider.knouds import fields
from worker.provider.knouds.wire import read_webhook
from worker.store import Store
from worker.store.commit import Stored
from worker.store.webhooks import Arrival, Orphan, Post

log: Final = structlog.get_logger(__name__)

BATCH: Final = 100
LOOK_S: Final = 1.0
"""Longest pause between looks into the inbox: the channel that rings may be deaf."""

FORGET_S: Final = 60.0

TARGETS_MOST: Final = 50
"""Models that are kept of one run."""


class TakesLooks(Protocol):
    """What a look at a run is brought to."""

    async def take(self, stored: Stored, answer: PollAnswer, looks: Looks) -> Stored | None:
        """Write what a look showed, whoever looked; returns the job if that moved it on."""
        ...


class Deliveries:
    """Brings deliveries to their jobs."""

    name = "deliveries"

    def __init__(
        self,
        *,
        store: Store,
        looks: TakesLooks,
        isolation: Isolation,
        reliance: Reliance,
        bell: Bell,
        poller_bell: Bell,
        lease_s: float,
    ) -> None:
        self._store = store
        self._looks = looks
        self._isolation = isolation
        self._reliance = reliance
        self.bell = bell
        self._poller_bell = poller_bell
        self._lease_s = lease_s
        self._forget_at = 0.0

    async def tick(self, now: float) -> float:
        """Claim what came and bring it home."""
        posts = await self._store.webhooks.claim(now, now + self._lease_s, BATCH)
        if posts:
            await self._work(posts, now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_S
            await self._store.webhooks.forget_orphans(now)
        return 0.0 if len(posts) == BATCH else LOOK_S

    async def _work(self, posts: list[Post], now: float) -> None:
        wanted = list({job_id for post in posts for job_id in post.jobs})
        found = dict(zip(wanted, await self._store.jobs.load_many(wanted), strict=True))
        works = [
            self._bring_home(post, [stored for i in post.jobs if (stored := found[i])], now)
            for post in posts
        ]
        for outcome in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(outcome, RedisError | OSError):
                log.warning("delivery.interrupted", error=type(outcome).__name__)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _bring_home(self, post: Post, jobs: list[Stored], now: float) -> None:
        if post.ended:
            self._store.tally.handled("known")
            await self._store.webhooks.finish(post)
        elif not post.jobs or any(_doubts(stored, post) for stored in jobs):
            await self._keep(post, now)
        else:
            await self._tell(post, [stored for stored in jobs if _awaits(stored, post)], now)

    async def _tell(self, post: Post, jobs: list[Stored], now: float) -> None:
        """Tell the jobs how their run ended; what tells of no end is worth a poll."""
        events = [read_webhook(arrival.body) for arrival in post.arrivals]
        answers = [event.answer for event in events if event and event.answer]
        if jobs and not answers:
            await self._drop(post, jobs, now)
            return
        for stored in jobs:
            self._reliance.came(stored.job.account)
            for answer in answers:
                if not await self._take(stored, answer, now):
                    return
        if jobs:
            self._store.tally.found_ended("webhook", now - post.arrivals[0].received_at)
        self._store.tally.handled("told" if jobs else "known")
        await self._store.webhooks.finish(post)

    async def _drop(self, post: Post, jobs: list[Stored], now: float) -> None:
        if post.arrivals:
            await self._store.jobs.poll_now([stored.job.id for stored in jobs], now)
            self._poller_bell.ring()
        self._store.tally.handled("useless")
        await self._store.webhooks.drop(post)

    async def _take(self, stored: Stored, answer: PollAnswer, now: float) -> bool:
        """Whether the job was told; where our own code raised, it comes due again."""
        try:
            await self._looks.take(stored, answer, await self._polls(stored, now))
        except (RedisError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._isolation.strike(stored.job.id, error)
            return False
        return True

    async def _polls(self, stored: Stored, now: float) -> Looks:
        """What polls saw so far, less one: whoever decides adds the present look, which is none."""
        first = stored.job.next_poll_at
        polled = first is None or now >= first
        looks = await self._store.jobs.looks(stored.job) if polled else Looks()
        return Looks(looks.polls - 1, looks.troubles, looks.missing)

    async def _keep(self, post: Post, now: float) -> None:
        """Keep what belongs to no job."""
        if not post.arrivals:  # it ran out of time, or a person gave it to a job that is gone
            await self._store.webhooks.drop(post)
            return
        first, last = post.arrivals[0], post.arrivals[-1]
        orphan = _orphan(post.execution_id, last, first.received_at)
        again_at = next_look(last.received_at, now)
        await self._store.webhooks.keep(orphan, post, again_at)
        if again_at is None:
            self._store.tally.handled("orphaned")
            log.info("delivery.orphaned", execution_id=post.execution_id, delivered=last.event)


def _awaits(stored: Stored, post: Post) -> bool:
    return is_watched(stored.job) and stored.job.execution_id == post.execution_id


def _doubts(stored: Stored, post: Post) -> bool:
    """Whether a person has to say what became of this very run."""
    job = stored.job
    return job.parked_as == transitions.UNCERTAIN and job.execution_id == post.execution_id


class _Subject(msgspec.Struct, frozen=True, rename="camel"):
    """What a delivery says of its run beside its end; each member read by itself, tolerantly."""

    workflow_slug: Raw = Raw()
    model_ids: Raw = Raw()
    status: Raw = Raw()
    cost: Raw = Raw()


_subject: Final = msgspec.json.Decoder(_Subject)


def _orphan(execution_id: str, arrival: Arrival, received_at: float) -> Orphan:
    try:
        told = _subject.decode(arrival.body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        told = _Subject()
    slug = fields.read_id(told.workflow_slug)
    models = fields.read_texts(told.model_ids) or ()
    targets = [f"workflow/{slug}"] if slug else [f"model/{name}" for name in models]
    return Orphan(
        execution_id=execution_id,
        event=arrival.event,
        received_at=received_at,
        targets=tuple(targets[:TARGETS_MOST]),
        status=fields.read_code(told.status),
        cost=fields.read_number(told.cost),
    )
