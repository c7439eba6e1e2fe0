"""The reports of admin calls: the state, the ledger, the executions."""

from collections import Counter
from dataclasses import asdict

from msgspec import to_builtins

from worker.sandbox.faults.queue import QueuedFault
from worker.sandbox.http.webhooks import DeliveryCounts
from worker.sandbox.provider.accounts import ApiKey
from worker.sandbox.provider.replies import JsonObject
from worker.sandbox.provider.state import SandboxState


def key_report(key: ApiKey) -> JsonObject:
    """Return the fields of a key."""
    return {
        "key": key.key,
        "user": key.user.id,
        "tier": key.user.tier,
        "approved": key.user.approved,
        "standing": key.state,
        "contract": key.contract,
        "capabilities": sorted(key.effective_capabilities()),
        "webhook": None if key.hook is None else asdict(key.hook),
    }


def _fault_report(queued: QueuedFault) -> JsonObject:
    spec = queued.spec
    return {
        "id": queued.id,
        "match": {k: v for k, v in to_builtins(spec.match).items() if v is not None},
        "fault": spec.fault,
        "status": spec.status,
        "times": spec.times,
        "hits": queued.hits,
    }


def _windows(state: SandboxState, now: float) -> list[JsonObject]:
    limiter = state.limiter
    rows: list[JsonObject] = []
    for (user_id, bucket), window in limiter.windows.items():
        rule = limiter.rules[bucket]
        limit = rule.limit_for(state.accounts.users[user_id].tier)
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


def state_report(state: SandboxState, delivery_counts: DeliveryCounts, now: float) -> JsonObject:
    """Return everything but the runs themselves."""
    states = Counter(str(run.state_at(now)) for run in state.runs.values())
    users = state.accounts.users.values()
    return {
        "now": now,
        "users": [asdict(user) for user in users],
        "keys": [key_report(key) for key in state.accounts.keys.values()],
        "limits": {route: asdict(rule) for route, rule in state.limiter.rules.items()},
        "windows": _windows(state, now),
        "faults": [_fault_report(queued) for queued in state.faults.queued],
        "runs": dict(states),
        "totals": asdict(state.ledger.totals()),
        "webhooks": asdict(delivery_counts),
        "agenda": len(state.timers),
    }


def ledger_report(state: SandboxState, label: str | None) -> JsonObject:
    """Return the requests by route and status, and the counts of each label or of one."""
    labels = state.ledger.labels
    names = list(labels) if label is None else [label] if label in labels else []
    return {
        "requests": state.ledger.routes(),
        "totals": asdict(state.ledger.totals()),
        "labels": {name: asdict(labels[name]) for name in names},
    }
