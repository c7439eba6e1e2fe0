"""What the provider says beside the answers that the core decides on."""

from dataclasses import dataclass, field

from jobs.outcomes import PollOutcome, ProviderError


@dataclass(frozen=True, slots=True)
class RateLimitSeen:
    """What an answer's rate-limit headers said of its route; a header not understood is None."""

    limit: int | None
    """Requests a window."""
    remaining: int | None
    """Requests left in this window."""
    reset_at: float | None
    """When the window ends, Unix seconds; never before the answer came."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call that did not get through, or was refused; it may be made again."""

    why: str
    error: ProviderError | None = None
    """What the provider said, where it answered at all."""

    @property
    def http_status(self) -> int | None:
        """The answer's status; None where none came."""
        return self.error.http_status if self.error else None

    @property
    def retry_after_s(self) -> float | None:
        """How long the provider asks to wait, in seconds."""
        return self.error.retry_after_s if self.error else None


@dataclass(frozen=True, slots=True)
class CancelAccepted:
    """A cancel was taken; only a poll or webhook says how the run ended."""

    status: str
    """What the answer calls the run's status, as in a poll; `unknown` where it says nothing."""


@dataclass(frozen=True, slots=True)
class CancelNotFound:
    """A cancel was answered 404: no such execution of ours."""

    error: ProviderError


CancelOutcome = CancelAccepted | CancelNotFound | CallFailure
"""What a cancel can come back with."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose key it is, as far as the provider says."""

    user_id: str | None = None
    tier: str | None = None
    capabilities: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class WorkflowSchema:
    """A workflow's description of itself."""

    raw: bytes = field(repr=False)
    """The whole answer as JSON text, untouched."""
    name: str | None = None
    description: str | None = None
    estimated_cost: float | None = None
    """Credits of one run (`estimatedCreditCost`)."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A delivery of the provider, its signature already checked by the receiver."""

    event: str
    """`execution.completed`, `execution.failed`, `execution.cancelled`, `webhook.test`, or news."""
    execution_id: str | None
    request_id: str | None
    outcome: PollOutcome | None
    """What it says of the run, as a poll would; None where it speaks of no ended run."""
