/** The client against a real server, which KNOUDS_TEST_URL names. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";
import { env } from "node:process";

import {
  BadRequestError,
  Client,
  ConflictError,
  ConnectionFailed,
  JobDead,
  JobParked,
  NotFoundError,
  RateLimitError,
  UnavailableError,
  WaitTimeout,
} from "../src/index.js";
import { FailingProxy } from "./failing-proxy.js";

const URL = env["KNOUDS_TEST_URL"];
const skip = URL ? false : "KNOUDS_TEST_URL is not set: `make test/clients` starts a server and sets it";
const retries = { baseS: 0.01, capS: 0.05 };

let proxy: FailingProxy;
let client: Client;

beforeEach(async () => {
  proxy = new FailingProxy(URL ?? "");
  client = new Client({ baseUrl: await proxy.open(), retries });
});

afterEach(() => {
  client.close();
  proxy.close();
});

/** Inputs that say what the sandbox does. */
function inputs(behaviour: Record<string, unknown> = {}): Record<string, unknown> {
  return { prompt: "a cat", sandbox: { label: randomUUID(), duration_s: 0.05, ...behaviour } };
}

/** A request for a job that does not run in this test. */
function later(tag: string): { kind: "model"; target: string; inputs: {}; tags: string[]; delay_s: number } {
  return { kind: "model", target: "suno", inputs: inputs(), tags: [tag], delay_s: 3600 };
}

const run = (behaviour?: Record<string, unknown>, timeoutS = 30) =>
  client.run({ kind: "model", target: "gpt-image-2", inputs: inputs(behaviour) }, { timeoutS });

test("many runs wait on one stream", { skip }, async () => {
  const jobs = await Promise.all([1, 2, 3, 4, 5].map(() => run({ duration_s: 0.3 })));
  assert.deepEqual(new Set(jobs.map((job) => job.state)), new Set(["succeeded"]));
  assert.ok(jobs.every((job) => job.result !== null));
  assert.equal(proxy.requests.filter((one) => one === "GET /v1/events").length, 1);
  assert.ok(!proxy.requests.some((one) => one.endsWith("/wait")));
});

test("without a stream a wait polls", { skip }, async () => {
  proxy.hasStreams = false;
  const job = await run({ duration_s: 0.3 });
  assert.equal(job.state, "succeeded");
  assert.ok(proxy.requests.includes(`GET /v1/jobs/${job.id}/wait`));
});

test("a run without a result throws with the job", { skip }, async () => {
  await assert.rejects(run({ fault: "INVALID_INPUTS" }), (error: unknown) => {
    assert.ok(error instanceof JobDead);
    assert.equal(error.job.reason?.code, "INVALID_INPUTS");
    assert.equal(error.name, "JobDead");
    return true;
  });
  await assert.rejects(run({ fault: "drop_after" }), JobParked);
});

test("a wait ends in time and the job goes on", { skip }, async () => {
  const { id } = await client.enqueue(later("t"));
  await assert.rejects(client.wait(id, { timeoutS: 0.2 }), WaitTimeout);
  const job = await client.call("cancel_job", { path: { id }, body: { note: "not needed" } });
  assert.equal(job.state, "cancelled");
  assert.equal((await client.wait(id)).state, "cancelled");
});

test("an enqueue whose answer is lost makes one job", { skip }, async () => {
  const tag = randomUUID();
  proxy.faults = ["lost", "busy", "limited"];
  const { id } = await client.enqueue(later(tag));
  assert.deepEqual(proxy.requests, Array(4).fill("POST /v1/jobs"));
  const page = await client.call("list_jobs", { query: { tag } });
  assert.deepEqual(page.items.map((job) => job.id), [id]);
});

test("a bulk whose answer is lost makes each job once, and a list is iterated to its end", { skip }, async () => {
  const tag = randomUUID();
  proxy.faults = ["lost"];
  const jobs = Array.from({ length: 3 }, () => later(tag));
  const done = await client.call("enqueue_jobs", { body: { jobs } });
  assert.deepEqual(done.results.map((one) => one.status), [200, 200, 200]);
  const found = new Set<string>();
  for await (const job of client.iterate("list_jobs", { tag, limit: 1 })) found.add(job.id);
  assert.deepEqual(found, new Set(done.results.map((one) => one.id)));
  const stopped = await client.call("cancel_jobs", { body: { filter: { tag } } });
  assert.equal(stopped.done, 3);
});

test("an action whose answer is lost is not repeated", { skip }, async () => {
  const { id } = await client.enqueue(later("t"));
  proxy.requests = [];
  proxy.faults = ["lost"];
  await assert.rejects(client.call("cancel_job", { path: { id } }), ConnectionFailed);
  assert.equal(proxy.requests.length, 1);
  assert.equal((await client.call("get_job", { path: { id } })).state, "cancelled");
});

test("tries end", { skip }, async () => {
  proxy.faults = Array(6).fill("busy");
  await assert.rejects(client.call("get_stats"), UnavailableError);
  proxy.faults = Array(6).fill("limited");
  await assert.rejects(client.call("get_stats"), RateLimitError);
  assert.equal(proxy.requests.length, 12);
  const nowhere = new Client({ baseUrl: "http://127.0.0.1:9", retries: { ...retries, maxTries: 2 } });
  await assert.rejects(nowhere.call("cancel_job", { path: { id: "j" } }), ConnectionFailed);
});

test("errors carry the problem", { skip }, async () => {
  await assert.rejects(client.call("get_job", { path: { id: "nothing/at all" } }), NotFoundError);
  const wrong = client.enqueue({ kind: "model", target: "suno", inputs: {}, priority: 600 });
  await assert.rejects(wrong, (error: unknown) => {
    assert.ok(error instanceof BadRequestError);
    assert.equal(error.problem.field, "priority");
    return true;
  });
  const { id } = await client.enqueue(later("t"));
  const taken = client.enqueue({ kind: "model", target: "suno", inputs: {}, id });
  await assert.rejects(taken, ConflictError);
});

test("what is no JSON comes as text", { skip }, async () => {
  assert.match(await client.call("get_metrics"), /# TYPE/);
});

test("events are streamed from the id that is given", { skip }, async () => {
  const { id } = await client.enqueue(later("t"));
  const stop = new AbortController();
  const stream = client.streamEvents({ query: { target: "suno" }, lastEventId: "0", signal: stop.signal });
  for await (const event of stream) {
    if (event.name === "job" && event.data.id === id) {
      assert.equal(event.data.to, "scheduled");
      break;
    }
  }
  stop.abort();
});
