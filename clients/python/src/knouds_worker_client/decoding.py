"""From JSON to models and back.

Fields that a newer server adds are ignored; one that an older server lacks is None.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import cache
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

_Read = Callable[[Any], Any]


def decode(kind: Any, value: Any) -> Any:
    """A JSON value as `kind`, a model or an annotation of one."""
    return _reader(kind)(value)


def encode(value: object) -> Any:
    """A model or a Python value as a JSON value; fields of a model that are None are omitted."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = {_json_name(one): getattr(value, one.name) for one in dataclasses.fields(value)}
        return {name: encode(one) for name, one in given.items() if one is not None}
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {name: encode(one) for name, one in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [encode(one) for one in cast("list[Any]", value)]
    return value


def rfc3339(moment: datetime) -> str:
    """A time as the API reads it; raises ValueError for one without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone, as datetime.now(timezone.utc) has")
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


@cache
def _reader(kind: Any) -> _Read:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _model_reader(kind)
    if kind is datetime:
        return _time
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list:
        item = _reader(arguments[0])
        return lambda value: [item(one) for one in value]
    if origin is dict:
        item = _reader(arguments[1])
        return lambda value: {name: item(one) for name, one in value.items()}
    if origin in (Union, types.UnionType):
        return _union_reader(arguments)
    return _unchanged


def _unchanged(value: Any) -> Any:
    return value


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


def _union_reader(members: tuple[Any, ...]) -> _Read:
    """None stays None; of models the first whose fields are all there."""
    kinds = [one for one in members if one is not type(None)]
    models: list[Any] = [one for one in kinds if dataclasses.is_dataclass(one)]
    if not models:
        read = _reader(kinds[0])
        return lambda value: None if value is None else read(value)

    def choose(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        fitting = (one for one in models if _required(one) <= value.keys())
        return decode(next(fitting, models[-1]), value)

    return choose


@cache
def _required(model: Any) -> frozenset[str]:
    fields = dataclasses.fields(model)
    return frozenset(_json_name(one) for one in fields if one.default is dataclasses.MISSING)


def _model_reader(model: type[Any]) -> _Read:
    hints = get_type_hints(model)
    fields = [
        (one.name, _json_name(one), _lazy(hints[one.name])) for one in dataclasses.fields(model)
    ]

    def read(value: Mapping[str, Any]) -> Any:
        return model(
            **{
                name: None if (found := value.get(json_name)) is None else reader(found)
                for name, json_name, reader in fields
            }
        )

    return read


def _lazy(kind: Any) -> _Read:
    """The reader of a field, made when it is first needed: models may contain themselves."""

    def read(value: Any) -> Any:
        return _reader(kind)(value)

    return read


def _json_name(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get("name", field.name))
