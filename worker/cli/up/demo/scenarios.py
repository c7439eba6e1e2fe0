"""The scenes of the demo as data: what is sent, what it shows, and where it must end."""

from dataclasses import dataclass, field
from typing import Any, Final

from worker.cli.output import count
from worker.cli.up.plan import STUDIO_KEY

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class End:
    """Where a job ends: what is None or 0 may be anything."""

    state: str
    code: str | None = None
    mode: str | None = None
    attempts: int = 0

    def __str__(self) -> str:
        attempts = count(self.attempts, "attempt") if self.attempts else None
        extra = [attempts, self.code, self.mode]
        told = ", ".join(part for part in extra if part)
        return f"{self.state} ({told})" if told else self.state

    def fits(self, job: Doc) -> bool:
        """Whether a job has got there."""
        got = end_of(job)
        return (
            self.state == got.state
            and self.code in (None, got.code)
            and self.mode in (None, got.mode)
            and self.attempts in (0, got.attempts)
        )


def end_of(job: Doc) -> End:
    """Where a job is."""
    reason: Doc = job.get("reason") or {}
    return End(str(job["state"]), reason.get("code"), job.get("mode"), len(job["attempts"]))


@dataclass(frozen=True, slots=True)
class Remedy:
    """What clears the cause in the sandbox: an admin call, or inputs that are right."""

    path: str = ""
    body: Doc = field(default_factory=dict[str, Any])
    inputs: Doc | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One job of the demo. `knobs` are told to the sandbox through `inputs.sandbox`."""

    name: str
    shows: str
    kind: str
    target: str
    end: End
    knobs: Doc = field(default_factory=dict[str, Any])
    order: Doc = field(default_factory=dict[str, Any])
    on_studio: bool = False
    """On the account that has no credits."""
    cancels: bool = False
    """Cancelled by us as soon as it runs."""
    remedy: Remedy | None = None


def _model(name: str, shows: str, target: str, end: End, **rest: Any) -> Scene:
    return Scene(name, shows, "model", target, end, **rest)


_DONE: Final = End("succeeded")
_TWICE: Final = End("succeeded", attempts=2)

SCENES: Final = (
    _model("async-model", "an async run", "gpt-image-2", _DONE, knobs={"duration_s": 3}),
    Scene(
        "async-workflow",
        "a workflow of three models",
        "workflow",
        "my-pipeline",
        _DONE,
        knobs={"duration_s": 5},
    ),
    _model(
        "sync-fallback",
        "no async mode: run sync, at once",
        "nano-banana-2",
        End("succeeded", mode="sync"),
        knobs={"duration_s": 2},
    ),
    _model(
        "failed-once",
        "EXECUTION_FAILED, then retried",
        "suno",
        _TWICE,
        knobs={"fault": "EXECUTION_FAILED", "times": 1, "duration_s": 1.0},
    ),
    _model(
        "submit-failed",
        "PROVIDER_SUBMIT_FAILED twice, then retried",
        "suno",
        End("succeeded", attempts=3),
        knobs={"fault": "PROVIDER_SUBMIT_FAILED", "times": 2, "duration_s": 1.0},
    ),
    _model(
        "incomplete",
        "a run ends without its output, then retried",
        "gpt-image-2",
        _TWICE,
        knobs={
            "fault": "fails",
            "code": "PROVIDER_RESPONSE_INCOMPLETE",
            "times": 1,
            "duration_s": 1.0,
        },
    ),
    _model(
        "rate-limited",
        "429: waits as told, no attempt spent",
        "seedance-2-0",
        End("succeeded", attempts=1),
        knobs={"fault": "RATE_LIMIT_EXCEEDED", "times": 1, "retry_after": 1, "duration_s": 1.0},
    ),
    _model(
        "scheduled",
        "not before 2 s from now",
        "gpt-image-2",
        _DONE,
        knobs={"duration_s": 0.5},
        order={"delay_s": 2},
    ),
    _model(
        "cancelled",
        "cancelled at the provider while it runs",
        "seedance-2-0",
        End("cancelled"),
        knobs={"duration_s": 300, "cancel_s": 0.5},
        cancels=True,
    ),
    _model(
        "no-credits",
        "402: the account is out of credits",
        "gpt-image-2",
        End("parked", "INSUFFICIENT_CREDITS"),
        knobs={"duration_s": 2},
        on_studio=True,
        remedy=Remedy("topup", {"key": STUDIO_KEY, "credits": 1000}),
    ),
    _model(
        "behind-the-hold",
        "waits behind that hold: nothing is sent",
        "suno",
        End("queued"),
        knobs={"duration_s": 1.0},
        order={"delay_s": 3},
        on_studio=True,
    ),
    _model(
        "no-grant",
        "402: this model's trial runs are used up",
        "hailuo-trial",
        End("parked", "grant_exhausted"),
        knobs={"duration_s": 2},
        remedy=Remedy("grants", {"model": "hailuo-trial", "runs": 3}),
    ),
    _model(
        "small-tier",
        "403: the model needs a higher tier",
        "veo-4-ultra",
        End("parked", "MODEL_TIER_REQUIRED"),
        knobs={"duration_s": 2},
        remedy=Remedy("tier", {"tier": "enterprise"}),
    ),
    _model(
        "uncertain",
        "the answer is lost: never sent again blindly",
        "gpt-image-2",
        End("parked", "uncertain"),
        knobs={"fault": "drop_after", "times": 1, "duration_s": 1.0},
    ),
    Scene(
        "bad-inputs",
        "INVALID_INPUTS: no retry mends it",
        "workflow",
        "product-shots",
        End("dead", "INVALID_INPUTS"),
        remedy=Remedy(
            inputs={
                "product_image": "https://example.com/shoe.png",
                "sandbox": {"duration_s": 2},
            }
        ),
    ),
    _model(
        "spent",
        "fails at every attempt it has",
        "suno",
        End("dead", "EXECUTION_FAILED", attempts=2),
        knobs={"fault": "EXECUTION_FAILED"},
        order={"max_attempts": 2},
    ),
)
"""Every road of the lifecycle, and every kind of refusal."""
