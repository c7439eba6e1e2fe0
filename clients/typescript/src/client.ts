/** The client. */

import { randomUUID } from "node:crypto";
import { env } from "node:process";

import { ApiError, apiError, ConnectionFailed, succeeded, WaitTimeout } from "./errors.js";
import { delay, END_STATES, type Event, JobWatcher, parseEvents } from "./events.js";
import { OPERATIONS } from "./operations.js";
import { DEFAULT_RETRIES, retryDelayS, type RetryPolicy } from "./retries.js";
import type { Answer, Arguments, Item, Job, JobRequest, ListOperationId, OperationId } from "./types.js";

export interface ClientOptions {
  /** Without it KNOUDS_API_URL, and without that the API of this machine. */
  baseUrl?: string;
  /** Without it KNOUDS_API_TOKEN. */
  token?: string;
  timeoutS?: number;
  retries?: Partial<RetryPolicy>;
}

export interface WaitOptions {
  /** An hour, if omitted. */
  timeoutS?: number;
}

export interface EventsOptions {
  query?: Record<string, string>;
  lastEventId?: string;
  signal?: AbortSignal;
}

interface Given {
  path?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: unknown;
}

/** A stream that is silent for so long is broken: the server writes every 15 s. */
const STREAM_SILENCE_S = 45;
/** How often a job is read although no event names it. */
const RECHECK_S = 60;
/** How long one long poll lasts while the stream of events is away. */
const FALLBACK_POLL_S = 10;

/** Calls a knouds-worker. However many jobs are waited for, there is one stream of events. */
export class Client {
  readonly #baseUrl: string;
  readonly #headers: Record<string, string>;
  readonly #timeoutS: number;
  readonly #retries: RetryPolicy;
  readonly #watcher = new JobWatcher((signal) => this.#stream({ signal }));

  constructor(options: ClientOptions = {}) {
    const url = options.baseUrl ?? env["KNOUDS_API_URL"] ?? "http://127.0.0.1:8080";
    const token = options.token ?? env["KNOUDS_API_TOKEN"];
    this.#baseUrl = url.replace(/\/+$/, "");
    this.#headers = token ? { Authorization: `Bearer ${token}` } : {};
    this.#timeoutS = options.timeoutS ?? 30;
    this.#retries = { ...DEFAULT_RETRIES, ...options.retries };
  }

  /** Call an operation: `client.call("cancel_job", { path: { id }, body: { note } })`. */
  async call<K extends OperationId>(
    id: K,
    ...[given]: {} extends Arguments<K> ? [Arguments<K>?] : [Arguments<K>]
  ): Promise<Answer<K>> {
    return (await this.#send(id, withJobIds(id, (given ?? {}) as Given))) as Answer<K>;
  }

  /** Enqueue a job. It gets an id before the first try, so tries never make a second job. */
  enqueue(request: JobRequest): Promise<Answer<"enqueue_job">> {
    return this.call("enqueue_job", { body: request });
  }

  /**
   * Enqueue a job and wait for its result.
   *
   * Throws `JobDead`, `JobCancelled` and `JobParked` where it has none, and `WaitTimeout`; the job
   * goes on then.
   */
  async run(request: JobRequest, options: WaitOptions = {}): Promise<Job> {
    const { id } = await this.enqueue(request);
    return succeeded(await this.wait(id, options));
  }

  /** A job, as soon as it is settled or parked; throws `WaitTimeout`. */
  async wait(jobId: string, { timeoutS = 3600 }: WaitOptions = {}): Promise<Job> {
    const deadline = performance.now() + timeoutS * 1000;
    let changed = new AbortController();
    const wake = (): void => changed.abort();
    try {
      await this.#watcher.watch(jobId, wake);
      for (;;) {
        changed = new AbortController(); // before the read: a change after the read wakes
        const job = await this.call("get_job", { path: { id: jobId } });
        if (END_STATES.has(job.state)) return job;
        const leftS = (deadline - performance.now()) / 1000;
        if (leftS <= 0) throw new WaitTimeout(jobId, timeoutS);
        if (this.#watcher.isConnected) {
          await delay(Math.min(leftS, RECHECK_S) * 1000, changed.signal);
        } else {
          const query = { timeout_s: Math.min(leftS, FALLBACK_POLL_S) };
          await this.call("wait_for_job", { path: { id: jobId }, query });
        }
      }
    } finally {
      this.#watcher.unwatch(jobId, wake);
    }
  }

  /** Every item of a list, page by page: `client.iterate("list_jobs", { state: "dead" })`. */
  async *iterate<K extends ListOperationId>(
    id: K,
    query: NonNullable<Arguments<K>["query"]> | {} = {},
  ): AsyncGenerator<Item<K>, void> {
    let cursor: string | null = null;
    do {
      const more: Record<string, unknown> = cursor === null ? {} : { cursor };
      const page = (await this.#send(id, { query: { ...query, ...more } })) as {
        items: Item<K>[];
        next_cursor: string | null;
      };
      yield* page.items;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }

  /** What changes, until the connection ends; throws `ApiError` and `ConnectionFailed`. */
  async *streamEvents(options: EventsOptions = {}): AsyncGenerator<Event, void> {
    for await (const event of this.#stream(options)) if (event !== null) yield event;
  }

  /** End the stream of events. */
  close(): void {
    this.#watcher.close();
  }

  /** Null first, when it is open, and at each sign of life; and the events. */
  async *#stream({ query, lastEventId, signal }: EventsOptions): AsyncGenerator<Event | null, void> {
    const silence = new AbortController();
    const broken = (): void => silence.abort(new Error("the stream is silent"));
    const timer = setTimeout(broken, STREAM_SILENCE_S * 1000);
    const given = { ...query, ...(lastEventId === undefined ? {} : { last_event_id: lastEventId }) };
    try {
      const response = await fetch(`${this.#baseUrl}/v1/events${queryText(given)}`, {
        headers: { ...this.#headers, Accept: "text/event-stream" },
        signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
      });
      if (!response.ok || response.body === null) throw await errorOf(response);
      yield null;
      for await (const event of parseEvents(response.body)) {
        timer.refresh();
        yield event;
      }
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ConnectionFailed("the stream broke", { cause: error });
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  async #send(id: OperationId, given: Given): Promise<unknown> {
    const [method, template, isRepeatable] = OPERATIONS[id];
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#once(method, template, given);
      } catch (error) {
        const delayS = retryDelayS(this.#retries, isRepeatable, error, tries);
        if (delayS === null) {
          if (error instanceof ApiError) throw error;
          throw new ConnectionFailed(`${method} ${template}: no answer`, { cause: error });
        }
        await delay(delayS * 1000);
      }
    }
  }

  async #once(method: string, template: string, given: Given): Promise<unknown> {
    const path = template.replace(/{(\w+)}/g, (_, name: string) =>
      encodeURIComponent(given.path?.[name] ?? ""),
    );
    const waitS = Number(given.query?.["timeout_s"] ?? 0);
    const response = await fetch(this.#baseUrl + path + queryText(given.query ?? {}), {
      method,
      headers: { ...this.#headers, ...(given.body ? { "Content-Type": "application/json" } : {}) },
      body: given.body ? JSON.stringify(given.body) : null,
      signal: AbortSignal.timeout((this.#timeoutS + waitS) * 1000),
    });
    if (!response.ok) throw await errorOf(response);
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    return isJson ? response.json() : response.text();
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  return apiError(response.status, await response.text(), response.headers.get("Retry-After"));
}

/** Query parameters; those that are undefined or null are omitted. */
function queryText(query: Record<string, unknown>): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  const text = new URLSearchParams(
    given.map(([name, value]): [string, string] => [name, String(value)]),
  ).toString();
  return text && `?${text}`;
}

/** An enqueue whose jobs all carry an id; other calls as they are. */
function withJobIds(id: OperationId, given: Given): Given {
  const named = (job: unknown): unknown => {
    const request = job as JobRequest;
    return { ...request, id: request.id ?? randomUUID() };
  };
  if (id === "enqueue_job") return { ...given, body: named(given.body) };
  if (id === "enqueue_jobs") {
    const { jobs } = given.body as { jobs: unknown[] };
    return { ...given, body: { jobs: jobs.map(named) } };
  }
  return given;
}
