"""Users and their keys: capabilities, credits, webhooks."""

from dataclasses import dataclass, field
from enum import StrEnum

from worker.sandbox.config import DEFAULT_KEY, SandboxConfig
from worker.sandbox.provider.replies import Credits
from worker.sandbox.provider.tiers import PLANS, Tier


class KeyState(StrEnum):
    """Whether a key is accepted."""

    VALID = "valid"
    REVOKED = "revoked"
    LEGACY = "legacy"


class Contract(StrEnum):
    """How the provider words a missing right: as a capability, or as an older scope."""

    CAPABILITY = "capability"
    SCOPE = "scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A key's webhook: its URL, its secret, and what goes wrong with its deliveries.

    `lost`, `doubled` and `early` are shares of runs (0 to 1). A run drawn as early ends at once,
    and its webhook is sent before the response to the submit. `jitter_s` adds a random part to
    `delay_s`, so deliveries are sent out of order.
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
    """Who pays. `held` credits are reserved by sync runs that have not finished.

    `grants` are the trial runs left, by model; a missing one means the catalogue's number.
    """

    id: str
    tier: Tier
    credits: Credits
    held: Credits = 0
    grants: dict[str, int] = field(default_factory=dict[str, int])
    approved: bool = True
    """False: the user cannot run anything yet."""


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
        """Return the key's capabilities that its tier grants."""
        ceiling = PLANS[self.user.tier].capabilities
        if self.capabilities is None:
            return ceiling
        return frozenset(c for c in self.capabilities if c in ceiling or _route_of(c) in ceiling)

    def missing_capability(self, route: str, target: str | None = None) -> str | None:
        """Return the capability that is missing for `route` (`model:run`), or None.

        For a key with capabilities of single targets on the route, it is that of the target.
        """
        granted = self.effective_capabilities()
        if route in granted:
            return None
        if target is None:
            return route
        single = f"{route.split(':', maxsplit=1)[0]}:{target}:run"
        if single in granted:
            return None
        return single if any(_route_of(c) == route for c in granted) else route


def _route_of(capability: str) -> str:
    """Return the route of a capability: `model:suno:run` → `model:run`."""
    parts = capability.split(":")
    return f"{parts[0]}:{parts[-1]}"


_NARROW_CAPABILITIES = frozenset(
    {"workflow:my-pipeline:run", "model:suno:run", "workflow:read", "execution:read"}
)


class Accounts:
    """Every key of the sandbox. The first users are fixed; admin calls add more."""

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
        """Add `key`, or replace the key with the same text."""
        self.keys[key.key] = key
        return key

    def require(self, key: str) -> ApiKey:
        """Return the key of that text; ValueError where there is none."""
        found = self.keys.get(key)
        if found is None:
            raise ValueError(f"no key {key}")
        return found

    def get_or_add(self, key: str, user_id: str | None, tier: Tier) -> ApiKey:
        """Return the key of that text, or add one for a user, who is added too where new."""
        if (found := self.keys.get(key)) is not None:
            return found
        user_id = user_id or f"user_of_{key}"
        new_user = User(user_id, tier, PLANS[tier].credits)
        return self.add(ApiKey(key, self.users.setdefault(user_id, new_user)))
