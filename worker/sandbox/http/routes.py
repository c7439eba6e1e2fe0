"""The provider's routes over aiohttp: a handler reads the request and sends the decision."""

from collections.abc import Callable
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler

from worker.sandbox.config import DEFAULT_KEY
from worker.sandbox.faults.fault_table import ROWS
from worker.sandbox.http.server import SandboxServer, respond
from worker.sandbox.provider import executions, usage
from worker.sandbox.provider.catalogue import TARGETS, SandboxKind, SandboxMode
from worker.sandbox.provider.replies import error_reply, json_reply
from worker.sandbox.provider.responses import SandboxRefusal, SandboxResponse
from worker.sandbox.provider.state import SandboxState
from worker.sandbox.provider.submits import Submit, submit

SERVER = web.AppKey("server", SandboxServer)

Decide = Callable[[SandboxState, float], SandboxResponse]


async def _perform(request: web.Request, route: str, decide: Decide) -> web.StreamResponse:
    """Send the response that is decided now, or that of the refusal."""
    server = request.app[SERVER]
    try:
        response = decide(server.state, server.clock.now())
    except SandboxRefusal as refusal:
        response = refusal.response
    return await server.perform(request, route, response)


async def _run(request: web.Request, kind: SandboxKind) -> web.StreamResponse:
    wants_async = "async=true" in request.rel_url.raw_query_string.split("&")
    call = Submit(
        kind=kind,
        name=request.match_info["name"],
        mode=SandboxMode.ASYNC if wants_async else SandboxMode.SYNC,
        key=_key_of(request),
        raw=await request.read(),
    )
    return await _perform(request, f"run.{kind}", lambda state, now: submit(state, call, now))


async def _poll(request: web.Request) -> web.StreamResponse:
    run_id, key = request.match_info["id"], _key_of(request)
    return await _perform(
        request, "poll", lambda state, now: executions.poll(state, run_id, key, now)
    )


async def _cancel(request: web.Request) -> web.StreamResponse:
    run_id, key = request.match_info["id"], _key_of(request)
    return await _perform(
        request, "cancel", lambda state, now: executions.cancel(state, run_id, key, now)
    )


async def _schema(request: web.Request) -> web.StreamResponse:
    name, key = request.match_info["name"], _key_of(request)
    return await _perform(
        request, "schema", lambda state, now: executions.schema(state, name, key, now)
    )


async def _whoami(request: web.Request) -> web.StreamResponse:
    key = _key_of(request)
    return await _perform(request, "whoami", lambda state, now: executions.whoami(state, key, now))


async def _workflows(request: web.Request) -> web.StreamResponse:
    key = _key_of(request)
    return await _perform(
        request, "workflows", lambda state, now: executions.workflows(state, key, now)
    )


async def _usage(request: web.Request) -> web.StreamResponse:
    key, given = _key_of(request), request.query
    query = usage.UsageQuery(
        status=given.get("status", ""),
        model_id=given.get("modelId", ""),
        workflow_slug=given.get("workflowSlug", ""),
        limit=given.get("limit", ""),
        offset=given.get("offset", ""),
    )
    return await _perform(request, "usage", lambda state, now: usage.usage(state, query, key, now))


def _key_of(request: web.Request) -> str | None:
    return request.headers.get("x-api-key")


async def _index(request: web.Request) -> web.StreamResponse:
    """Return the index: the key, the routes, the targets and the faults."""
    resources = {resource.canonical for resource in request.app.router.resources()}
    index = {
        "service": "the sandbox of the Knouds API; nothing here costs anything",
        "key": DEFAULT_KEY,
        "routes": sorted(resources),
        "models": [t.name for t in TARGETS if t.kind is SandboxKind.MODEL],
        "workflows": [t.name for t in TARGETS if t.kind is SandboxKind.WORKFLOW],
        "faults": sorted(ROWS),
    }
    return respond(json_reply(index))


@web.middleware
async def refuse_encoded_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a body with a `Content-Encoding` before it is read."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if request.body_exists and encoding.strip().lower() not in ("", "identity"):
        message = f"Content-Encoding {encoding[:60]!r} is not supported: send the body as it is"
        return respond(error_reply(415, message, "INVALID_BODY"))
    return await handler(request)


async def _not_found(request: web.Request) -> web.StreamResponse:
    return respond(error_reply(404, f"Nothing at {request.method} {request.path}"))


def add_routes(app: web.Application) -> None:
    """Add the provider's routes and the index."""
    router = app.router
    router.add_get("/api/executions/{id}", _poll)
    router.add_post("/api/executions/{id}/cancel", _cancel)
    router.add_post("/api/models/{name}/run", partial(_run, kind=SandboxKind.MODEL))
    router.add_post("/api/workflows/{name}/run", partial(_run, kind=SandboxKind.WORKFLOW))
    router.add_get("/api/workflows/{name}/schema", _schema)
    router.add_get("/api/whoami", _whoami)
    router.add_get("/api/workflows", _workflows)
    router.add_get("/api/usage", _usage)
    router.add_get("/", _index)


def add_fallback(app: web.Application) -> None:
    """Add a JSON 404 for every other path; must come last."""
    app.router.add_route("*", "/{path:.*}", _not_found)
