"""The bodies of admin calls. An unknown field is refused; `key` is the default key if absent."""

import msgspec
from msgspec import UNSET, UnsetType

from worker.sandbox.config import DEFAULT_KEY
from worker.sandbox.provider.accounts import Contract, KeyState
from worker.sandbox.provider.limits import SandboxBucket
from worker.sandbox.provider.replies import Credits
from worker.sandbox.provider.tiers import Tier


class Topup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add `credits` to the balance of the key's user, or set the balance to `balance`."""

    key: str = DEFAULT_KEY
    credits: Credits = 0
    balance: Credits | None = None


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Set the trial runs left of `model`."""

    model: str
    runs: int
    key: str = DEFAULT_KEY


class TierChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Move the key's user to another plan."""

    tier: Tier
    key: str = DEFAULT_KEY


class LimitChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limit a route: 0 is unlimited, null by tier; both windows in use begin anew."""

    route: SandboxBucket
    limit: int | None = None
    window_s: float | None = None


class KeyChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change a key or make a new one. `capabilities` null: all that the tier grants.

    A new key belongs to `user` (an id; a new user begins with `tier` and its credits).
    """

    key: str
    valid: bool | None = None
    standing: KeyState | None = None
    contract: Contract | None = None
    capabilities: list[str] | UnsetType | None = UNSET
    user: str | None = None
    tier: Tier = Tier.BUSINESS


class HookChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Set a key's webhook; what is absent stays as it was. `url` null takes it away."""

    key: str = DEFAULT_KEY
    url: str | UnsetType | None = UNSET
    secret: str | None = None
    lost: float | None = None
    doubled: float | None = None
    early: float | None = None
    delay_s: float | None = None
    jitter_s: float | None = None


class HookTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send a `webhook.test` to a key's webhook."""

    key: str = DEFAULT_KEY


class FinishNow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End async runs in flight at once: all, or those that match every field given."""

    execution_id: str | None = None
    label: str | None = None
    target: str | None = None
