"""What the provider said, in our words: the values that pass from the wire to `decide()`.

Never sent, refused and unknown are three different things, and nothing here lets them mix.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProviderError:
    """An error the provider spelled out, in an answer to a call or inside a failed run."""

    code: str | None
    """The provider's own constant, letter for letter; None where it sent none."""
    message: str = ""
    http_status: int | None = None
    required_capability: str | None = None
    """The capability or scope the key lacks (`CAPABILITY_DENIED`, `SCOPE_DENIED`)."""
    provider_status: str | None = None
    """What the upstream provider answered (`PROVIDER_SUBMIT_FAILED`)."""
    retry_after_s: float | None = None
    is_readable: bool = True
    """Whether the body was the JSON object that the contract promises."""

    @property
    def display_code(self) -> str:
        """The code to show: the provider's, or `HTTP_<status>` where it sent none."""
        if self.code:
            return self.code
        return f"HTTP_{self.http_status}" if self.http_status is not None else "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An async submit was taken: the run exists and is paid for."""

    execution_id: str
    request_id: str | None = None
    expects_webhook: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A run ended with a usable result (a sync answer, or a poll that says `completed`)."""

    result: bytes = field(repr=False)
    """The result object as JSON text, untouched."""
    cost: float | None = None
    execution_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A call was answered with an error: what it asked for did not happen.

    Unless the verdict table says that this answer cannot be trusted to mean that.
    """

    error: ProviderError


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request left: refused connection, DNS, TLS."""

    why: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The request left and no trustworthy answer came back: the outcome is unknown."""

    why: str
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class StillRunning:
    """A poll found the run under way (also for a status nobody knows yet)."""

    status: str


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A poll or webhook says the run failed."""

    error: ProviderError


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """The provider cancelled the run; a run that finished first may carry its result."""

    result: bytes | None = field(default=None, repr=False)
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class RunMissing:
    """A poll was answered 404: no such execution of ours."""

    error: ProviderError


@dataclass(frozen=True, slots=True)
class PollFailed:
    """A poll did not get through (401, 403, 429, 5xx, network): it says nothing about the run."""

    why: str
    http_status: int | None = None
    retry_after_s: float | None = None


SubmitOutcome = Accepted | Finished | Refused | NotSent | Lost
"""What a submit can come back with."""

PollOutcome = Finished | StillRunning | RunFailed | RunCancelled | RunMissing | PollFailed | Lost
"""What a look at a run can come back with. `Lost`: it ended without a usable result."""
