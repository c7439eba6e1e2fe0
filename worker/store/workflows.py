"""The workflows of each account and what they take, as the provider listed them, with their age.

Workers write them, since only they have API keys; the API reads them. They are kept without live
workers, and count as unknown once they are older than `FACTS_MAX_AGE_S`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from jobs.lanes import Lane
from jobs.states import Kind
from jobs.workflows import NO_SCHEMA, InputField, Workflow, WorkflowList, WorkflowSchema
from worker.store.client import Client, Command, numbers, pairs, texts
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.leases import claim_lease

FACTS_MAX_AGE_S: Final = 86_400.0
"""Facts that are older count as unknown."""

RETENTION_S: Final = 2 * 86_400
"""Redis removes what no worker has written for so long."""

MAX_USED: Final = 500
"""Workflows that jobs were enqueued for, of all accounts, the newest: their schemas are read."""

MAX_SCHEMA_BYTES: Final = 16_384
"""A schema that is larger is kept without its fields, so it says nothing."""

MAX_SCHEMAS: Final = 500
"""Schemas that are kept of an account."""

LIST_STATE: Final = ""
"""The field of the list's own state, beside those of the slugs."""


class ListState(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a list was read, and when it may be asked for again."""

    read_at: float | None = None
    """Unix seconds; None: it never was."""
    complete: bool = False
    not_before: float = 0.0
    """After a refusal: nothing of the account is read before."""
    why: str = ""
    """What was refused last; empty after a read."""


NEVER_READ: Final = ListState()


class StoredSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a workflow takes, and when that was read (Unix seconds)."""

    read_at: float
    complete: bool = False
    fields: tuple[InputField, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowFacts:
    """What is known of one workflow. Nothing of it is older than `FACTS_MAX_AGE_S`."""

    list_read_at: float | None = None
    """When the account's complete list was read; None: there is none, so absence says nothing."""
    workflow: Workflow | None = None
    """Its entry in the list; None if it has none, or that is unknown."""
    schema: WorkflowSchema = NO_SCHEMA


NO_FACTS: Final = WorkflowFacts()


@dataclass(frozen=True, slots=True)
class AccountWorkflows:
    """What is on record of an account, for what is read next."""

    state: ListState = NEVER_READ
    used: Mapping[str, float] = field(default_factory=dict[str, float])
    """Slugs that jobs were enqueued for → when, Unix seconds."""
    listed: frozenset[str] = frozenset()
    """Those of them that are in the list."""
    schemas_read_at: Mapping[str, float] = field(default_factory=dict[str, float])
    """Those of them whose schema is on record → when it was read."""


_T = TypeVar("_T")

_state: Final = msgspec.json.Decoder(ListState)
_workflow: Final = msgspec.json.Decoder(Workflow)
_schema: Final = msgspec.json.Decoder(StoredSchema)


class WorkflowStore:
    """The workflows of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    # For workers.

    async def claim(self, account: str, worker_id: str, lease_s: float) -> bool:
        """Whether this worker reads the workflows of an account for the next `lease_s` seconds."""
        return await claim_lease(
            self._client, self._keys.workflows_lease(account), worker_id, lease_s
        )

    async def on_record(self, accounts: Sequence[str]) -> dict[str, AccountWorkflows]:
        """What is on record of some accounts, in two round trips at most."""
        keys = self._keys
        commands: list[Command] = [
            ("ZRANGE", keys.used_workflows, 0, MAX_USED - 1, "REV", "WITHSCORES"),
            *(("HGET", keys.workflows(account), LIST_STATE) for account in accounts),
        ]
        rows, *states = await self._client.many(commands)
        used: dict[str, dict[str, float]] = {account: {} for account in accounts}
        for name, at in pairs(rows):
            account, _, slug = name.partition("/")
            if account in used:
                used[account][slug] = at
        reads: list[Command] = [
            command
            for account, slugs in used.items()
            if slugs
            for command in (
                ("HMGET", keys.workflows(account), *slugs),
                ("HMGET", keys.workflow_schemas(account), *map(_read_at_field, slugs)),
            )
        ]
        found = iter(await self._client.many(reads))
        answer: dict[str, AccountWorkflows] = {}
        for (account, slugs), state in zip(used.items(), states, strict=True):
            listed: list[bytes | None] = next(found) if slugs else []
            times: list[bytes | None] = next(found) if slugs else []
            known = {slug.encode(): at for slug, at in zip(slugs, times, strict=True) if at}
            answer[account] = AccountWorkflows(
                _decode(_state, state) or NEVER_READ,
                slugs,
                frozenset(slug for slug, one in zip(slugs, listed, strict=True) if one),
                numbers(known),
            )
        return answer

    async def write_list(self, account: str, found: WorkflowList, now: float) -> None:
        """Replace the list of an account."""
        key = self._keys.workflows(account)
        state = ListState(read_at=now, complete=found.is_complete)
        fields: list[str | bytes] = [LIST_STATE, encode(state)]
        for one in found.workflows:
            fields += [one.slug, encode(one)]
        await self._write([("DEL", key), ("HSET", key, *fields), ("EXPIRE", key, RETENTION_S)])

    async def postpone(self, account: str, state: ListState) -> None:
        """Keep why nothing of an account can be read now; its list stays as it is."""
        key = self._keys.workflows(account)
        await self._write([("HSET", key, LIST_STATE, encode(state)), ("EXPIRE", key, RETENTION_S)])

    async def write_schema(
        self, account: str, slug: str, schema: WorkflowSchema, now: float
    ) -> None:
        """Write what a workflow takes. Schemas that are no longer used make room for new ones."""
        key = self._keys.workflow_schemas(account)
        text = encode(StoredSchema(now, schema.is_complete, schema.fields))
        if len(text) > MAX_SCHEMA_BYTES:
            text = encode(StoredSchema(now))
        fields = (slug, text, _read_at_field(slug), now)
        await self._write([("HSET", key, *fields), ("EXPIRE", key, RETENTION_S)])
        if await self._client.call("HLEN", key) > 2 * MAX_SCHEMAS:
            await self._remove_unused(account)

    async def _remove_unused(self, account: str) -> None:
        key = self._keys.workflow_schemas(account)
        used = (await self.on_record([account]))[account].used
        fields = texts(await self._client.call("HKEYS", key))
        kept = {field for slug in used for field in (slug, _read_at_field(slug))}
        if unused := [field for field in fields if field not in kept]:
            await self._client.call("HDEL", key, *unused)

    async def forget_unused(self, now: float) -> None:
        """Forget the workflows that no job was enqueued for lately, and all but the newest."""
        key = self._keys.used_workflows
        old, many = await self._client.many(
            [
                ("ZRANGEBYSCORE", key, "-inf", now - FACTS_MAX_AGE_S),
                ("ZRANGE", key, 0, -MAX_USED - 1),
            ]
        )
        unused = sorted({*texts(old), *texts(many)})
        if unused:
            await self._client.call("ZREM", key, *unused)

    async def _write(self, commands: Sequence[Command]) -> None:
        for reply in await self._client.try_transaction(commands):
            if isinstance(reply, Exception):
                raise reply

    # For those who compare.

    def use_commands(self, lanes: Collection[Lane], now: float) -> list[Command]:
        """What notes that jobs of some lanes are enqueued."""
        members = [
            part
            for lane in lanes
            if lane.kind is Kind.WORKFLOW
            for part in (now, f"{lane.account}/{lane.target}")
        ]
        key = self._keys.used_workflows
        return [("ZADD", key, *members), ("EXPIRE", key, RETENTION_S)] if members else []

    def read_commands(self, lanes: Collection[Lane]) -> list[Command]:
        """What reads the facts of some lanes; `facts` reads the replies."""
        return [
            command
            for account, slugs in _slugs_by_account(lanes).items()
            for command in (
                ("HMGET", self._keys.workflows(account), LIST_STATE, *slugs),
                ("HMGET", self._keys.workflow_schemas(account), *slugs),
            )
        ]

    def facts(
        self, lanes: Collection[Lane], replies: Sequence[Any], now: float
    ) -> dict[Lane, WorkflowFacts]:
        """The facts of those lanes that are of workflows, from the replies to `read_commands`."""
        found: dict[Lane, WorkflowFacts] = {}
        rows = iter(replies)
        for account, slugs in _slugs_by_account(lanes).items():
            state_text, *entries = next(rows)
            state = _decode(_state, state_text) or NEVER_READ
            is_fresh = state.read_at is not None and state.read_at > now - FACTS_MAX_AGE_S
            for slug, entry, schema in zip(slugs, entries, next(rows), strict=True):
                stored = _decode(_schema, schema)
                is_known = stored is not None and stored.read_at > now - FACTS_MAX_AGE_S
                found[Lane(account, Kind.WORKFLOW, slug)] = WorkflowFacts(
                    state.read_at if is_fresh and state.complete else None,
                    _decode(_workflow, entry) if is_fresh else None,
                    WorkflowSchema(stored.fields, stored.complete)
                    if stored is not None and is_known
                    else NO_SCHEMA,
                )
        return found


def _read_at_field(slug: str) -> str:
    """The field beside a schema that has when it was read: schemas are large, this is not."""
    return f"@{slug}"


def _slugs_by_account(lanes: Collection[Lane]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for lane in lanes:
        if lane.kind is Kind.WORKFLOW:
            found.setdefault(lane.account, []).append(lane.target)
    return found


def _decode(decoder: msgspec.json.Decoder[_T], text: bytes | None) -> _T | None:
    """A record; None if there is none that can be read."""
    try:
        return None if text is None else decoder.decode(text)
    except DECODE_ERRORS:
        return None
