"""A token learns what it may do, and nothing else is open to it."""

import re

from tests.api.checked_api import CheckedApi
from tests.api.token_entries import bearer
from worker.compose.api import ENDPOINTS


async def test_this_machine_may_do_everything_without_tokens(api: CheckedApi) -> None:
    found = (await api.get("/v1/whoami")).json
    assert (found["name"], found["role"], found["tenant"]) == ("local", "operate", "")
    assert {"enqueue_job", "get_job", "release_jobs", "release_hold"} <= set(found["operations"])


async def test_a_token_learns_who_it_is_and_what_it_may_do(of_tenants: CheckedApi) -> None:
    reply = await of_tenants.call("GET", "/v1/whoami", headers=bearer("red-own"))
    found = reply.json
    assert (found["name"], found["role"]) == ("red-own", "enqueue")
    assert (found["tenant"], found["own"], found["targets"]) == ("red", True, None)
    assert {"enqueue_job", "get_job", "list_jobs"} <= set(found["operations"])
    assert not {"explain_job", "get_stats", "cancel_jobs"} & set(found["operations"])


async def test_the_operations_that_it_names_are_those_that_are_open(of_tenants: CheckedApi) -> None:
    for name in ("red-app", "red-own", "red-ops", "app", "ops"):
        reply = await of_tenants.call("GET", "/v1/whoami", headers=bearer(name))
        for endpoint in ENDPOINTS:
            if endpoint.role is None or endpoint.is_long or endpoint.path == "/v1/whoami":
                continue
            path = re.sub(r"\{\w+\}", "none", endpoint.path)
            answered = await of_tenants.call(endpoint.method, path, headers=bearer(name))
            is_open = answered.status != 403
            assert is_open is (endpoint.operation.id in reply.json["operations"]), path
