"""The scenarios of the demo as data: what is enqueued, what it shows, and how it must end."""

from dataclasses import dataclass, field
from typing import Any, Final

from jobs.texts import pluralize
from worker.cli.text import Doc
from worker.cli.up.plan import STUDIO_KEY


@dataclass(frozen=True, slots=True)
class DemoEnd:
    """How a job ends; None and 0 match anything."""

    state: str
    code: str | None = None
    mode: str | None = None
    attempts: int = 0

    def __str__(self) -> str:
        attempts = pluralize(self.attempts, "attempt") if self.attempts else None
        details = ", ".join(part for part in (attempts, self.code, self.mode) if part)
        return f"{self.state} ({details})" if details else self.state

    def matches(self, job: Doc) -> bool:
        """Whether a job has ended like this."""
        actual = end_of(job)
        return (
            self.state == actual.state
            and self.code in (None, actual.code)
            and self.mode in (None, actual.mode)
            and self.attempts in (0, actual.attempts)
        )


def end_of(job: Doc) -> DemoEnd:
    """The present state of a job as an end."""
    reason: Doc = job.get("reason") or {}
    return DemoEnd(str(job["state"]), reason.get("code"), job.get("mode"), len(job["attempts"]))


@dataclass(frozen=True, slots=True)
class Remedy:
    """What fixes the cause: an admin call to the sandbox, or correct inputs."""

    path: str = ""
    body: Doc = field(default_factory=dict[str, Any])
    inputs: Doc | None = None


@dataclass(frozen=True, slots=True)
class DemoScenario:
    """One job of the demo. `sandbox_options` are sent to the sandbox as `inputs.sandbox`."""

    name: str
    shows: str
    target: str
    end: DemoEnd
    kind: str = "model"
    sandbox_options: Doc = field(default_factory=dict[str, Any])
    request_fields: Doc = field(default_factory=dict[str, Any])
    uses_studio_account: bool = False
    """Whether it runs on the account without credits."""
    is_cancelled: bool = False
    """Whether the demo cancels it as soon as it runs."""
    remedy: Remedy | None = None


_DONE: Final = DemoEnd("succeeded")
_DONE_AT_SECOND_ATTEMPT: Final = DemoEnd("succeeded", attempts=2)

SCENARIOS: Final = (
    DemoScenario(
        "async-model", "an async run", "gpt-image-2", _DONE, sandbox_options={"duration_s": 3}
    ),
    DemoScenario(
        "async-workflow",
        "a workflow of three models",
        "my-pipeline",
        _DONE,
        kind="workflow",
        sandbox_options={"duration_s": 5},
    ),
    DemoScenario(
        "sync-fallback",
        "a model without async mode: run sync at once",
        "nano-banana-2",
        DemoEnd("succeeded", mode="sync"),
        sandbox_options={"duration_s": 2},
    ),
    DemoScenario(
        "failed-once",
        "EXECUTION_FAILED once, then retried",
        "suno",
        _DONE_AT_SECOND_ATTEMPT,
        sandbox_options={"fault": "EXECUTION_FAILED", "times": 1, "duration_s": 1.0},
    ),
    DemoScenario(
        "submit-failed",
        "PROVIDER_SUBMIT_FAILED twice, then retried",
        "suno",
        DemoEnd("succeeded", attempts=3),
        sandbox_options={"fault": "PROVIDER_SUBMIT_FAILED", "times": 2, "duration_s": 1.0},
    ),
    DemoScenario(
        "incomplete",
        "a run without its output, then retried",
        "gpt-image-2",
        _DONE_AT_SECOND_ATTEMPT,
        sandbox_options={
            "fault": "fails",
            "code": "PROVIDER_RESPONSE_INCOMPLETE",
            "times": 1,
            "duration_s": 1.0,
        },
    ),
    DemoScenario(
        "rate-limited",
        "429: waits for Retry-After, no attempt used",
        "seedance-2-0",
        DemoEnd("succeeded", attempts=1),
        sandbox_options={
            "fault": "RATE_LIMIT_EXCEEDED",
            "times": 1,
            "retry_after": 1,
            "duration_s": 1.0,
        },
    ),
    DemoScenario(
        "scheduled",
        "scheduled 2 s from now",
        "gpt-image-2",
        _DONE,
        sandbox_options={"duration_s": 0.5},
        request_fields={"delay_s": 2},
    ),
    DemoScenario(
        "cancelled",
        "cancelled at the provider while it runs",
        "seedance-2-0",
        DemoEnd("cancelled"),
        sandbox_options={"duration_s": 300, "cancel_s": 0.5},
        is_cancelled=True,
    ),
    DemoScenario(
        "no-credits",
        "402: the account is out of credits",
        "gpt-image-2",
        DemoEnd("parked", "INSUFFICIENT_CREDITS"),
        sandbox_options={"duration_s": 2},
        uses_studio_account=True,
        remedy=Remedy("topup", {"key": STUDIO_KEY, "credits": 1000}),
    ),
    DemoScenario(
        "behind-the-hold",
        "waits behind that hold: nothing is sent",
        "suno",
        DemoEnd("queued"),
        sandbox_options={"duration_s": 1.0},
        request_fields={"delay_s": 3},
        uses_studio_account=True,
    ),
    DemoScenario(
        "no-grant",
        "402: the trial runs of this model are used up",
        "hailuo-trial",
        DemoEnd("parked", "grant_exhausted"),
        sandbox_options={"duration_s": 2},
        remedy=Remedy("grants", {"model": "hailuo-trial", "runs": 3}),
    ),
    DemoScenario(
        "small-tier",
        "403: the model needs a higher tier",
        "veo-4-ultra",
        DemoEnd("parked", "MODEL_TIER_REQUIRED"),
        sandbox_options={"duration_s": 2},
        remedy=Remedy("tier", {"tier": "enterprise"}),
    ),
    DemoScenario(
        "uncertain",
        "the response is lost: never submitted again blindly",
        "gpt-image-2",
        DemoEnd("parked", "uncertain"),
        sandbox_options={"fault": "drop_after", "times": 1, "duration_s": 1.0},
    ),
    DemoScenario(
        "bad-inputs",
        "INVALID_INPUTS: a retry can't fix it",
        "product-shots",
        DemoEnd("dead", "INVALID_INPUTS"),
        kind="workflow",
        remedy=Remedy(
            inputs={
                "product_image": "https://example.com/shoe.png",
                "sandbox": {"duration_s": 2},
            }
        ),
    ),
    DemoScenario(
        "spent",
        "fails at its only attempt",
        "suno",
        DemoEnd("dead", "EXECUTION_FAILED", attempts=1),
        sandbox_options={"fault": "EXECUTION_FAILED"},
        request_fields={"max_attempts": 1},
    ),
)
"""Every outcome of the lifecycle, and every kind of refusal."""
