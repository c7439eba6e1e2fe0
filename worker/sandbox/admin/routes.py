"""Admin calls under `/_sandbox/`: look into the sandbox, and change it while it runs."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET

from worker.sandbox.admin import bodies as spec
from worker.sandbox.admin.reports import execution_reports, key_report, ledger_report, state_report
from worker.sandbox.config import SECRET_LENGTHS
from worker.sandbox.faults.options import AdminFault
from worker.sandbox.http.routes import SERVER
from worker.sandbox.http.server import SandboxServer, respond
from worker.sandbox.http.webhooks import make_test_delivery
from worker.sandbox.provider.accounts import ApiKey, Hook, KeyState, User
from worker.sandbox.provider.catalogue import SandboxMode
from worker.sandbox.provider.limits import LimitRule
from worker.sandbox.provider.replies import JsonObject, error_reply, json_reply
from worker.sandbox.provider.tiers import PLANS

_Body = TypeVar("_Body", bound=msgspec.Struct)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _require_key(stage: SandboxServer, key: str) -> ApiKey:
    found = stage.state.accounts.keys.get(key)
    if found is None:
        raise ValueError(f"no key {key}")
    return found


async def _read(request: web.Request, body_type: type[_Body]) -> _Body:
    raw = await request.read()
    return msgspec.json.decode(raw or b"{}", type=body_type)


async def _state(request: web.Request) -> JsonObject:
    stage = request.app[SERVER]
    return state_report(stage.state, stage.webhooks.counts, stage.clock.now())


async def _ledger(request: web.Request) -> JsonObject:
    return ledger_report(request.app[SERVER].state, request.query.get("label"))


async def _executions(request: web.Request) -> JsonObject:
    stage = request.app[SERVER]
    since = float(request.query.get("since", "0"))
    label = request.query.get("label")
    return {"items": execution_reports(stage.state, stage.clock.now(), label, since)}


async def _post_fault(request: web.Request) -> JsonObject:
    asked = await _read(request, AdminFault)
    return {"id": request.app[SERVER].state.faults.add(asked).id}


async def _delete_faults(request: web.Request) -> JsonObject:
    asked = request.query.get("id")
    cleared = request.app[SERVER].state.faults.remove(None if asked is None else int(asked))
    return {"cleared": cleared}


async def _topup(request: web.Request) -> JsonObject:
    body = await _read(request, spec.Topup)
    user = _require_key(request.app[SERVER], body.key).user
    user.credits = (user.credits if body.balance is None else body.balance) + body.credits
    return {"user": user.id, "credits": user.credits}


async def _grants(request: web.Request) -> JsonObject:
    body = await _read(request, spec.Grant)
    user = _require_key(request.app[SERVER], body.key).user
    user.grants[body.model] = body.runs
    return {"user": user.id, "grants": user.grants}


async def _tier(request: web.Request) -> JsonObject:
    body = await _read(request, spec.TierChange)
    user = _require_key(request.app[SERVER], body.key).user
    user.tier = body.tier
    return {"user": user.id, "tier": user.tier}


async def _limits(request: web.Request) -> JsonObject:
    body = await _read(request, spec.LimitChange)
    limiter = request.app[SERVER].state.limiter
    window_s = limiter.rules[body.route].window_s if body.window_s is None else body.window_s
    limiter.rules[body.route] = LimitRule(body.limit, window_s)
    for place in [place for place in limiter.windows if place[1] is body.route]:
        del limiter.windows[place]
    return {"route": body.route, "limit": body.limit, "window_s": window_s}


async def _keys(request: web.Request) -> JsonObject:
    body = await _read(request, spec.KeyChange)
    accounts = request.app[SERVER].state.accounts
    key = accounts.keys.get(body.key)
    if key is None:
        user_id = body.user or f"user_of_{body.key}"
        fresh = User(user_id, body.tier, PLANS[body.tier].credits)
        key = accounts.add(ApiKey(body.key, accounts.users.setdefault(user_id, fresh)))
    if body.valid is not None:
        key.state = KeyState.VALID if body.valid else KeyState.REVOKED
    if body.standing is not None:
        key.state = body.standing
    if body.contract is not None:
        key.contract = body.contract
    if body.capabilities is not UNSET:
        key.capabilities = None if body.capabilities is None else frozenset(body.capabilities)
    return key_report(key)


async def _webhook(request: web.Request) -> JsonObject:
    body = await _read(request, spec.HookChange)
    stage = request.app[SERVER]
    key = _require_key(stage, body.key)
    if body.url is None:
        key.hook = None
        return key_report(key)
    url = body.url if body.url is not UNSET else (key.hook.url if key.hook else None)
    if url is None:
        raise ValueError("this key has no webhook yet: give a url")
    if body.secret is not None and len(body.secret) not in SECRET_LENGTHS:
        raise ValueError("a secret has 16 to 256 characters")
    hook = key.hook or Hook(url=url, secret=stage.config.webhook_secret)
    shares = {
        name: value
        for name in ("lost", "doubled", "early", "delay_s", "jitter_s")
        if (value := getattr(body, name)) is not None
    }
    key.hook = replace(hook, url=url, secret=body.secret or hook.secret, **shares)
    return key_report(key)


async def _webhook_test(request: web.Request) -> JsonObject:
    body = await _read(request, spec.HookTest)
    stage = request.app[SERVER]
    key = _require_key(stage, body.key)
    if key.hook is None:
        raise ValueError("this key has no webhook")
    return {"delivered": await stage.webhooks.deliver(make_test_delivery(key.hook, key.user.id))}


async def _finish(request: web.Request) -> JsonObject:
    body = await _read(request, spec.FinishNow)
    stage = request.app[SERVER]
    now = stage.clock.now()
    finished: list[str] = []
    for run in stage.state.runs.values():
        wanted = (
            run.mode is SandboxMode.ASYNC
            and not run.has_ended(now)
            and body.execution_id in (None, run.id)
            and body.label in (None, run.options.label)
            and body.target in (None, run.target.name)
        )
        if wanted:
            run.ends_at = now
            stage.state.settle(run, now)
            finished.append(run.id)
    return {"finished": finished}


async def _reset(request: web.Request) -> JsonObject:
    await request.app[SERVER].reset()
    return {"reset": True}


def _json_handler(handler: Callable[[web.Request], Awaitable[JsonObject]]) -> _Handler:
    """Wrap an admin call: its value becomes JSON, its ValueError a 400 that says why."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            reply = json_reply(await handler(request))
        except (ValueError, msgspec.DecodeError) as error:
            reply = error_reply(400, str(error))
        return respond(reply)

    return handle


def add_routes(app: web.Application) -> None:
    """Add every admin call."""
    router = app.router
    router.add_get("/_sandbox/state", _json_handler(_state))
    router.add_get("/_sandbox/ledger", _json_handler(_ledger))
    router.add_get("/_sandbox/executions", _json_handler(_executions))
    router.add_post("/_sandbox/faults", _json_handler(_post_fault))
    router.add_delete("/_sandbox/faults", _json_handler(_delete_faults))
    router.add_post("/_sandbox/topup", _json_handler(_topup))
    router.add_post("/_sandbox/grants", _json_handler(_grants))
    router.add_post("/_sandbox/tier", _json_handler(_tier))
    router.add_post("/_sandbox/limits", _json_handler(_limits))
    router.add_post("/_sandbox/keys", _json_handler(_keys))
    router.add_post("/_sandbox/webhook", _json_handler(_webhook))
    router.add_post("/_sandbox/webhook/test", _json_handler(_webhook_test))
    router.add_post("/_sandbox/finish", _json_handler(_finish))
    router.add_post("/_sandbox/reset", _json_handler(_reset))
