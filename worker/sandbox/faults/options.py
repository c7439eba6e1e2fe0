"""What a caller may ask of the sandbox, as it stands in JSON: `inputs.sandbox` and faults.

An unknown name is refused, so a typing error in a test shows at once.
"""

from enum import StrEnum
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from worker.sandbox.provider.catalogue import SandboxKind, SandboxMode
from worker.sandbox.provider.replies import Credits


class Route(StrEnum):
    """Where a fault can strike."""

    SUBMIT = "submit"
    POLL = "poll"
    CANCEL = "cancel"
    SCHEMA = "schema"
    WHOAMI = "whoami"


class FaultSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault by name, and what it can be told.

    `times`: how often it strikes (None: always). `delay_s`: the answer is held back so long.
    `status`, `code`, `message`, `body`, `fields`, `headers`, `retry_after`: parts of the answer,
    in place of the table's; a `body` that is a text is sent as it is. `started`: the call takes
    effect before the false answer. `error`: whether `fails` words its error as an `object` or as
    a `string` with the code beside it. `status_text`: the status that `status_unknown` reports.
    `result`: what `no_result` ends with (default: no result at all).
    """

    fault: str = ""
    times: int | None = None
    delay_s: float = 0.0
    status: int | None = None
    code: str | None = None
    message: str | None = None
    body: dict[str, Any] | list[Any] | str | None = None
    fields: dict[str, Any] = {}
    headers: dict[str, str] = {}
    retry_after: int | float | None = None
    started: bool | None = None
    error: Literal["object", "string"] = "object"
    status_text: str = "queued_somewhere"
    result: Any = UNSET

    def has_fault(self) -> bool:
        """Whether a fault is asked for at all."""
        return bool(self.fault or self.status or self.code)


class WebhookOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run's webhook; what is None follows the key's own shares."""

    lost: bool | None = None
    doubled: bool | None = None
    early: bool | None = None
    delay_s: float | None = None


class RunOptions(FaultSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`inputs.sandbox`: a fault of this run's submit, and how the run behaves.

    `label` names the run in the ledger; `duration_s` its exact length; `cost` its price;
    `result` its literal result, `result_bytes` about how large it is; `cancel_s` how long a
    cancel takes. `poll` and `cancel` are faults of this run's polls and cancels.
    """

    label: str = ""
    duration_s: float | None = None
    cost: Credits | None = None
    result_bytes: int = 0
    cancel_s: float | None = None
    poll: FaultSpec | None = None
    cancel: FaultSpec | None = None
    webhook: WebhookOptions | None = None


NO_OPTIONS = RunOptions()


class RunBody(msgspec.Struct, frozen=True):
    """The body of a run."""

    inputs: dict[str, Any]


class LooseBody(msgspec.Struct, frozen=True):
    """The body of a run whose inputs may be of any shape: tells two refusals apart."""

    inputs: msgspec.Raw


class FaultMatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls an admin's fault strikes; what is None matches all."""

    route: Route | None = None
    kind: SandboxKind | None = None
    target: str | None = None
    label: str | None = None
    key: str | None = None
    mode: SandboxMode | None = None


class AdminFault(FaultSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault put up by an admin call."""

    match: FaultMatch = FaultMatch()


_run_body = msgspec.json.Decoder(RunBody)
_loose_body = msgspec.json.Decoder(LooseBody)


class BodyError(ValueError):
    """A run's body that the provider refuses with `code`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def read_inputs(raw: bytes) -> dict[str, Any]:
    """Return the inputs of a run.

    Raises:
        BodyError: INVALID_BODY (not JSON, or no inputs) or INVALID_INPUTS (not an object).
    """
    try:
        return _run_body.decode(raw).inputs
    except msgspec.DecodeError as error:
        code = "INVALID_INPUTS" if _has_inputs(raw) else "INVALID_BODY"
        raise BodyError(code, str(error)) from error


def read_options(inputs: dict[str, Any]) -> RunOptions:
    """Return `inputs.sandbox`, or no knobs.

    Raises:
        BodyError: INVALID_INPUTS, naming what is wrong.
    """
    asked = inputs.get("sandbox")
    if asked is None:
        return NO_OPTIONS
    try:
        return msgspec.convert(asked, RunOptions)
    except msgspec.ValidationError as error:
        raise BodyError("INVALID_INPUTS", f"inputs.sandbox: {error}") from error


def _has_inputs(raw: bytes) -> bool:
    try:
        _loose_body.decode(raw)
    except msgspec.DecodeError:
        return False
    return True
