"""Every outcome of the provider by a name, each made for the call or run that it answers."""

from collections.abc import Callable
from typing import Final

from jobs.outcomes import (
    CallFailure,
    Lost,
    NotSent,
    PollOutcome,
    ProviderError,
    Refused,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
    SubmitOutcome,
)
from tests.simulation.deployment import SimulatedDeployment, result_of
from tests.simulation.simulated_provider import SimulatedCall, SimulatedRun
from worker.provider.port import CancelAccepted, CancelOutcome

OnSubmit = Callable[[SimulatedDeployment, SimulatedCall], tuple[SubmitOutcome, bool]]
"""The answer, and whether a run was started although the answer does not say so."""


def refused(status: int, code: str | None = None, *, started: bool = False) -> OnSubmit:
    """An answer with an error; `started`: a run was started all the same."""
    retry_after_s = 20.0 if status == 429 else None
    error = ProviderError(code, http_status=status, retry_after_s=retry_after_s)
    return lambda _deployment, _call: (Refused(error), started)


ACCEPTING: Final[dict[str, OnSubmit]] = {
    "accepted": lambda deployment, call: (deployment.accepted(call), False),
    "finished at once": lambda deployment, call: (deployment.finished(call), False),
}
REFUSED: Final[dict[str, OnSubmit]] = {
    "no async mode": refused(400, "ASYNC_NOT_SUPPORTED"),
    "no credits": refused(402, "INSUFFICIENT_CREDITS"),
    "no grant": refused(402, "grant_exhausted"),
    "denied": refused(403, "CAPABILITY_DENIED"),
    "too many": refused(429, "RATE_LIMIT_EXCEEDED"),
    "failed": refused(500, "EXECUTION_FAILED"),
    "down": refused(503),
    "bad inputs": refused(400, "INVALID_INPUTS"),
    "not sent after all": lambda _deployment, _call: (NotSent("closed before it was used"), False),
}
UNCERTAIN_ANSWERS: Final[dict[str, OnSubmit]] = {
    "bad gateway": refused(502),
    "bad gateway, started": refused(502, started=True),
    "lost": lambda _deployment, _call: (Lost("the server closed the connection"), False),
    "lost, started": lambda _deployment, _call: (Lost("the server closed the connection"), True),
}
ON_SUBMIT: Final = ACCEPTING | REFUSED | UNCERTAIN_ANSWERS

OnPoll = Callable[[SimulatedDeployment, SimulatedRun], PollOutcome]

ENDS: Final[dict[str, OnPoll]] = {
    "completed": lambda deployment, run: deployment.completed(run),
    "failed": lambda _deployment, _run: RunFailed(ProviderError("EXECUTION_FAILED")),
    "failed for good": lambda _deployment, _run: RunFailed(ProviderError("INVALID_INPUTS")),
    "failed for money": lambda _deployment, _run: RunFailed(ProviderError("INSUFFICIENT_CREDITS")),
    "cancelled": lambda _deployment, _run: RunCancelled(),
    "cancelled too late": lambda _deployment, run: RunCancelled(result_of(run.job_id, 0), 1.0),
    "no result": lambda _deployment, _run: Lost("completed without a result"),
}
"""How a run ends. Every later poll finds the same end."""

WEBHOOK_EVENTS: Final = (
    "completed",
    "failed",
    "failed for good",
    "cancelled",
    "cancelled too late",
    "progress",
)
"""The events of webhooks."""

POLLS_WITHOUT_END: Final[dict[str, OnPoll]] = {
    "processing": lambda _deployment, _run: StillRunning("processing"),
    "missing": lambda _deployment, _run: RunMissing(ProviderError(None, http_status=404)),
    "trouble": lambda _deployment, _run: CallFailure("HTTP 500", 500),
    "too many polls": lambda _deployment, _run: CallFailure("HTTP 429", 429, 15.0),
}
"""Polls that find no end, also of a run that has ended: an answer may be late."""
ON_POLL: Final = ENDS | POLLS_WITHOUT_END

ON_CANCEL: Final[dict[str, CancelOutcome]] = {
    "taken": CancelAccepted("cancel_requested"),
    "not there": RunMissing(ProviderError(None, http_status=404)),
    "trouble": CallFailure("HTTP 500", 500),
    "refused": CallFailure("HTTP 409", 409),
}
