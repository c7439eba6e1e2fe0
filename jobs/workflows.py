"""The workflows of an account as the provider lists them, and what they take.

An enqueue is compared with them. They are minutes old and may say nothing, so what they say is a
warning by default: `unknown` is a value, and never keeps a job from being enqueued.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

MAX_WARNINGS: Final = 20
"""Warnings of one request, so that a wrong object makes no list of thousands."""

MAX_NAME_CHARS: Final = 64
"""Characters of a field's name that a warning shows."""


class Workflow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One workflow of an account."""

    slug: str
    name: str = ""
    price: float | None = None
    """Credits that the provider estimates for a run; None where it estimates nothing."""
    archived: bool = False
    hidden: bool = False
    """It is not shown in the provider's lists, and runs all the same."""


@dataclass(frozen=True, slots=True)
class WorkflowList:
    """The workflows of an account."""

    workflows: tuple[Workflow, ...] = ()
    is_complete: bool = False
    """Whether it has every workflow of the account. If not, the absence of one says nothing."""


class InputField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One input that a workflow takes."""

    name: str
    type: str = ""
    """As the provider names it; empty if it does not say."""
    needed: bool = False
    """Whether a run has to be given it: it is not optional and has no default."""


@dataclass(frozen=True, slots=True)
class WorkflowSchema:
    """The inputs that a workflow takes."""

    fields: tuple[InputField, ...] = ()
    is_complete: bool = False
    """Whether it has every field. If not, the absence of one says nothing."""


NO_SCHEMA: Final = WorkflowSchema()
"""Nothing is known of what it takes."""


class WarningCode(StrEnum):
    """What is wrong with a request for a run of a workflow."""

    WORKFLOW_NOT_FOUND = "workflow_not_found"
    WORKFLOW_ARCHIVED = "workflow_archived"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"


@dataclass(frozen=True, slots=True)
class EnqueueWarning:
    """Why a run is likely to fail."""

    code: WarningCode
    field: str
    """The field of the request at fault: `target`, or `inputs.<name>`."""
    message: str
    """Completes the name of the field: what is wrong and how to mend it."""


def check_workflow(
    workflow: Workflow | None, slug: str, account: str, age_s: float
) -> list[EnqueueWarning]:
    """Compare a slug with a complete list of workflows that is `age_s` old.

    `workflow`: its entry in the list.
    """
    if workflow is None:
        message = (
            f"names no workflow of account {account!r}: the provider's list, read {_ago(age_s)},"
            f" has no {slug!r}; check the slug and the account, or try again in two minutes if it"
            " is new"
        )
        return [EnqueueWarning(WarningCode.WORKFLOW_NOT_FOUND, "target", message)]
    if workflow.archived:
        message = f"names an archived workflow: restore {slug!r} at the provider, or use another"
        return [EnqueueWarning(WarningCode.WORKFLOW_ARCHIVED, "target", message)]
    return []


def check_inputs(names: Collection[str], schema: WorkflowSchema) -> list[EnqueueWarning]:
    """Compare the names of a request's inputs with those that a workflow takes."""
    found: list[EnqueueWarning] = []
    for field in schema.fields:
        if field.needed and field.name not in names:
            kind = f" ({_shown(field.type)})" if field.type else ""
            message = f"is missing: the workflow needs it{kind} and has no default for it"
            name = f"inputs.{_shown(field.name)}"
            found.append(EnqueueWarning(WarningCode.MISSING_FIELD, name, message))
    if schema.is_complete:
        known = {field.name: None for field in schema.fields}
        for name in names:
            if name not in known and len(found) < MAX_WARNINGS:
                message = f"is no field of the workflow: {_taken(list(known))}"
                shown = f"inputs.{_shown(name)}"
                found.append(EnqueueWarning(WarningCode.UNKNOWN_FIELD, shown, message))
    return found[:MAX_WARNINGS]


def _taken(known: Sequence[str]) -> str:
    if not known:
        return "it takes no inputs, so omit it"
    shown = ", ".join(_shown(name) for name in known[:MAX_WARNINGS])
    more = f" and {len(known) - MAX_WARNINGS} more" if len(known) > MAX_WARNINGS else ""
    return f"it takes {shown}{more}"


def _shown(name: str) -> str:
    """A name of the caller or of the provider, on one line and not too long."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in name)
    return text if len(text) <= MAX_NAME_CHARS else f"{text[:MAX_NAME_CHARS]}…"


def _ago(age_s: float) -> str:
    minutes = round(age_s / 60)
    return "just now" if minutes < 1 else f"{minutes} minute{'s' if minutes > 1 else ''} ago"
