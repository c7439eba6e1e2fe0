"""The schemas of `/openapi.json`, made of the models that read requests and encode responses."""

import inspect
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from worker.api.endpoints import Endpoint
from worker.api.models.events import EVENT_MODELS
from worker.api.models.problems import ProblemResponse
from worker.api.models.response import ResponseModel

REF: Final = "#/components/schemas/{model}"

_Facts = dict[str, Any]


def component_name(model: type[BaseModel] | type[ResponseModel]) -> str:
    """The name of a model in the document: `Job` for `JobResponse`."""
    return model.__name__.removesuffix("Response")


def reference(model: type[BaseModel] | type[ResponseModel]) -> dict[str, str]:
    """A reference to the schema of a model."""
    return {"$ref": REF.format(model=component_name(model))}


def component_schemas(endpoints: Sequence[Endpoint]) -> _Facts:
    """The schema of every model that `endpoints` read or answer, by its name."""
    responses: dict[type[ResponseModel], None] = dict.fromkeys(
        [ProblemResponse, *EVENT_MODELS.values()]
    )
    bodies: dict[type[BaseModel], None] = {}
    queries: dict[type[BaseModel], None] = {}  # for the schemas that their parameters refer to
    for endpoint in endpoints:
        responses |= {model: None for model in endpoint.responses.values() if model is not None}
        responses |= dict.fromkeys(endpoint.brief.values())
        if endpoint.body is not None:
            bodies[endpoint.body] = None
        if endpoint.query is not None:
            queries[endpoint.query] = None
    _, request_schemas = models_json_schema(
        [(model, "validation") for model in bodies | queries], ref_template=REF
    )
    _, response_schemas = msgspec.json.schema_components(
        list(responses), ref_template=REF.format(model="{name}")
    )
    named = {name.removesuffix("Response"): facts for name, facts in response_schemas.items()}
    defined: _Facts = request_schemas["$defs"]
    for query in queries:
        del defined[component_name(query)]
    return {name: _plain(facts) for name, facts in (defined | named).items()}


def _plain(schema: object) -> Any:
    """A schema with the names of `component_name`, and in the plainest form that means the same."""
    match schema:
        case dict():
            return _plain_facts(cast("_Facts", schema))
        case list():
            return [_plain(item) for item in cast("list[object]", schema)]
        case _:
            return schema


def _plain_facts(schema: _Facts) -> _Facts:
    facts = {name: _plain(fact) for name, fact in schema.items() if not _repeats_name(name, fact)}
    if isinstance(reference := facts.get("$ref"), str):
        facts["$ref"] = reference.removesuffix("Response")
    if isinstance(description := facts.get("description"), str):
        facts["description"] = inspect.cleandoc(description)
    if "enum" in facts and all(isinstance(one, str) for one in facts["enum"]):
        facts["type"] = "string"
    if {} in facts.get("anyOf", ()):  # any JSON value, which null is one of
        del facts["anyOf"]
    return facts


def _repeats_name(name: str, fact: object) -> bool:
    """Whether a fact is a title: it repeats the name of its property or component."""
    return name == "title" and isinstance(fact, str)
