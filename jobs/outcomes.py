"""Outcomes of submits and polls: what the provider's client returns and `jobs.decide` reads.

Not sent, refused and lost are three different outcomes: only a lost submit may have started a run.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True)
class ProviderError:
    """An error that the provider reports: in its answer to a call, or inside a failed run."""

    code: str | None
    """The provider's own code, letter for letter; None where it sent none."""
    message: str = ""
    http_status: int | None = None
    required_capability: str | None = None
    """The capability or scope the key lacks (`CAPABILITY_DENIED`, `SCOPE_DENIED`)."""
    provider_status: str | None = None
    """The status of the upstream provider (`PROVIDER_SUBMIT_FAILED`)."""
    retry_after_s: float | None = None
    """Seconds of `Retry-After`, if it was sent."""
    is_readable: bool = True
    """Whether the body was the JSON object that the contract promises."""
    is_page: bool = False
    """Whether it is not the provider's word: a page, a text or nothing came instead of its JSON, so
    something else may answer at this address."""
    wants_tls: bool = False
    """Whether the answer says that plain HTTP was sent to a port that speaks TLS."""
    location: str | None = None
    """Where a redirect leads: scheme and host only."""
    body_sent: bool = True
    """Whether the request was fully written before the response came."""

    @property
    def display_code(self) -> str:
        """The code to show: the provider's, or `HTTP_<status>` where it sent none.

        Every role sees it, so a sentence, which may quote the inputs, is no code to show.
        """
        if self.code and " " not in self.code:
            return self.code
        return f"HTTP_{self.http_status}" if self.http_status is not None else "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider accepted an async submit: the run exists and is paid for."""

    execution_id: str
    request_id: str | None = None
    expects_webhook: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A run ended with a usable result (a sync answer, or a poll that says `completed`)."""

    result: bytes = field(repr=False)
    """The result object as JSON text, byte for byte."""
    cost: float | None = None
    """Credits."""
    execution_id: str | None = None
    request_id: str | None = None
    duration_s: float | None = None
    """Seconds that the run took, where the answer to a sync run says so."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A submit was answered with an error, so no run was started.

    The error table has rows for errors that do not prove that, such as a 502.
    """

    error: ProviderError


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request was sent: connection refused, DNS, TLS."""

    why: str
    is_ours: bool = False
    """The cause is on our side (Redis): it says nothing about the provider."""


class LostCause(StrEnum):
    """Why an outcome is unknown, where no error status says so. Operators group jobs by it."""

    CONNECTION = "lost_connection"
    TIMEOUT = "timeout"
    UNREADABLE = "unreadable_answer"
    WORKER = "worker_lost"
    SHUTDOWN = "shutdown"
    RUN_NOT_FOUND = "run_not_found"
    NO_RESULT = "no_result"
    INTERNAL = "internal_error"
    RUN_TAKEN = "run_of_another_job"


@dataclass(frozen=True, slots=True)
class Lost:
    """The request was sent and no usable answer came back: the outcome is unknown.

    Of a poll: the run is completed, and there is no usable result (yet).
    """

    why: str
    http_status: int | None = None
    cause: LostCause | None = None
    """None: the status says it."""
    execution_id: str | None = field(default=None, compare=False)
    request_id: str | None = field(default=None, compare=False)

    @property
    def is_ours(self) -> bool:
        """Whether the worker was lost or stopped: it says nothing about the provider."""
        return self.cause in (LostCause.WORKER, LostCause.SHUTDOWN)

    @property
    def cause_name(self) -> str:
        """The name of its cause: a `LostCause`, or `HTTP_<status>`."""
        if self.cause is not None:
            return self.cause
        if self.http_status is None:
            return LostCause.CONNECTION
        is_success = 200 <= self.http_status < 300  # noqa: PLR2004
        return LostCause.UNREADABLE if is_success else f"HTTP_{self.http_status}"


_UNDER_WAY: Final = frozenset({"processing", "cancel_requested"})


@dataclass(frozen=True, slots=True)
class StillRunning:
    """A poll found the run under way, or with a status that we do not know."""

    status: str
    execution_id: str | None = field(default=None, compare=False)
    """The run that the answer names, as in the other outcomes of polls."""
    request_id: str | None = field(default=None, compare=False)

    @property
    def is_known(self) -> bool:
        """Whether we know the status, and so know that the run is under way."""
        return self.status in _UNDER_WAY


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A poll or a webhook reports that the run failed."""

    error: ProviderError
    execution_id: str | None = field(default=None, compare=False)
    request_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """The provider cancelled the run. If the run finished first, it can carry a result."""

    result: bytes | None = field(default=None, repr=False)
    cost: float | None = None
    execution_id: str | None = field(default=None, compare=False)
    request_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RunMissing:
    """A poll or a cancel was answered 404: the account has no such execution."""

    error: ProviderError


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call that may be repeated failed (401, 403, 429, 5xx, network).

    A poll that failed says nothing about the run.
    """

    why: str
    http_status: int | None = None
    """Status of the response; None if none came. For an error with a documented code in a 2xx, the
    status that is documented with it."""
    retry_after_s: float | None = None
    error: ProviderError | None = field(default=None, compare=False)
    """The error response; None if none came."""
    sent_at: float | None = field(default=None, compare=False)
    """When a refused poll was sent, Unix seconds."""
    is_unsent: bool = field(default=False, compare=False)
    """No connection could be made, so the provider was not asked."""

    @property
    def logged_why(self) -> str:
        """Why, for logs and for who may not read messages: the code of an error response."""
        return self.why if self.error is None else self.error.display_code

    @property
    def is_refused(self) -> bool:
        """Whether the key was refused (401 in any form, or a 403 that is no page)."""
        return self.http_status == 401 or (self.http_status == 403 and not self.is_page)  # noqa: PLR2004

    @property
    def is_page(self) -> bool:
        """Whether a page answered instead of the provider's API."""
        return self.error is not None and self.error.is_page

    @property
    def is_no_access(self) -> bool:
        """Whether nobody can make this call as things are: refused, redirected, or a page."""
        is_redirect = 300 <= (self.http_status or 0) < 400  # noqa: PLR2004
        return self.is_refused or self.is_page or is_redirect


SubmitOutcome = Accepted | Finished | Refused | NotSent | Lost
"""Outcomes of a submit."""

PollOutcome = Finished | StillRunning | RunFailed | RunCancelled | RunMissing | CallFailure | Lost
"""Outcomes of a poll or a webhook. `Lost`: the run ended without a usable result (yet)."""
