"""What the engine needs of a provider of runs, and the ports that a provider calls.

A second provider is a package beside `knouds` with a `RunProvider`, a `WebhookReader` and the rows
of its error table.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from jobs.lanes import Scope
from jobs.outcomes import CallFailure, PollOutcome, RunMissing, SubmitOutcome
from jobs.states import Kind, Mode
from jobs.usage import UsageRow
from jobs.workflows import WorkflowList, WorkflowSchema


@dataclass(frozen=True, slots=True)
class ReportedRateLimit:
    """What the headers of one response say about its route; None for a header without a value."""

    limit: int | None
    """Requests per window."""
    remaining: int | None
    """Requests left in this window."""
    reset_at: float | None
    """When the window ends, Unix seconds; never before the response came."""


@dataclass(frozen=True, slots=True)
class CancelAccepted:
    """The provider accepted a cancel; only a poll or a webhook says how the run ended."""

    status: str
    """Status of the run, as in a poll; `unknown` if the response names none."""
    execution_id: str | None = field(default=None, compare=False)
    """The run that the response names, as in a poll."""
    request_id: str | None = field(default=None, compare=False)


CancelOutcome = CancelAccepted | RunMissing | CallFailure
"""What a cancel can come to."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose API key it is, as far as the provider says."""

    user_id: str | None = None
    role: str | None = None
    """`admin` passes tier gates and limits."""
    tier: str | None = None
    approved: bool | None = None
    """False: the account cannot run anything yet. None: not said."""
    email_domain: str | None = None
    """What stands behind the `@`; the address itself is not kept."""


@dataclass(frozen=True, slots=True)
class UsagePage:
    """One page of an account's runs, in the provider's order."""

    rows: tuple[UsageRow, ...]
    total: int | None
    """Rows of all pages; None if the page does not say."""
    is_complete: bool
    """Whether every row of the page could be read: a row without a usable id could not."""


class UnknownAccount(LookupError):
    """A job names an account without an API key; the text says which setting to change."""


class SendMark(Protocol):
    """Records that a submit is about to be sent: after a crash its outcome counts as unknown."""

    async def record(self) -> None:
        """Return once the record is durable; if it raises, the request is not sent.

        Awaited once, when the connection is established and before the first byte.
        """
        ...


class RateLimitObserver(Protocol):
    """Learns the provider's rate limits from its responses."""

    def record_response(
        self, route: Scope, reported: ReportedRateLimit | None, status: int
    ) -> None:
        """Note a response of a route such as `default/model` or `default/executions`.

        `reported`: None if the response has no rate-limit headers. `status`: HTTP.
        """
        ...


class RunProvider(Protocol):
    """Starts, polls and cancels runs. Calls raise UnknownAccount and nothing else of their own."""

    @property
    def network_path(self) -> str:
        """The way to the provider, without credentials: `direct`, or through which proxy."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...

    async def submit(
        self, kind: Kind, target: str, account: str, inputs: bytes, mode: Mode, *, mark: SendMark
    ) -> SubmitOutcome:
        """Start a run. `inputs`: a JSON object as text, sent byte for byte.

        `mark` is recorded once, before the first byte; if it raises, nothing is sent and its
        exception is raised here. After that the request is never sent twice.
        """
        ...

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """Return the state of a run."""
        ...

    async def cancel(self, account: str, execution_id: str) -> CancelOutcome:
        """Ask to cancel a run; safe to repeat."""
        ...

    async def whoami(self, account: str) -> Identity | CallFailure:
        """Return whose API key the account uses."""
        ...

    async def workflows(self, account: str) -> WorkflowList | CallFailure:
        """Return the account's workflows. Needs a right that a key may lack."""
        ...

    async def workflow_schema(self, account: str, slug: str) -> WorkflowSchema | CallFailure:
        """Return what a workflow takes. Needs the same right."""
        ...

    async def usage(self, account: str, *, limit: int, offset: int) -> UsagePage | CallFailure:
        """Return a page of the account's runs, of all kinds, targets and statuses."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What a delivery says; the receiver checked its signature."""

    event: str
    """`execution.completed`, `execution.failed`, `execution.cancelled`, `webhook.test`, or new."""
    execution_id: str | None
    request_id: str | None
    outcome: PollOutcome | None
    """The end of the run, as a poll would report it; None if the delivery reports no end."""
    is_test: bool = False
    """Sent by hand from the provider's dashboard, to try the endpoint."""


@dataclass(frozen=True, slots=True)
class DeliveredRun:
    """What a delivery says about its run, to find the job of an orphan delivery."""

    targets: tuple[str, ...] = ()
    """What may have run: `workflow/<slug>`, or `model/<name>` for each model."""
    status: str | None = None
    cost: float | None = None
    """Credits."""
    request_id: str | None = None


class DeliverySignature(Protocol):
    """The signature of one delivery, read from its headers."""

    def is_timely(self, now: float) -> bool:
        """Whether it was made within the provider's tolerance of `now` (Unix seconds)."""
        ...

    def matches(self, body: bytes) -> bool:
        """Whether one of the configured secrets made it for this body, in constant time."""
        ...


class WebhookReader(Protocol):
    """Checks and reads the provider's deliveries. Its methods never raise."""

    signature_header: str
    """Name of the header that carries the signature."""
    signature_format: str
    """What the header looks like, for messages."""
    tolerance_s: int
    """How far the time of a signature may be from ours, in seconds."""

    @property
    def has_secret(self) -> bool:
        """Whether signatures can be checked; without a secret no delivery is accepted."""
        ...

    def read_signature(self, headers: Iterable[tuple[str, str]]) -> DeliverySignature | None:
        """Read the signature from all headers; None if there is none, or more than one."""
        ...

    def read_event(self, body: bytes) -> WebhookEvent | None:
        """Read a body; None if it is not a JSON object that names an event."""
        ...

    def read_run(self, body: bytes) -> DeliveredRun:
        """Read what a body says about its run; empty where it says nothing."""
        ...
