/** When a request is sent again, and after how long. */

import { ApiError, RateLimitError, UnavailableError } from "./errors.js";

export interface RetryPolicy {
  maxTries: number;
  baseS: number;
  capS: number;
  /** A longer `Retry-After` throws the error instead. */
  maxRetryAfterS: number;
}

export const DEFAULT_RETRIES: RetryPolicy = { maxTries: 6, baseS: 0.25, capS: 10, maxRetryAfterS: 60 };

const NOT_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]);

/** Seconds until the next try, with full jitter and `Retry-After` as a floor; null if there is none. */
export function retryDelayS(
  policy: RetryPolicy,
  isRepeatable: boolean,
  error: unknown,
  tries: number,
): number | null {
  if (tries >= policy.maxTries || !mayRepeat(isRepeatable, error)) return null;
  const floorS = error instanceof ApiError ? (error.retryAfterS ?? 0) : 0;
  if (floorS > policy.maxRetryAfterS) return null;
  return floorS + Math.random() * Math.min(policy.capS, policy.baseS * 2 ** (tries - 1));
}

function mayRepeat(isRepeatable: boolean, error: unknown): boolean {
  if (error instanceof RateLimitError) return true; // refused before anything was done
  if (error instanceof UnavailableError) return isRepeatable || error.status === 503;
  if (error instanceof ApiError) return false;
  return isRepeatable || NOT_SENT.has(causeCode(error));
}

function causeCode(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = (cause as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : "";
}
