/** Hand paid, long runs to a knouds-worker, and get their results. */

export { type Callback, verifyCallback } from "./callbacks.js";
export { Client, type ClientOptions, type EventsOptions, type WaitOptions } from "./client.js";
export * from "./errors.js";
export type { Event } from "./events.js";
export type { RetryPolicy } from "./retries.js";
export type { Answer, Arguments, Job, JobRequest, OperationId, Problem, Schemas } from "./types.js";
