"""What the provider says beside the answers that the core decides on."""

from dataclasses import dataclass, field

from jobs.outcomes import Fault, PollAnswer


@dataclass(frozen=True, slots=True)
class QuotaSeen:
    """What an answer's rate-limit headers said of its route; a header not understood is None."""

    limit: int | None
    """Requests a window."""
    remaining: int | None
    """Requests left in this window."""
    reset_at: float | None
    """When the window ends, Unix seconds; never before the answer came."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that did not get through, or was refused; it may be made again."""

    why: str
    fault: Fault | None = None
    """What the provider said, where it answered at all."""

    @property
    def http_status(self) -> int | None:
        """The answer's status; None where none came."""
        return self.fault.http_status if self.fault else None

    @property
    def retry_after_s(self) -> float | None:
        """How long the provider asks to wait, in seconds."""
        return self.fault.retry_after_s if self.fault else None


@dataclass(frozen=True, slots=True)
class CancelTaken:
    """A cancel was taken; only a poll or webhook says how the run ended."""

    status: str
    """What the answer calls the run's status, as in a poll; `unknown` where it says nothing."""


@dataclass(frozen=True, slots=True)
class CancelNotThere:
    """A cancel was answered 404: no such execution of ours."""

    fault: Fault


CancelAnswer = CancelTaken | CancelNotThere | Trouble
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
    answer: PollAnswer | None
    """What it says of the run, as a poll would; None where it speaks of no ended run."""
