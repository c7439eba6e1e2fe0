"""Reads the workflows of each account and what they take, so that an enqueue can be compared.

Rarely, one worker at a time under a lease, and only the schemas of workflows that jobs were
enqueued for. A refusal postpones the next read and changes nothing for jobs: then nothing is known.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from jobs.lanes import Scope
from jobs.outcomes import CallFailure
from jobs.workflows import NO_SCHEMA, WorkflowList, WorkflowSchema
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.provider.port import UnknownAccount
from worker.store.workflows import FACTS_MAX_AGE_S, AccountWorkflows, ListState

log: Final = structlog.get_logger(__name__)

FIRST_WAIT_S: Final = 5.0
"""A worker that starts has more urgent calls to make."""

TICK_S: Final = 15.0
LEASE_S: Final = 60.0

LIST_AGE_S: Final = 600.0
"""A list is read again when it is so old."""

NEW_SLUG_AGE_S: Final = 60.0
"""And when it is so old, and a job was enqueued since for a slug that is not in it."""

SCHEMA_AGE_S: Final = 3_600.0
"""A schema is read again when it is so old."""

SCHEMAS_PER_TICK: Final = 5

RATE_LIMITED_WAIT_S: Final = 60.0
"""After a 429 that names no time."""

FAILED_WAIT_S: Final = 120.0
REFUSED_WAIT_S: Final = 3_600.0
"""After a 401 or 403: the key has no right to read workflows, as most presets do not."""

_NOT_FOUND: Final = 404
_TOO_MANY_REQUESTS: Final = 429


class WorkflowPort(Protocol):
    """What the reader needs of a provider."""

    async def workflows(self, account: str) -> WorkflowList | CallFailure:
        """Return the account's workflows."""
        ...

    async def workflow_schema(self, account: str, slug: str) -> WorkflowSchema | CallFailure:
        """Return what a workflow takes."""
        ...


class WorkflowReader:
    """Keeps the workflows of the accounts that this worker has API keys for."""

    name = "workflow_reader"

    def __init__(self, context: WorkerContext, provider: WorkflowPort) -> None:
        self._context = context
        self._store = context.store
        self._clock = context.clock
        self._provider = provider
        self._has_started = False
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Read what is due; returns the seconds until the next tick. The first one only waits."""
        if not self._has_started:
            self._has_started = True
            return FIRST_WAIT_S
        on_record = await self._store.workflows.on_record(self._context.accounts)
        for account, found in on_record.items():
            if not (_is_list_due(found, now) or _due_schemas(found, now)):
                continue
            if await self._may_read(account, now):
                await self._read(account, found)
        return TICK_S

    async def _may_read(self, account: str, now: float) -> bool:
        gates = await self._store.holds.gates()
        if gates.running_cool_down([Scope(account)], now) is not None:
            return False
        return await self._store.workflows.claim(account, self._context.worker_id, LEASE_S)

    async def _read(self, account: str, found: AccountWorkflows) -> None:
        failure = await self._read_all(account, found)
        if failure is None:
            return
        now, why, wait_s = self._clock.now(), failure.logged_why, _wait_s(failure)
        state = ListState(found.state.read_at, found.state.complete, now + wait_s, why)
        await self._store.workflows.postpone(account, state)
        write = log.info if why == found.state.why else log.warning
        write("workflows.not_read", account=account, why=why, retry_in_s=wait_s)

    async def _read_all(self, account: str, found: AccountWorkflows) -> CallFailure | None:
        """Read the list if it is due, then some schemas; returns what was refused."""
        now, slugs = self._clock.now(), _due_schemas(found, self._clock.now())
        if _is_list_due(found, now):
            listed = await self._ask_list(account)
            if isinstance(listed, CallFailure):
                return listed
            await self._store.workflows.write_list(account, listed, self._clock.now())
            await self._store.workflows.forget_unused(now)
            names = {one.slug for one in listed.workflows}
            slugs = _due_schemas(found, now, names if listed.is_complete else None)
        for slug in slugs[:SCHEMAS_PER_TICK]:
            schema = await self._ask_schema(account, slug)
            if isinstance(schema, CallFailure):
                if schema.http_status != _NOT_FOUND or schema.is_page:
                    return schema
                schema = NO_SCHEMA  # it is gone, or no workflow of this account
            await self._store.workflows.write_schema(account, slug, schema, self._clock.now())
        return None

    async def _ask_list(self, account: str) -> WorkflowList | CallFailure:
        try:
            return await self._provider.workflows(account)
        except UnknownAccount as error:
            return CallFailure(str(error), 401)

    async def _ask_schema(self, account: str, slug: str) -> WorkflowSchema | CallFailure:
        try:
            return await self._provider.workflow_schema(account, slug)
        except UnknownAccount as error:
            return CallFailure(str(error), 401)


def _is_list_due(found: AccountWorkflows, now: float) -> bool:
    """Whether it is old, or a job was enqueued since for a workflow that may be new."""
    state = found.state
    if now < state.not_before:
        return False
    if state.read_at is None or not 0 <= now - state.read_at < LIST_AGE_S:
        return True
    new = [at for slug, at in found.used.items() if slug not in found.listed]
    is_newer = max(new, default=0.0) > state.read_at
    return state.complete and is_newer and now - state.read_at >= NEW_SLUG_AGE_S


def _due_schemas(found: AccountWorkflows, now: float, listed: set[str] | None = None) -> list[str]:
    """Slugs whose schema has to be read, the one used last first.

    `listed`: the slugs of the complete list that was just read.
    """
    state = found.state
    if now < state.not_before:
        return []
    known: Mapping[str, float] = found.schemas_read_at
    names = listed if listed is not None else found.listed
    is_complete = listed is not None or (state.read_at is not None and state.complete)
    due = [
        slug
        for slug, at in found.used.items()
        if at > now - FACTS_MAX_AGE_S
        and (slug in names or not is_complete)
        and (slug not in known or not 0 <= now - known[slug] < SCHEMA_AGE_S)
    ]
    return sorted(due, key=lambda slug: -found.used[slug])


def _wait_s(failure: CallFailure) -> float:
    """Seconds until the provider is asked again."""
    if failure.http_status == _TOO_MANY_REQUESTS:
        wait_s = failure.retry_after_s
        return RATE_LIMITED_WAIT_S if wait_s is None else wait_s
    if failure.is_refused:
        return REFUSED_WAIT_S
    return max(FAILED_WAIT_S, failure.retry_after_s or 0.0)
