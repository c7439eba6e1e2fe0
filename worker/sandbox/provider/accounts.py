"""Users and their keys: who calls, what they may do, what they can pay."""

from dataclasses import dataclass, field
from enum import StrEnum

from worker.sandbox.config import DEFAULT_KEY, SandboxConfig
from worker.sandbox.provider.replies import Credits
from worker.sandbox.provider.tiers import PLANS, Tier


class KeyState(StrEnum):
    """What a key is worth."""

    VALID = "valid"
    REVOKED = "revoked"
    LEGACY = "legacy"


class Contract(StrEnum):
    """How the provider words a missing right: today's capabilities or the older scopes."""

    CAPABILITY = "capability"
    SCOPE = "scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Where a key's webhooks go and what goes wrong with them.

    `lost`, `doubled` and `early` are shares of runs (0 to 1). A run drawn as early ends at once
    and its webhook is sent before the submit is answered. `jitter_s` adds a random part to
    `delay_s`, so deliveries leave out of order.
    """

    url: str
    secret: str
    lost: float = 0.0
    doubled: float = 0.0
    early: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0


@dataclass(slots=True)
class User:
    """Who pays. `held` credits are spoken for by sync runs that have not finished.

    `grants` are trial runs left, by model; an absent one means the catalogue's number.
    """

    id: str
    tier: Tier
    credits: Credits
    held: Credits = 0
    grants: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(slots=True)
class ApiKey:
    """A key of a user; `capabilities` None means all that the tier grants."""

    key: str
    user: User
    capabilities: frozenset[str] | None = None
    state: KeyState = KeyState.VALID
    contract: Contract = Contract.CAPABILITY
    hook: Hook | None = None

    def effective_capabilities(self) -> frozenset[str]:
        """Return the capabilities the key has today: its own, below the tier's ceiling."""
        ceiling = PLANS[self.user.tier].capabilities
        if self.capabilities is None:
            return ceiling
        return frozenset(c for c in self.capabilities if c in ceiling or _route_of(c) in ceiling)

    def missing_capability(self, route: str, target: str | None = None) -> str | None:
        """Return the capability that is lacking for `route` (`model:run`), or None.

        A key with rights to single targets of the route is told the single right it lacks.
        """
        held = self.effective_capabilities()
        if route in held:
            return None
        if target is None:
            return route
        single = f"{route.split(':', maxsplit=1)[0]}:{target}:run"
        if single in held:
            return None
        return single if any(_route_of(c) == route for c in held) else route


def _route_of(capability: str) -> str:
    """Return the route a capability belongs to: `model:suno:run` → `model:run`."""
    parts = capability.split(":")
    return f"{parts[0]}:{parts[-1]}"


_NARROW_CAPABILITIES = frozenset(
    {"workflow:my-pipeline:run", "model:suno:run", "workflow:read", "execution:read"}
)


class Accounts:
    """Every key the sandbox knows. The first users are fixed; admin calls add more."""

    def __init__(self, config: SandboxConfig) -> None:
        first = User("user_sandbox", Tier.BUSINESS, PLANS[Tier.BUSINESS].credits)
        if config.credits is not None:
            first.credits = config.credits
        self.users: dict[str, User] = {first.id: first}
        self.keys: dict[str, ApiKey] = {}
        self.add(ApiKey(DEFAULT_KEY, first))
        self.add(ApiKey("knouds_live_sandbox_2", first))
        self.add(ApiKey("knouds_live_narrow", first, _NARROW_CAPABILITIES))
        self.add(ApiKey("knouds_live_scoped", first, _NARROW_CAPABILITIES, contract=Contract.SCOPE))
        self.add(ApiKey("knouds_live_legacy", first, state=KeyState.LEGACY))
        self.add(ApiKey("knouds_live_revoked", first, state=KeyState.REVOKED))
        for tier in Tier:
            user = User(f"user_{tier}", tier, PLANS[tier].credits)
            self.users[user.id] = user
            self.add(ApiKey(f"knouds_live_{tier}", user))
        if config.webhook_url is not None:
            hook = Hook(url=config.webhook_url, secret=config.webhook_secret)
            self.keys[DEFAULT_KEY].hook = hook

    def add(self, key: ApiKey) -> ApiKey:
        """Put `key` in the book, in place of one of the same text."""
        self.keys[key.key] = key
        return key
