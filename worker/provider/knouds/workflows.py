"""The workflows of an account and what they take, read tolerantly.

A member of another type counts as absent. What cannot be read at all makes a list incomplete: then
the absence of an entry says nothing.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from jobs.lanes import TARGET
from jobs.outcomes import CallFailure
from jobs.workflows import InputField, Workflow, WorkflowList, WorkflowSchema
from worker.provider.knouds import fields, wire
from worker.provider.knouds.errors import is_2xx

MAX_WORKFLOWS: Final = 5_000
"""Workflows of a list that are read."""

MAX_FIELDS: Final = 200
"""Fields of a schema that are read."""

MAX_NAME_CHARS: Final = 200

_ABSENT: Final = Raw()
_NO_DEFAULT: Final = (b"", b"null")
_EMPTY_TEXT: Final = b'""'


class _Workflow(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    slug: Raw = _ABSENT
    name: Raw = _ABSENT
    estimated_credit_cost: Raw = _ABSENT
    archived: Raw = _ABSENT
    hidden: Raw = _ABSENT


class _Schema(msgspec.Struct, frozen=True, gc=False):
    fields: Raw = _ABSENT
    values: Raw = _ABSENT


class _Field(msgspec.Struct, frozen=True, gc=False):
    name: Raw = _ABSENT
    type: Raw = _ABSENT
    default: Raw = _ABSENT
    required: Raw = _ABSENT


_list: Final = msgspec.json.Decoder(list[Raw])
_workflow: Final = msgspec.json.Decoder(_Workflow)
_schema: Final = msgspec.json.Decoder(_Schema)
_field: Final = msgspec.json.Decoder(_Field)
_values: Final = msgspec.json.Decoder(dict[str, Raw])


def read_workflows(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> WorkflowList | CallFailure:
    """Read a list of workflows. One in a form that we do not know is empty and not complete."""
    rows = fields.decode(_list, body) if is_2xx(status) else None
    if rows is None:
        failure = wire.read_call_failure(status, headers, body, now)
        if failure is None and fields.read_body(body) is None:
            failure = CallFailure("the response is no list of workflows", status)
        return failure or WorkflowList()
    found = [_read_workflow(raw) for raw in rows[:MAX_WORKFLOWS]]
    return WorkflowList(
        tuple(one for one in found if one is not None),
        is_complete=None not in found and len(rows) <= MAX_WORKFLOWS,
    )


def _read_workflow(raw: Raw) -> Workflow | None:
    """Read one workflow; None without a slug that a job can name."""
    members = fields.decode(_workflow, raw)
    slug = None if members is None else fields.read_text(members.slug)
    if members is None or slug is None or TARGET.fullmatch(slug) is None:
        return None
    return Workflow(
        slug=slug,
        name=(fields.read_text(members.name) or "")[:MAX_NAME_CHARS],
        price=fields.read_number(members.estimated_credit_cost),
        archived=fields.read_flag(members.archived),
        hidden=fields.read_flag(members.hidden),
    )


def read_workflow_schema(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> WorkflowSchema | CallFailure:
    """Read what a workflow takes. One in a form that we do not know is empty and not complete."""
    failure = wire.read_call_failure(status, headers, body, now)
    if failure is not None:
        return failure
    members = fields.decode(_schema, body)
    if members is None:
        return CallFailure("the response is no schema of a workflow", status)
    rows = fields.decode(_list, members.fields)
    if rows is None:
        return WorkflowSchema()
    values = fields.decode(_values, members.values) or {}
    found = [_read_field(raw, values) for raw in rows[:MAX_FIELDS]]
    return WorkflowSchema(
        tuple(one for one in found if one is not None),
        is_complete=None not in found and len(rows) <= MAX_FIELDS,
    )


def _read_field(raw: Raw, values: Mapping[str, Raw]) -> InputField | None:
    """Read one field; None without a name."""
    members = fields.decode(_field, raw)
    name = None if members is None else fields.read_id(members.name)
    if members is None or name is None:
        return None
    required = fields.read_optional_flag(members.required)
    defaults = (bytes(members.default), bytes(values.get(name, _ABSENT)))
    # An empty text is no value for a field that has to be filled in, and one for any other.
    no_default = (*_NO_DEFAULT, _EMPTY_TEXT) if required else _NO_DEFAULT
    return InputField(
        name=name,
        type=fields.read_code(members.type) or "",
        needed=required is not False and all(one in no_default for one in defaults),
    )
