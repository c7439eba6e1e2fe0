"""The provider's routes over aiohttp: a handler reads the request and sends the decision."""

from aiohttp import web

from worker.sandbox.config import DEFAULT_KEY
from worker.sandbox.faults.fault_table import ROWS
from worker.sandbox.http.server import SandboxServer, respond
from worker.sandbox.provider import executions
from worker.sandbox.provider.catalogue import TARGETS, SandboxKind, SandboxMode
from worker.sandbox.provider.replies import error_reply, json_reply
from worker.sandbox.provider.submits import Submit, submit

SERVER = web.AppKey("server", SandboxServer)

_KEY_HEADER = "x-api-key"


async def _run(request: web.Request, kind: SandboxKind) -> web.StreamResponse:
    server = request.app[SERVER]
    wants_async = "async=true" in request.rel_url.raw_query_string.split("&")
    call = Submit(
        kind=kind,
        name=request.match_info["name"],
        mode=SandboxMode.ASYNC if wants_async else SandboxMode.SYNC,
        key=request.headers.get(_KEY_HEADER),
        raw=await request.read(),
    )
    response = submit(server.state, call, server.clock.now())
    return await server.perform(request, f"run.{kind}", response)


async def _run_model(request: web.Request) -> web.StreamResponse:
    return await _run(request, SandboxKind.MODEL)


async def _run_workflow(request: web.Request) -> web.StreamResponse:
    return await _run(request, SandboxKind.WORKFLOW)


async def _poll(request: web.Request) -> web.StreamResponse:
    server = request.app[SERVER]
    key = request.headers.get(_KEY_HEADER)
    response = executions.poll(server.state, request.match_info["id"], key, server.clock.now())
    return await server.perform(request, "poll", response)


async def _cancel(request: web.Request) -> web.StreamResponse:
    server = request.app[SERVER]
    key = request.headers.get(_KEY_HEADER)
    response = executions.cancel(server.state, request.match_info["id"], key, server.clock.now())
    return await server.perform(request, "cancel", response)


async def _schema(request: web.Request) -> web.StreamResponse:
    server = request.app[SERVER]
    key = request.headers.get(_KEY_HEADER)
    response = executions.schema(server.state, request.match_info["name"], key, server.clock.now())
    return await server.perform(request, "schema", response)


async def _whoami(request: web.Request) -> web.StreamResponse:
    server = request.app[SERVER]
    key = request.headers.get(_KEY_HEADER)
    response = executions.whoami(server.state, key, server.clock.now())
    return await server.perform(request, "whoami", response)


async def _index(request: web.Request) -> web.StreamResponse:
    """Return the index: the key, the routes, the targets and the faults."""
    resources = {resource.canonical for resource in request.app.router.resources()}
    index = {
        "service": "a local substitute for the Knouds API; nothing here costs anything",
        "key": DEFAULT_KEY,
        "routes": sorted(resources),
        "models": [t.name for t in TARGETS if t.kind is SandboxKind.MODEL],
        "workflows": [t.name for t in TARGETS if t.kind is SandboxKind.WORKFLOW],
        "faults": sorted(ROWS),
    }
    return respond(json_reply(index))


async def _not_found(request: web.Request) -> web.StreamResponse:
    return respond(error_reply(404, f"Nothing at {request.method} {request.path}"))


def add_routes(app: web.Application) -> None:
    """Add the provider's routes and the index."""
    router = app.router
    router.add_get("/api/executions/{id}", _poll)
    router.add_post("/api/executions/{id}/cancel", _cancel)
    router.add_post("/api/models/{name}/run", _run_model)
    router.add_post("/api/workflows/{name}/run", _run_workflow)
    router.add_get("/api/workflows/{name}/schema", _schema)
    router.add_get("/api/whoami", _whoami)
    router.add_get("/", _index)


def add_fallback(app: web.Application) -> None:
    """Add a JSON 404 for every other path; must come last."""
    app.router.add_route("*", "/{path:.*}", _not_found)
