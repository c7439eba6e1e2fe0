/** Callbacks are verified as the Standard Webhooks library does. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Webhook } from "standardwebhooks";

import { InvalidCallback, verifyCallback } from "../src/index.js";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY = JSON.stringify({
  type: "job.succeeded",
  timestamp: "2026-11-27T16:29:38.030Z",
  sequence: 7,
  data: { id: "cat-1" },
});

function signed({ body = BODY, ageS = 0, secret = SECRET } = {}): Record<string, string> {
  const at = new Date(Date.now() - ageS * 1000);
  return {
    "webhook-id": "msg_1",
    "Webhook-Timestamp": String(Math.floor(at.getTime() / 1000)),
    "webhook-signature": "v1a,other " + new Webhook(secret).sign("msg_1", at, body),
  };
}

function signature(): string {
  return signed()["webhook-signature"] ?? "";
}

test("what the library signs is read", () => {
  for (const headers of [signed(), new Headers(signed())]) {
    const found = verifyCallback(SECRET, headers, new TextEncoder().encode(BODY));
    assert.deepEqual([found.id, found.type, found.data], ["msg_1", "job.succeeded", { id: "cat-1" }]);
    assert.equal(found.sequence, 7);
    assert.equal(found.timestamp.toISOString(), "2026-11-27T16:29:38.030Z");
  }
});

test("one of several secrets is enough", () => {
  assert.equal(verifyCallback(`whsec_b2xk,${SECRET}`, signed(), BODY).id, "msg_1");
  assert.equal(verifyCallback(["whsec_b2xk", SECRET], signed(), BODY).id, "msg_1");
});

const REFUSED: [string, Record<string, string>, string][] = [
  ["a body that was changed", signed(), BODY.replace("succeeded", "dead")],
  ["another secret", signed({ secret: "whsec_b2xk" }), BODY],
  ["an old one", signed({ ageS: 400 }), BODY],
  ["one of the future", signed({ ageS: -400 }), BODY],
  ["another id", { ...signed(), "webhook-id": "msg_2" }, BODY],
  ["an unreadable time", { ...signed(), "Webhook-Timestamp": "now" }, BODY],
  ["no signature", { ...signed(), "webhook-signature": "" }, BODY],
  ["another version", { ...signed(), "webhook-signature": signature().replace("v1,", "v2,") }, BODY],
  ["no headers", {}, BODY],
  ["what is no callback", signed({ body: "[]" }), "[]"],
  ["what is no JSON", signed({ body: "{" }), "{"],
];

for (const [name, headers, body] of REFUSED) {
  test(`${name} is refused`, () => {
    assert.throws(() => verifyCallback(SECRET, headers, body), InvalidCallback);
  });
}

test("a secret that is none is a mistake of the caller", () => {
  assert.throws(() => verifyCallback("whsec_!", signed(), BODY), TypeError);
});
