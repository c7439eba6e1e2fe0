/** Verifies callbacks: Standard Webhooks, HMAC-SHA256 over id, timestamp and body. */

import { Buffer } from "node:buffer";
import { createHmac, timingSafeEqual } from "node:crypto";

import { InvalidCallback } from "./errors.js";

/** A callback that is proved to come from the server. */
export interface Callback {
  /** The same for every delivery of one event: act on it once. */
  id: string;
  /** As `job.succeeded`, `job.dead`, `job.cancelled`, `job.parked`, `batch.completed`. */
  type: string;
  /** When it happened. */
  timestamp: Date;
  /** It grows with each event of a job: of two, the larger one is newer. */
  sequence: number;
  /** The job or batch as the API shows it, without inputs. */
  data: Record<string, unknown>;
}

type Headers = Record<string, string | string[] | undefined> | { get(name: string): string | null };

/**
 * Read a callback; throws `InvalidCallback` unless one of the secrets signed it.
 *
 * @param secret as `KNOUDS_CALLBACK_SECRET`, several with commas or as an array
 * @param headers of node:http, or of fetch
 * @param body as it was received, before any parsing
 * @param toleranceS how old it may be, or ahead of this clock
 */
export function verifyCallback(
  secret: string | string[],
  headers: Headers,
  body: string | Uint8Array,
  toleranceS = 300,
): Callback {
  const id = header(headers, "webhook-id");
  const sentAt = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature").split(" ");
  const ageS = Math.abs(Date.now() / 1000 - (/^\d+$/.test(sentAt) ? Number(sentAt) : NaN));
  if (!id || !(ageS <= toleranceS)) {
    throw new InvalidCallback("no id, or a timestamp that is too old or too new: is the clock right?");
  }
  const raw = Buffer.from(body);
  const signed = Buffer.concat([Buffer.from(`${id}.${sentAt}.`), raw]);
  const secrets = typeof secret === "string" ? secret.split(",") : secret;
  if (!secrets.some((one) => isSigned(keyOf(one), signed, signatures))) {
    throw new InvalidCallback("no signature matches: wrong secret, or the body was changed");
  }
  return parse(id, raw.toString());
}

function header(headers: Headers, name: string): string {
  if (typeof headers.get === "function") return headers.get(name) ?? "";
  const entries = Object.entries(headers as Record<string, string | string[] | undefined>);
  const value = entries.find(([given]) => given.toLowerCase() === name)?.[1];
  return typeof value === "string" ? value : "";
}

function keyOf(secret: string): Buffer {
  const text = secret.trim().replace(/^whsec_/, "");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    throw new TypeError("a callback secret is whsec_ and base64");
  }
  return Buffer.from(text, "base64");
}

function isSigned(key: Buffer, signed: Buffer, signatures: string[]): boolean {
  const expected = createHmac("sha256", key).update(signed).digest();
  return signatures.some((one) => {
    const [version, text] = one.split(",");
    const found = Buffer.from(text ?? "", "base64");
    return version === "v1" && found.length === expected.length && timingSafeEqual(found, expected);
  });
}

function parse(id: string, text: string): Callback {
  try {
    const value = JSON.parse(text);
    const { type, sequence, data } = value;
    const timestamp = new Date(value.timestamp);
    if (typeof type === "string" && typeof sequence === "number" && !isNaN(timestamp.getTime()) && data) {
      return { id, type, timestamp, sequence, data };
    }
  } catch {
    // no JSON
  }
  throw new InvalidCallback("signed, but not a callback of knouds-worker");
}
