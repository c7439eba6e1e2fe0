"""The bodies of admin calls. An unknown field is refused; `key` is the default key if omitted."""

import msgspec
from msgspec import UNSET, UnsetType, field

from worker.sandbox.config import DEFAULT_KEY
from worker.sandbox.provider.accounts import Contract, KeyState
from worker.sandbox.provider.catalogue import SandboxKind
from worker.sandbox.provider.limits import SandboxBucket
from worker.sandbox.provider.replies import Credits
from worker.sandbox.provider.tiers import Tier


class AdminBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an admin call."""


class KeyedBody(AdminBody, frozen=True, kw_only=True):
    """The body of an admin call about a key or its user."""

    key: str = DEFAULT_KEY


class Topup(KeyedBody, frozen=True):
    """Add `credits` to the balance of the key's user, or set the balance to `balance`."""

    credits: Credits = 0
    balance: Credits | None = None


class Grant(KeyedBody, frozen=True):
    """Set how many trial runs of `model` are left."""

    model: str
    runs: int


class TierChange(KeyedBody, frozen=True):
    """Move the key's user to another plan."""

    tier: Tier


class LimitChange(AdminBody, frozen=True):
    """Limit a route: 0 is unlimited, null means by tier. Windows in use start again."""

    route: SandboxBucket
    limit: int | None = None
    window_s: float | None = None


class WorkflowChange(AdminBody, frozen=True):
    """Change how a workflow is listed, or list one that cannot run; `listed` false removes it.

    `price` null: without an estimate.
    """

    slug: str
    listed: bool = True
    title: str | None = None
    price: Credits | UnsetType | None = UNSET
    archived: bool | None = None
    hidden: bool | None = None


class KeyChange(AdminBody, frozen=True):
    """Change a key or add one. `capabilities` null: all that the tier grants.

    `approved` is of the key's user.

    A new key belongs to the user with the id `user`; a new user gets `tier` and its credits.
    """

    key: str
    valid: bool | None = None
    state: KeyState | None = field(default=None, name="standing")
    contract: Contract | None = None
    capabilities: list[str] | UnsetType | None = UNSET
    user: str | None = None
    tier: Tier = Tier.BUSINESS
    approved: bool | None = None


class HookChange(KeyedBody, frozen=True):
    """Set a key's webhook; omitted fields stay as they are. `url` null removes the webhook."""

    url: str | UnsetType | None = UNSET
    secret: str | None = None
    lost: float | None = None
    doubled: float | None = None
    early: float | None = None
    delay_s: float | None = None
    jitter_s: float | None = None


class ForeignRuns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`count` runs of another program, that started `age_s` ago and take `duration_s`."""

    target: str
    kind: SandboxKind = SandboxKind.MODEL
    count: int = 1
    age_s: float = 0.0
    duration_s: float = 1.0
    credits: Credits = 1


class UsageChange(KeyedBody, frozen=True):
    """Delay the rows of runs from now on by `late_s`; add rows of other programs of the user."""

    late_s: float | None = None
    foreign: ForeignRuns | None = None


class FinishNow(AdminBody, frozen=True):
    """End async runs at once: all, or those that match every given field."""

    execution_id: str | None = None
    label: str | None = None
    target: str | None = None
