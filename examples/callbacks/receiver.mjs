// Receives callbacks of knouds-worker with Node 20 or newer and no packages:
// CALLBACK_SECRET=whsec_… node receiver.mjs 9000
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const key = Buffer.from(process.env.CALLBACK_SECRET.replace(/^whsec_/, ""), "base64");
const seen = new Set(); // in an app: a table, written in the transaction that does the work
const newest = new Map();

function isGenuine(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures } = headers;
  if (!id || !timestamp || !signatures) return false;
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300)) return false;
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  return signatures.split(" ").some((one) => {
    const [version, text = ""] = one.split(",");
    const given = Buffer.from(text, "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

function take(id, event) {
  if (seen.has(id)) return; // a duplicate: it was taken before
  if (event.sequence > (newest.get(event.data.id) ?? 0)) {
    newest.set(event.data.id, event.sequence);
    console.log(event.type, event.data.id, JSON.stringify(event.data.result));
  }
  seen.add(id);
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks); // the bytes as they came
  if (!isGenuine(request.headers, body)) return response.writeHead(400).end("not genuine");
  take(request.headers["webhook-id"], JSON.parse(body));
  response.writeHead(204).end();
}).listen(Number(process.argv[2]), "127.0.0.1");
