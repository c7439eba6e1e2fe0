"""Responses of the probes, of `/` and of `/openapi.json`, and to a webhook."""

from typing import Annotated, Any

from msgspec import Meta

from worker.api.models.response import ResponseModel

_True = Annotated[bool, Meta(extra_json_schema={"const": True})]


class LivenessResponse(ResponseModel):
    """The process answers."""

    live: _True


class ReadinessResponse(ResponseModel):
    """Redis answers. Without workers, jobs are accepted and wait."""

    ready: _True
    workers: int
    troubles: Annotated[
        dict[str, dict[str, str]],
        Meta(
            description="worker → background services that are being restarted, with the class of"
            " their last error; `clock`, `redis_sentinels`, `redis_primary`, `redis_wait`,"
            " `redis_replicas` and `redis_data`: what is the matter, and what to do"
        ),
    ]


class IndexResponse(ResponseModel):
    """The name and version of the service, and where its API is described."""

    service: str
    version: str
    openapi: str


class DocumentResponse(ResponseModel):
    """An OpenAPI document."""

    openapi: str
    info: dict[str, str]
    servers: list[dict[str, str]]
    tags: list[dict[str, str]]
    paths: dict[str, dict[str, Any]]
    components: dict[str, dict[str, Any]]


class ReceiptResponse(ResponseModel):
    """What became of a webhook; with each of these outcomes it need not be delivered again."""

    outcome: Annotated[
        str, Meta(extra_json_schema={"enum": ["stored", "known", "test", "ignored"]})
    ]
