"""The provider's plans: what each tier grants, from its pricing page."""

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """A plan, from the smallest to the largest."""

    FREE = "free"
    PRO = "pro"
    BUSINESS = "business"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, slots=True)
class TierPlan:
    """What a tier grants: credits a month, runs per route and minute (None: unlimited)."""

    rank: int
    credits: int
    limit: int | None
    capabilities: frozenset[str]


_PRO = frozenset({"workflow:run", "workflow:read", "execution:read", "execution:cancel"})
_BUSINESS = _PRO | {"model:run"}

PLANS: dict[Tier, TierPlan] = {
    Tier.FREE: TierPlan(0, 500, None, frozenset()),
    Tier.PRO: TierPlan(1, 5_000, 100, _PRO),
    Tier.BUSINESS: TierPlan(2, 15_000, 1_000, _BUSINESS),
    Tier.ENTERPRISE: TierPlan(3, 100_000, None, _BUSINESS),
}


def reaches(tier: Tier, needed: Tier) -> bool:
    """Return whether `tier` is `needed` or above it."""
    return PLANS[tier].rank >= PLANS[needed].rank
