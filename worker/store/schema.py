"""Schemas of stored records: an older record is migrated when it is read, a newer one left alone.

The schema is the number in the member `schema` of a record; one without it is of schema 0. A change
of a stored type needs the next number in its class, and a migration here. A record of a higher
number, or with a member that its type does not have, was written by a newer version: it cannot be
written back without a loss, so nobody changes it. Whatever a schema changes, its records stay JSON
objects with that member, or older versions would take them for damaged.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

Migration = Callable[[dict[str, Any]], dict[str, Any]]
"""From the members of a record to those of the next schema."""

_UNKNOWN_MEMBER: Final = ("Object contains unknown field", "Expected `array` of at most length")
"""How msgspec's message begins where a record has more than its type."""


class NewerSchema(Exception):
    """A record was written by a newer version."""

    def __init__(self, members: Mapping[str, Any], known: int) -> None:
        self.members = members
        """The record, as far as JSON goes."""
        found = _schema_of(members)
        super().__init__(
            f"written by a newer version: its schema is {found}, this version reads up to {known}"
            if found > known
            else "written by a newer version: it has fields that this version does not know"
        )


class NewerRecordError(Exception):
    """A record was written by a newer version, so this one does not change it."""

    def __init__(self, what: str, name: str, why: str) -> None:
        self.what = what
        self.name = name
        self.why = why
        super().__init__(self.message_for(name))

    def message_for(self, name: str) -> str:
        """The message, with the record's name as a caller knows it."""
        return (
            f"{self.what} {name} was {self.why}; it is left as it is: use a knouds-worker of that"
            " version, or update this one"
        )


class _Header(msgspec.Struct):
    schema: Annotated[int, msgspec.Meta(ge=0)] = 0


class RecordSchema(Generic[T]):
    """Reads the records of one type, whose class has the current schema as its tag."""

    def __init__(self, record_type: type[T], migrations: Mapping[int, Migration]) -> None:
        self._type = record_type
        tag = record_type.__struct_config__.tag
        self.current = tag if isinstance(tag, int) else 0
        self._prefix = b'{"schema":%d,' % self.current
        self._decoder = msgspec.json.Decoder(record_type)
        self._migrations = migrations

    def decode(self, data: bytes) -> T:
        """Read a record; raises `NewerSchema`, or `codec.DECODE_ERRORS` where it is malformed."""
        try:
            if data.startswith(self._prefix):
                return self._decoder.decode(data)
            return self._migrated(msgspec.json.decode(data, type=dict[str, Any]))
        except msgspec.ValidationError as error:
            if str(error).startswith(_UNKNOWN_MEMBER):
                members = msgspec.json.decode(data, type=dict[str, Any])
                raise NewerSchema(members, self.current) from None
            raise

    def shown(self, newer: NewerSchema) -> T | None:
        """What can be read of a newer record, to be shown only; None without a required member."""
        found: dict[str, Any] = {}
        for field in msgspec.structs.fields(self._type):
            with contextlib.suppress(KeyError, msgspec.ValidationError):
                found[field.name] = msgspec.convert(newer.members[field.encode_name], field.type)
        try:
            return self._type(**found)
        except TypeError:
            return None

    def _migrated(self, members: dict[str, Any]) -> T:
        found = _schema_of(members)
        if found > self.current:
            raise NewerSchema(members, self.current)
        for number in range(found, self.current):
            members = self._migrations[number](members)
        return msgspec.convert(members | {"schema": self.current}, self._type)


def _schema_of(members: Mapping[str, Any]) -> int:
    """The number of a record's schema; raises `msgspec.ValidationError` where it is no number."""
    return msgspec.convert(dict(members), _Header).schema


def _unchanged(members: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 has the same members as records without a number."""
    return members


def _job_0_to_1(members: dict[str, Any]) -> dict[str, Any]:
    """`uncertain_submits` had `resubmitted`, which nothing reads."""
    submits = msgspec.convert(members.get("uncertain_submits", []), list[dict[str, Any]])
    for submit in submits:
        submit.pop("resubmitted", None)
    return members | ({"uncertain_submits": submits} if submits else {})


JOB_MIGRATIONS: Final[Mapping[int, Migration]] = {
    0: _job_0_to_1,
    1: _unchanged,
    2: _unchanged,
    3: _unchanged,
}
UNCHANGED: Final[Mapping[int, Migration]] = {0: _unchanged}
"""Of every other record: holds, cool-downs, breakers, rate-limit buckets, heartbeats, orphan
deliveries, sessions."""
