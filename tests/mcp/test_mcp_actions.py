"""Tools that act: nothing is done before a dry run and its token, which is good once."""

import pytest

from tests.mcp.mcp_site import McpSite


async def test_a_dry_run_does_nothing_and_says_what_would_be_done(site: McpSite) -> None:
    jobs = {await site.parked(), await site.parked()}
    async with site.client() as tools:
        found = await tools.call("discard_jobs", filter={"tag": site.name})
        assert found["outcome"] == "dry_run"
        dry = found["dry_run"]
        assert (dry["jobs"], set(dry["first_ids"])) == (2, jobs)
        assert "est_cost" in dry
        assert "Gives it up" in dry["effect"]
        assert found["valid_s"] == 300
    for job_id in jobs:
        assert await site.state(job_id) == "parked"


async def test_each_action_on_jobs_is_done_with_its_token(site: McpSite) -> None:
    parked, dead, late = await site.parked(), await site.dead(), await site.job(delay_s=3_600)
    async with site.client() as tools:
        for tool, job_id, states in (
            ("release_jobs", parked, {"queued", "submitting", "running", "succeeded"}),
            ("requeue_jobs", dead, {"queued", "submitting", "running", "dead"}),
            ("cancel_jobs", late, {"cancelled"}),
        ):
            done = await tools.confirmed(tool, filter={"ids": [job_id]}, note="by a test")
            assert done["outcome"] == "done"
            assert done["done"]["done"] == 1
            assert await site.state(job_id) in states
        last = await site.dead()
        await tools.confirmed("discard_jobs", filter={"tag": site.name, "state": "dead"})
        assert await site.state(last) == "cancelled"
    entries = (await site.call_api("GET", "/v1/audit?limit=20"))["items"]
    assert "by a test (over MCP)" in {one["note"] for one in entries}


async def test_inputs_are_patched_on_requeue(site: McpSite) -> None:
    dead = await site.dead()
    patch = {"sandbox": {"fault": None}}
    async with site.client() as tools:
        await tools.confirmed("requeue_jobs", filter={"ids": [dead]}, patch_inputs=patch)
        found = await tools.call("wait_for_job", id=dead)
    assert found["job"]["state"] == "succeeded"


async def test_a_token_is_good_once(site: McpSite) -> None:
    await site.parked()
    wanted = {"filter": {"tag": site.name}}
    async with site.client() as tools:
        token = (await tools.call("release_jobs", **wanted))["confirm"]
        await tools.call("release_jobs", **wanted, confirm=token)
        refusal = await tools.refusal("release_jobs", **wanted, confirm=token)
        assert "it was used already" in refusal


async def test_a_token_is_of_one_action_its_arguments_and_its_caller(site: McpSite) -> None:
    job_id = await site.parked()
    wanted = {"filter": {"tag": site.name}}
    async with site.client() as tools, site.client("other") as others:
        token = (await tools.call("release_jobs", **wanted))["confirm"]
        for tool, arguments in (
            ("discard_jobs", wanted),
            ("release_jobs", {"filter": {"ids": [job_id]}}),
            ("release_jobs", {**wanted, "limit": 1}),
        ):
            refusal = await tools.refusal(tool, **arguments, confirm=token)
            assert "of another action or of other arguments" in refusal
        assert "is no token that waits for you" in await others.refusal(
            "release_jobs", **wanted, confirm=token
        )
        assert "is no token" in await tools.refusal("release_jobs", **wanted, confirm="guessed")
        assert await site.state(job_id) == "parked"
        assert (await tools.call("release_jobs", **wanted, confirm=token))["outcome"] == "done"


async def test_other_jobs_than_the_dry_run_saw_are_left_alone(site: McpSite) -> None:
    first = await site.parked()
    wanted = {"filter": {"tag": site.name}}
    async with site.client() as tools:
        token = (await tools.call("discard_jobs", **wanted))["confirm"]
        second = await site.parked()
        refusal = await tools.refusal("discard_jobs", **wanted, confirm=token)
        assert "nothing was done" in refusal
        assert "it was 1 jobs, and is 2 now" in refusal
        assert {await site.state(one) for one in (first, second)} == {"parked"}
        token = (await tools.call("discard_jobs", **wanted))["confirm"]
        await site.call_api("POST", f"/v1/jobs/{first}/discard", {})
        await site.parked()
        refusal = await tools.refusal("discard_jobs", **wanted, confirm=token)
        assert "as many jobs, but not the same ones" in refusal
        assert await site.state(second) == "parked"


async def test_nothing_to_do_gives_no_token(site: McpSite) -> None:
    async with site.client() as tools:
        found = await tools.call("discard_jobs", filter={"tag": site.name})
        assert found["dry_run"]["jobs"] == 0
        assert "confirm" not in found


@pytest.mark.parametrize(
    ("resolution", "state"),
    [
        ({"outcome": "discard"}, "cancelled"),
        ({"outcome": "resubmit"}, "succeeded"),
        ({"execution_id": "none-such"}, "running"),
    ],
)
async def test_an_uncertain_job_is_resolved(
    site: McpSite, resolution: dict[str, str], state: str
) -> None:
    job_id = await site.uncertain()
    async with site.client() as tools:
        assert "give one of execution_id and outcome" in await tools.refusal(
            "resolve_job", id=job_id
        )
        done = await tools.confirmed("resolve_job", id=job_id, **resolution)
        assert done["outcome"] == "done"
        if state == "succeeded":
            done = await tools.call("wait_for_job", id=job_id, timeout_s=60)
        assert done["job"]["state"] == state


async def test_only_uncertain_jobs_are_resolved(site: McpSite) -> None:
    job_id = await site.parked()
    async with site.client() as tools:
        refusal = await tools.refusal("resolve_job", id=job_id, outcome="discard")
    assert f"{job_id} is parked (manual)" in refusal


async def test_a_scope_is_paused_and_released(site: McpSite) -> None:
    scope = "default/workflow"
    async with site.client() as tools:
        dry = await tools.call("set_hold", scope=scope)
        assert dry["dry_run"]["queued_jobs"] == 0
        held = (await tools.call("set_hold", scope=scope, confirm=dry["confirm"]))["hold"]
        assert (held["scope"], held["code"]) == (scope, "manual")
        assert "is paused already" in await tools.refusal("set_hold", scope=scope)
        assert held["id"] in [one["id"] for one in (await tools.call("list_holds"))["items"]]
        done = await tools.confirmed("release_hold", id=held["id"])
        assert done["released"] == 0
        assert held["id"] not in [one["id"] for one in (await tools.call("list_holds"))["items"]]


async def test_jobs_that_a_hold_parked_are_released_with_it(site: McpSite) -> None:
    refused = {"fault": "MODEL_TIER_REQUIRED", "times": 1}
    for tool in ("release_hold", "release_jobs"):
        job_id = await site.job(until="parked", target="suno", sandbox=refused)
        async with site.client() as tools:
            (hold,) = (await tools.call("list_holds"))["items"]
            assert (hold["scope"], hold["phase"]) == ("default/model/suno", "closed")
            assert hold["jobs"] == 1
            if tool == "release_hold":
                wanted = {"id": hold["id"]}
                dry = await tools.call(tool, **wanted)
                assert dry["dry_run"]["jobs"] == 1
                assert dry["dry_run"]["action"]
            else:
                wanted = {"filter": {"target": "suno", "state": "parked"}}
                dry = await tools.call(tool, **wanted)
                assert dry["dry_run"]["holds_released"] == 1
                assert dry["dry_run"]["first_ids"] == [job_id]
            await tools.call(tool, **wanted, confirm=dry["confirm"])
            assert (await tools.call("wait_for_job", id=job_id))["job"]["state"] == "succeeded"


async def test_what_is_queued_behind_a_pause_is_counted_before_it_ends(site: McpSite) -> None:
    async with site.client() as tools:
        wide = (await tools.confirmed("set_hold", scope="default/model"))["hold"]
        narrow = (await tools.confirmed("set_hold", scope="default/model/gpt-image-2"))["hold"]
        ids = [await site.job(), await site.job()]
        dry = (await tools.call("release_hold", id=narrow["id"]))["dry_run"]
        assert (dry["jobs"], dry["est_cost"]) == (0, 0.0)
        assert "Jobs that another closed hold keeps are not counted" in dry["effect"]
        await tools.confirmed("release_hold", id=wide["id"])
        found = await tools.call("release_hold", id=narrow["id"])
        dry = found["dry_run"]
        assert (dry["jobs"], dry["parked_jobs"], dry["queued_jobs"]) == (2, 0, 2)
        assert dry["est_cost"] > 0
        assert "with no canary" in dry["effect"]
        ids.append(await site.job())
        refusal = await tools.refusal("release_hold", id=narrow["id"], confirm=found["confirm"])
        assert "it was 2 jobs, and is 3 now" in refusal
        assert {await site.state(one) for one in ids} == {"queued"}
        await tools.confirmed("release_hold", id=narrow["id"])
        for one in ids:
            assert (await tools.call("wait_for_job", id=one))["job"]["state"] == "succeeded"


@pytest.mark.parametrize("tool", ["release_hold", "release_jobs"])
async def test_what_is_queued_behind_a_refusal_is_counted_before_it_opens(
    site: McpSite, tool: str
) -> None:
    refused = {"fault": "MODEL_TIER_REQUIRED", "times": 1}
    ids = [await site.job(until="parked", target="suno", sandbox=refused)]
    async with site.client() as tools:
        (hold,) = (await tools.call("list_holds"))["items"]
        wanted = {"id": hold["id"]} if tool == "release_hold" else {"filter": {"target": "suno"}}
        alone = (await tools.call(tool, **wanted))["dry_run"]
        ids += [await site.job(target="suno"), await site.job(target="suno")]
        found = await tools.call(tool, **wanted)
        dry = found["dry_run"]
        assert dry["queued_jobs"] == 2
        assert dry["jobs"] == (3 if tool == "release_hold" else 1)
        assert dry["est_cost"] == pytest.approx(3 * alone["est_cost"])
        assert dry["est_cost"] > 0
        assert "canary" in dry["effect"]
        assert "by themselves" in dry["effect"]
        ids.append(await site.job(target="suno"))
        refusal = await tools.refusal(tool, **wanted, confirm=found["confirm"])
        assert "nothing was done" in refusal
        await tools.confirmed(tool, **wanted)
        for one in ids:
            assert (await tools.call("wait_for_job", id=one))["job"]["state"] == "succeeded"
