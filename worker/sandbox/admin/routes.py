"""Admin calls under `/_sandbox/`: they read the sandbox's state and change it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET

from worker.sandbox.admin import bodies as spec
from worker.sandbox.admin.reports import key_report, ledger_report, state_report
from worker.sandbox.config import SECRET_LENGTHS
from worker.sandbox.faults.options import AdminFault
from worker.sandbox.http.routes import SERVER
from worker.sandbox.http.server import SandboxServer, respond
from worker.sandbox.http.webhooks import make_test_delivery
from worker.sandbox.provider.accounts import Hook, KeyState
from worker.sandbox.provider.catalogue import ListedWorkflow
from worker.sandbox.provider.replies import JsonObject, error_reply, json_reply
from worker.sandbox.provider.runs import run_report
from worker.sandbox.provider.usage_rows import ForeignRun

_Body = TypeVar("_Body", bound=msgspec.Struct)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _state(request: web.Request) -> JsonObject:
    server = request.app[SERVER]
    return state_report(server.state, server.webhooks.counts, server.clock.now())


async def _ledger(request: web.Request) -> JsonObject:
    return ledger_report(request.app[SERVER].state, request.query.get("label"))


async def _executions(request: web.Request) -> JsonObject:
    server = request.app[SERVER]
    since = float(request.query.get("since", "0"))
    label = request.query.get("label")
    found = [
        run_report(run, server.clock.now())
        for run in server.state.runs.values()
        if run.started_at >= since and label in (None, run.options.label)
    ]
    return {"items": found}


async def _post_fault(server: SandboxServer, body: AdminFault) -> JsonObject:
    return {"id": server.state.faults.add(body).id}


async def _delete_faults(request: web.Request) -> JsonObject:
    fault_id = request.query.get("id")
    faults = request.app[SERVER].state.faults
    return {"cleared": faults.remove(None if fault_id is None else int(fault_id))}


async def _topup(server: SandboxServer, body: spec.Topup) -> JsonObject:
    user = server.state.accounts.require(body.key).user
    user.credits = (user.credits if body.balance is None else body.balance) + body.credits
    return {"user": user.id, "credits": user.credits}


async def _grants(server: SandboxServer, body: spec.Grant) -> JsonObject:
    user = server.state.accounts.require(body.key).user
    user.grants[body.model] = body.runs
    return {"user": user.id, "grants": user.grants}


async def _tier(server: SandboxServer, body: spec.TierChange) -> JsonObject:
    user = server.state.accounts.require(body.key).user
    user.tier = body.tier
    return {"user": user.id, "tier": user.tier}


async def _limits(server: SandboxServer, body: spec.LimitChange) -> JsonObject:
    rule = server.state.limiter.set_limit(body.route, body.limit, body.window_s)
    return {"route": body.route, "limit": rule.limit, "window_s": rule.window_s}


async def _keys(server: SandboxServer, body: spec.KeyChange) -> JsonObject:
    key = server.state.accounts.get_or_add(body.key, body.user, body.tier)
    if body.state is not None:
        key.state = body.state
    elif body.valid is not None:
        key.state = KeyState.VALID if body.valid else KeyState.REVOKED
    if body.contract is not None:
        key.contract = body.contract
    if body.capabilities is not UNSET:
        key.capabilities = None if body.capabilities is None else frozenset(body.capabilities)
    if body.approved is not None:
        key.user.approved = body.approved
    return key_report(key)


async def _workflows(server: SandboxServer, body: spec.WorkflowChange) -> JsonObject:
    listed = server.state.workflows
    if not body.listed:
        listed.pop(body.slug, None)
        return {"workflows": list(listed)}
    one = listed.setdefault(body.slug, ListedWorkflow(body.slug, body.slug, None))
    if body.price is not UNSET:
        one.price = body.price
    one.title = one.title if body.title is None else body.title
    one.archived = one.archived if body.archived is None else body.archived
    one.hidden = one.hidden if body.hidden is None else body.hidden
    return {"workflows": list(listed)}


async def _webhook(server: SandboxServer, body: spec.HookChange) -> JsonObject:
    key = server.state.accounts.require(body.key)
    if body.url is None:
        key.hook = None
        return key_report(key)
    url = body.url if body.url is not UNSET else (key.hook.url if key.hook else None)
    if url is None:
        raise ValueError("this key has no webhook yet: give a url")
    if body.secret is not None and len(body.secret) not in SECRET_LENGTHS:
        raise ValueError("a secret has 16 to 256 characters")
    hook = key.hook or Hook(url=url, secret=server.config.webhook_secret)
    shares = {
        name: value
        for name in ("lost", "doubled", "early", "delay_s", "jitter_s")
        if (value := getattr(body, name)) is not None
    }
    key.hook = replace(hook, url=url, secret=body.secret or hook.secret, **shares)
    return key_report(key)


async def _webhook_test(server: SandboxServer, body: spec.KeyedBody) -> JsonObject:
    key = server.state.accounts.require(body.key)
    if key.hook is None:
        raise ValueError("this key has no webhook")
    delivery = make_test_delivery(key.hook, key.user.id)
    return {"delivered": await server.webhooks.deliver(delivery)}


async def _finish(server: SandboxServer, body: spec.FinishNow) -> JsonObject:
    selected = msgspec.structs.asdict(body)
    return {"finished": server.state.finish_async_runs(server.clock.now(), **selected)}


async def _usage(server: SandboxServer, body: spec.UsageChange) -> JsonObject:
    book, user = server.state.usage, server.state.accounts.require(body.key).user
    if body.late_s is not None:
        book.late_s = body.late_s
    if (foreign := body.foreign) is not None:
        for _ in range(foreign.count):
            run = ForeignRun(
                kind=foreign.kind,
                target=foreign.target,
                started_at=server.clock.now() - foreign.age_s,
                takes_s=foreign.duration_s,
                credits=foreign.credits,
                request_id=f"foreign_{server.state.new_id()[-12:]}",
            )
            book.add_foreign(user, run)
    return {"user": user.id, "rows": len(book.rows), "late_s": book.late_s}


async def _reset(request: web.Request) -> JsonObject:
    await request.app[SERVER].reset()
    return {"reset": True}


def _json_handler(handler: Callable[[web.Request], Awaitable[JsonObject]]) -> _Handler:
    """Return an admin call as a handler: its value as JSON, its ValueError as a 400."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            reply = json_reply(await handler(request))
        except (ValueError, msgspec.DecodeError) as error:
            reply = error_reply(400, str(error))
        return respond(reply)

    return handle


def _body_handler(
    body_type: type[_Body], act: Callable[[SandboxServer, _Body], Awaitable[JsonObject]]
) -> _Handler:
    """Return an admin call with a JSON body as a handler; no body is an empty object."""

    async def handle(request: web.Request) -> JsonObject:
        raw = await request.read()
        return await act(request.app[SERVER], msgspec.json.decode(raw or b"{}", type=body_type))

    return _json_handler(handle)


def add_routes(app: web.Application) -> None:
    """Add every admin call."""
    router = app.router
    router.add_get("/_sandbox/state", _json_handler(_state))
    router.add_get("/_sandbox/ledger", _json_handler(_ledger))
    router.add_get("/_sandbox/executions", _json_handler(_executions))
    router.add_post("/_sandbox/faults", _body_handler(AdminFault, _post_fault))
    router.add_delete("/_sandbox/faults", _json_handler(_delete_faults))
    router.add_post("/_sandbox/topup", _body_handler(spec.Topup, _topup))
    router.add_post("/_sandbox/grants", _body_handler(spec.Grant, _grants))
    router.add_post("/_sandbox/tier", _body_handler(spec.TierChange, _tier))
    router.add_post("/_sandbox/limits", _body_handler(spec.LimitChange, _limits))
    router.add_post("/_sandbox/keys", _body_handler(spec.KeyChange, _keys))
    router.add_post("/_sandbox/workflows", _body_handler(spec.WorkflowChange, _workflows))
    router.add_post("/_sandbox/webhook", _body_handler(spec.HookChange, _webhook))
    router.add_post("/_sandbox/webhook/test", _body_handler(spec.KeyedBody, _webhook_test))
    router.add_post("/_sandbox/usage", _body_handler(spec.UsageChange, _usage))
    router.add_post("/_sandbox/finish", _body_handler(spec.FinishNow, _finish))
    router.add_post("/_sandbox/reset", _json_handler(_reset))
