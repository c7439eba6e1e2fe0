/** What can go wrong. */

import type { Job, Problem } from "./types.js";

/** Every error of this package. */
export class KnoudsWorkerError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** No answer, or an unreadable one, after every try that was safe. */
export class ConnectionFailed extends KnoudsWorkerError {}

/** An answer that is an error. `problem` names the field and the fix. */
export class ApiError extends KnoudsWorkerError {
  constructor(
    readonly problem: Problem,
    readonly retryAfterS: number | null = null,
  ) {
    super(`${problem.status} ${problem.title}: ${problem.detail}`);
  }

  get status(): number {
    return this.problem.status;
  }
}

/** 400, 413, 415 or 422: `problem.field` is wrong. */
export class BadRequestError extends ApiError {}

/** 401: no token, or one that is not known. */
export class AuthenticationError extends ApiError {}

/** 403: the role or the grants of the token do not allow it. */
export class PermissionDeniedError extends ApiError {}

/** 404: there is nothing of this id. */
export class NotFoundError extends ApiError {}

/** 409: the id is taken by another payload, or the state of the job does not allow it. */
export class ConflictError extends ApiError {}

/** 429: a limit of the token or of the API, for `retryAfterS`. */
export class RateLimitError extends ApiError {}

/** A status from 500: the API cannot answer now. */
export class UnavailableError extends ApiError {}

/** A job that was waited for has no result. `job.reason` says why and what to do. */
export class JobNotSucceeded extends KnoudsWorkerError {
  constructor(readonly job: Job) {
    const why = job.reason ? `: ${job.reason.code} ${job.reason.message}` : "";
    super(`job ${job.id} is ${job.state}${why}`);
  }
}

/** It failed for good; an operator can requeue it. */
export class JobDead extends JobNotSucceeded {}

/** It was cancelled or discarded. */
export class JobCancelled extends JobNotSucceeded {}

/** It waits for an operator, and may succeed later. */
export class JobParked extends JobNotSucceeded {}

/** The time is up. The job goes on: wait for `jobId` again. */
export class WaitTimeout extends KnoudsWorkerError {
  constructor(
    readonly jobId: string,
    timeoutS: number,
  ) {
    super(`job ${jobId} has not ended within ${timeoutS} s`);
  }
}

/** A callback that is not signed by the server, is too old, or was changed on its way. */
export class InvalidCallback extends KnoudsWorkerError {}

const BY_STATUS: Record<number, typeof ApiError> = {
  400: BadRequestError,
  401: AuthenticationError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  413: BadRequestError,
  415: BadRequestError,
  422: BadRequestError,
  429: RateLimitError,
};

const BY_STATE: Record<string, typeof JobNotSucceeded> = {
  dead: JobDead,
  cancelled: JobCancelled,
  parked: JobParked,
};

/** The error of an answer; that of a proxy gets a problem made of its status. */
export function apiError(status: number, text: string, retryAfter: string | null): ApiError {
  const kind = status >= 500 ? UnavailableError : (BY_STATUS[status] ?? ApiError);
  const seconds = retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null;
  return new kind(readProblem(status, text), seconds);
}

/** The job, if it succeeded; throws `JobNotSucceeded`. */
export function succeeded(job: Job): Job {
  if (job.state === "succeeded") return job;
  throw new (BY_STATE[job.state] ?? JobNotSucceeded)(job);
}

function readProblem(status: number, text: string): Problem {
  try {
    const value = JSON.parse(text);
    if (typeof value.title === "string" && typeof value.detail === "string") {
      return { type: "about:blank", ...value, status };
    }
  } catch {
    // an answer that is no JSON
  }
  const detail = "the answer is not from knouds-worker: is something between that refuses?";
  return { type: "about:blank", title: "No problem details", status, detail };
}
