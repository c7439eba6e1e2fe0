"""What an admin is shown: the state, the ledger, the executions."""

from collections import Counter
from dataclasses import asdict

from msgspec import to_builtins

from worker.sandbox.faults.queue import Posted
from worker.sandbox.http.webhooks import Tally
from worker.sandbox.provider.accounts import ApiKey
from worker.sandbox.provider.replies import JsonObject
from worker.sandbox.provider.runs import record
from worker.sandbox.provider.state import World


def key_report(key: ApiKey) -> JsonObject:
    """Return what is known of a key."""
    return {
        "key": key.key,
        "user": key.user.id,
        "tier": key.user.tier,
        "standing": key.standing,
        "contract": key.contract,
        "capabilities": sorted(key.held()),
        "webhook": None if key.hook is None else asdict(key.hook),
    }


def _fault_report(posted: Posted) -> JsonObject:
    asked = posted.spec
    return {
        "id": posted.id,
        "match": {k: v for k, v in to_builtins(asked.match).items() if v is not None},
        "fault": asked.fault,
        "status": asked.status,
        "times": asked.times,
        "hits": posted.hits,
    }


def _windows(world: World, now: float) -> list[JsonObject]:
    limiter = world.limiter
    rows: list[JsonObject] = []
    for (user_id, bucket), window in limiter.windows.items():
        rule = limiter.rules[bucket]
        limit = rule.limit_for(world.accounts.users[user_id].tier)
        resets_in_s = window.started_at + rule.window_s - now
        rows.append(
            {
                "user": user_id,
                "route": bucket,
                "used": window.used if resets_in_s > 0 else 0,
                "limit": limit,
                "resets_in_s": round(max(0.0, resets_in_s), 3),
            }
        )
    return rows


def state_report(world: World, tally: Tally, now: float) -> JsonObject:
    """Return everything but the runs themselves."""
    states = Counter(str(run.state(now)) for run in world.runs.values())
    users = world.accounts.users.values()
    return {
        "now": now,
        "users": [asdict(user) for user in users],
        "keys": [key_report(key) for key in world.accounts.keys.values()],
        "limits": {route: asdict(rule) for route, rule in world.limiter.rules.items()},
        "windows": _windows(world, now),
        "faults": [_fault_report(posted) for posted in world.faults.posted],
        "runs": dict(states),
        "totals": asdict(world.ledger.totals()),
        "webhooks": asdict(tally),
        "agenda": len(world.agenda),
    }


def ledger_report(world: World, label: str | None) -> JsonObject:
    """Return the requests by route and status and each label's account, or one label's."""
    labels = world.ledger.labels
    names = list(labels) if label is None else [label] if label in labels else []
    return {
        "requests": world.ledger.routes(),
        "totals": asdict(world.ledger.totals()),
        "labels": {name: asdict(labels[name]) for name in names},
    }


def executions(world: World, now: float, label: str | None, since: float) -> list[JsonObject]:
    """Return the runs of a label (None: of all) started at `since` or later, oldest first."""
    return [
        record(run, now)
        for run in world.runs.values()
        if run.started_at >= since and label in (None, run.knobs.label)
    ]
