"""What a caller can ask of the sandbox in JSON: `inputs.sandbox` and faults.

An unknown name is refused, so a typing error in a test shows at once.
"""

from enum import StrEnum
from typing import Any, Literal, cast

import msgspec
from msgspec import UNSET

from worker.sandbox.provider.catalogue import SandboxKind, SandboxMode
from worker.sandbox.provider.replies import Credits


class Route(StrEnum):
    """The calls that a fault can apply to."""

    SUBMIT = "submit"
    POLL = "poll"
    CANCEL = "cancel"
    SCHEMA = "schema"
    WHOAMI = "whoami"
    WORKFLOWS = "workflows"
    USAGE = "usage"


class FaultSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault by name, and its options.

    `times`: how often it applies (None: always). `delay_s`: the response is delayed by this.
    `status`, `code`, `message`, `body`, `fields`, `headers`, `retry_after`: parts of the response,
    in place of the table's; a `body` that is a text is sent as it is. `started`: the call takes
    effect before the false response. `error`: whether the error of `fails` is an `object`, or a
    `string` with the code beside it. `status_text`: the status that `status_unknown` reports.
    `result`: the result of `no_result` (default: none). `shift`: by how many rows
    `pages_move` moves the pages behind the first; positive repeats rows, negative skips rows.
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
    shift: int = 1

    def has_fault(self) -> bool:
        """Whether this asks for a fault."""
        return bool(self.fault or self.status or self.code)


class WebhookOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The webhook of one run; None means the shares of the key's webhook."""

    lost: bool | None = None
    doubled: bool | None = None
    early: bool | None = None
    delay_s: float | None = None


class UsageOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The usage row of one run.

    `late_s`: it is written later by this (None: as late as that of every run). `missing`: never.
    `credits`: what it says the run cost, whatever was deducted.
    """

    late_s: float | None = None
    missing: bool = False
    credits: Credits | None = None


class RunOptions(FaultSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`inputs.sandbox`: a fault of this run's submit, and how the run behaves.

    `label`: its name in the ledger. `duration_s`: its exact duration. `cost`: its price.
    `result`: its literal result. `result_bytes`: about how large its result is. `cancel_s`: how
    long a cancel takes. `poll` and `cancel`: faults of its polls and cancels. `usage`: its row.
    """

    label: str = ""
    duration_s: float | None = None
    cost: Credits | None = None
    result_bytes: int = 0
    cancel_s: float | None = None
    poll: FaultSpec | None = None
    cancel: FaultSpec | None = None
    webhook: WebhookOptions | None = None
    usage: UsageOptions = UsageOptions()


NO_OPTIONS = RunOptions()


class FaultMatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls an admin's fault applies to; None matches all."""

    route: Route | None = None
    kind: SandboxKind | None = None
    target: str | None = None
    label: str | None = None
    key: str | None = None
    mode: SandboxMode | None = None


class AdminFault(FaultSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault added by an admin call."""

    match: FaultMatch = FaultMatch()


class BodyError(ValueError):
    """A body that the provider refuses with `code`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def read_inputs(raw: bytes) -> dict[str, Any]:
    """Return the inputs in the body of a submit.

    Raises:
        BodyError: INVALID_BODY (not JSON, or no inputs) or INVALID_INPUTS (not an object).
    """
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BodyError("INVALID_BODY", str(error)) from error
    if "inputs" not in body:
        raise BodyError("INVALID_BODY", "Object missing required field `inputs`")
    inputs = body["inputs"]
    if not isinstance(inputs, dict):
        raise BodyError("INVALID_INPUTS", "Expected `object` - at `$.inputs`")
    return cast("dict[str, Any]", inputs)


def read_options(inputs: dict[str, Any]) -> RunOptions:
    """Return the options in `inputs.sandbox`, or the defaults.

    Raises:
        BodyError: INVALID_INPUTS, with what is wrong.
    """
    options = inputs.get("sandbox")
    if options is None:
        return NO_OPTIONS
    try:
        return msgspec.convert(options, RunOptions)
    except msgspec.ValidationError as error:
        raise BodyError("INVALID_INPUTS", f"inputs.sandbox: {error}") from error
