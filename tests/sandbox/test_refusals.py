"""Every row of the provider's error table: caused by a request, or asked for as a fault."""

import msgspec
import pytest

from tests.sandbox.sandbox_http_client import SandboxHttpClient

TABLE = {
    "INVALID_INPUTS": 400,
    "INVALID_SLUG": 400,
    "INVALID_BODY": 400,
    "INVALID_CAPABILITY": 400,
    "INVALID_SCOPE": 400,
    "ASYNC_NOT_SUPPORTED": 400,
    "LEGACY_KEY_RETIRED": 401,
    "INSUFFICIENT_CREDITS": 402,
    "grant_exhausted": 402,
    "CAPABILITY_DENIED": 403,
    "SCOPE_DENIED": 403,
    "CAPABILITY_ABOVE_CEILING": 403,
    "API_KEY_ACCESS_DENIED": 403,
    "MODEL_TIER_REQUIRED": 403,
    "WORKFLOW_CAP_REACHED": 403,
    "MODEL_NOT_FOUND": 404,
    "EXECUTION_NOT_FOUND": 404,
    "RATE_LIMIT_EXCEEDED": 429,
    "EXECUTION_FAILED": 500,
    "PROVIDER_SUBMIT_FAILED": 500,
    "PROVIDER_RESPONSE_INCOMPLETE": 500,
}
CONTEXT = {
    "CAPABILITY_DENIED": {"required"},
    "SCOPE_DENIED": {"required", "actual"},
    "CAPABILITY_ABOVE_CEILING": {"attempted"},
    "RATE_LIMIT_EXCEEDED": {"tier", "limit", "retryAfter"},
    "PROVIDER_SUBMIT_FAILED": {"providerStatus", "providerBody"},
}


@pytest.mark.parametrize(("code", "status"), TABLE.items())
async def test_every_code_can_be_asked_for_by_its_own_name(
    caller: SandboxHttpClient, code: str, status: int
) -> None:
    await caller.admin_post("faults", match={"route": "submit"}, fault=code)
    got = await caller.submit(label="x")
    assert (got.status, got.code) == (status, code)
    assert got.json["error"]
    assert CONTEXT.get(code, set()) <= set(got.json)
    assert (await caller.label("x"))["started"] == 0


@pytest.mark.parametrize("code", sorted(set(TABLE) - {"EXECUTION_NOT_FOUND"}))
async def test_every_code_can_be_asked_for_by_the_run(caller: SandboxHttpClient, code: str) -> None:
    got = await caller.submit(fault=code, times=1, label="x")
    assert (got.status, got.code) == (TABLE[code], code)
    assert (await caller.submit(fault=code, times=1, label="x")).status == 200


@pytest.mark.parametrize("status", [401, 404, 402, 403, 418, 422, 500, 503])
async def test_an_error_may_come_without_a_code(caller: SandboxHttpClient, status: int) -> None:
    got = await caller.submit(fault=f"HTTP_{status}")
    assert got.status == status
    assert list(got.json) == ["error"]


@pytest.mark.parametrize("status", [402, 403, 418])
async def test_an_error_may_have_a_code_nobody_knows(
    caller: SandboxHttpClient, status: int
) -> None:
    named = await caller.submit(fault="SOMETHING_NEW", status=status, fields={"hint": 7})
    assert (named.status, named.code, named.json["hint"]) == (status, "SOMETHING_NEW", 7)
    reply = await caller.submit(status=status, code="SOMETHING_NEW", body={"why": "because"})
    assert (reply.status, reply.json) == (status, {"code": "SOMETHING_NEW", "why": "because"})


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_proxy_answers_with_html(caller: SandboxHttpClient, status: int) -> None:
    got = await caller.submit(fault=f"html_{status}", retry_after=3)
    assert got.status == status
    assert got.headers["Content-Type"].startswith("text/html")
    assert got.headers["Retry-After"] == "3"
    assert got.json is None


async def test_a_literal_text_body_is_sent_as_it_is(caller: SandboxHttpClient) -> None:
    got = await caller.submit(status=500, body="plain words")
    assert (got.status, got.raw) == (500, b"plain words")


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        (None, 401, None),
        ("knouds_live_unheard_of", 401, None),
        ("knouds_live_revoked", 401, None),
        ("knouds_live_legacy", 401, "LEGACY_KEY_RETIRED"),
        ("knouds_live_free", 403, "API_KEY_ACCESS_DENIED"),
    ],
)
async def test_a_bad_key_is_refused_on_every_route(
    caller: SandboxHttpClient, key: str | None, status: int, code: str | None
) -> None:
    for got in (
        await caller.call("GET", "/api/whoami", key=key),
        await caller.submit(key=key),
        await caller.poll("any", key=key),
        await caller.cancel("any", key=key),
        await caller.call("GET", "/api/workflows/my-pipeline/schema", key=key),
    ):
        assert (got.status, got.code) == (status, code)


async def test_a_pro_key_runs_workflows_but_no_models(caller: SandboxHttpClient) -> None:
    denied = await caller.submit("suno", key="knouds_live_pro")
    assert (denied.status, denied.code) == (403, "CAPABILITY_DENIED")
    assert denied.json["required"] == "model:run"
    allowed = await caller.submit("my-pipeline", kind="workflows", key="knouds_live_pro")
    assert allowed.status == 200


async def test_a_narrow_key_is_refused_with_the_single_capability_it_lacks(
    caller: SandboxHttpClient,
) -> None:
    key = "knouds_live_narrow"
    run = await caller.submit("suno", key=key)
    assert run.status == 200
    other = await caller.submit("gpt-image-2", key=key)
    assert (other.code, other.json["required"]) == ("CAPABILITY_DENIED", "model:gpt-image-2:run")
    cancel = await caller.cancel(run.json["executionId"], key=key)
    assert (cancel.code, cancel.json["required"]) == ("CAPABILITY_DENIED", "execution:cancel")


async def test_an_older_key_is_refused_in_the_older_words(caller: SandboxHttpClient) -> None:
    got = await caller.submit("gpt-image-2", key="knouds_live_scoped")
    assert (got.status, got.code) == (403, "SCOPE_DENIED")
    assert got.json["required"] == "model:gpt-image-2:run"
    assert "model:suno:run" in got.json["actual"]


async def test_a_model_may_need_a_higher_tier(caller: SandboxHttpClient) -> None:
    got = await caller.submit("veo-4-ultra")
    assert (got.status, got.code) == (403, "MODEL_TIER_REQUIRED")
    assert (await caller.submit("veo-4-ultra", key="knouds_live_enterprise")).status == 200


@pytest.mark.parametrize("name", ["kling-2-5", "seedream-v5", "nano-banana-2", "claude-sonnet"])
async def test_models_of_other_backends_have_no_async_mode(
    caller: SandboxHttpClient, name: str
) -> None:
    got = await caller.submit(name)
    assert (got.status, got.code) == (400, "ASYNC_NOT_SUPPORTED")
    assert (await caller.submit(name, mode="sync", duration_s=0)).status == 200


async def test_refusing_async_mode_never_meets_a_sync_run(caller: SandboxHttpClient) -> None:
    await caller.admin_post("faults", match={"target": "suno"}, fault="ASYNC_NOT_SUPPORTED")
    assert (await caller.submit()).code == "ASYNC_NOT_SUPPORTED"
    assert (await caller.submit(mode="sync", duration_s=0)).status == 200


@pytest.mark.parametrize(
    ("kind", "name", "status", "code"),
    [
        ("models", "no-such-model", 404, "MODEL_NOT_FOUND"),
        ("workflows", "no-such-workflow", 404, None),
        ("models", "Not_A_Slug", 400, "INVALID_SLUG"),
        ("workflows", "sp%20ace", 400, "INVALID_SLUG"),
    ],
)
async def test_a_wrong_name_is_refused(
    caller: SandboxHttpClient, kind: str, name: str, status: int, code: str | None
) -> None:
    got = await caller.submit(name, kind=kind)
    assert (got.status, got.code) == (status, code)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "INVALID_BODY"),
        (b"not json", "INVALID_BODY"),
        (b"[]", "INVALID_BODY"),
        (b"{}", "INVALID_BODY"),
        (b'{"inputs": []}', "INVALID_INPUTS"),
        (b'{"inputs": null}', "INVALID_INPUTS"),
        (b'{"inputs": {"prompt": 7}}', "INVALID_INPUTS"),
        (b'{"inputs": {"sandbox": {"lable": "typo"}}}', "INVALID_INPUTS"),
        (b'{"inputs": {"sandbox": {"fault": "NO_SUCH_FAULT"}}}', "INVALID_INPUTS"),
        (b'{"inputs": {"sandbox": {"cancel": {"fault": "stuck"}}}}', "INVALID_INPUTS"),
    ],
)
async def test_a_wrong_body_is_refused(caller: SandboxHttpClient, raw: bytes, code: str) -> None:
    got = await caller.call("POST", "/api/models/suno/run?async=true", data=raw)
    assert (got.status, got.code) == (400, code)


async def test_a_required_input_must_be_there(caller: SandboxHttpClient) -> None:
    got = await caller.submit("product-shots", kind="workflows")
    assert (got.code, got.json["fields"]) == ("INVALID_INPUTS", ["product_image"])
    good = {"product_image": "https://example.com/a.png"}
    assert (await caller.submit("product-shots", kind="workflows", inputs=good)).status == 200


async def test_an_execution_is_nobody_elses(caller: SandboxHttpClient) -> None:
    run = await caller.start()
    for got in (
        await caller.poll("no-such-execution"),
        await caller.poll(run, key="knouds_live_business"),
        await caller.cancel(run, key="knouds_live_business"),
    ):
        assert (got.status, got.code) == (404, "EXECUTION_NOT_FOUND")
    assert (await caller.poll(run, key="knouds_live_sandbox_2")).status == 200


async def test_an_unknown_schema_is_a_404_without_a_code(caller: SandboxHttpClient) -> None:
    got = await caller.call("GET", "/api/workflows/nothing/schema")
    assert (got.status, got.code) == (404, None)
    assert msgspec.json.decode(got.raw)["error"]
