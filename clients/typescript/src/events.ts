/** Server-sent events (WHATWG HTML, 9.2), and one stream of them for all waits of a client. */

import type { Schemas } from "./types.js";

/** One event of `GET /v1/events`. */
export type Event =
  | { name: "job"; data: Schemas["Transition"] }
  | { name: "breaker"; data: Schemas["BreakerEvent"] }
  | { name: "budget"; data: Schemas["BudgetEvent"] }
  | { name: "balance"; data: Schemas["BalanceEvent"] }
  | { name: "reset"; data: Schemas["Reset"] }
  | { name: "end"; data: Schemas["End"] };

/** The states that end a wait: settled, or parked until an operator acts. */
export const END_STATES: ReadonlySet<string> = new Set(["succeeded", "dead", "cancelled", "parked"]);

const RECONNECT_DELAY_MS = 2_000;

/** Reads events from a stream of text; null at each sign of life that is no event. */
export async function* parseEvents(
  text: AsyncIterable<Uint8Array>,
): AsyncGenerator<Event | null, void> {
  const decoder = new TextDecoder();
  let rest = "";
  let name = "";
  let data: string[] = [];
  for await (const piece of text) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split(/\r?\n/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const colon = line.indexOf(":");
      const value = line.slice(colon + 1).replace(/^ /, "");
      if (line === "") {
        if (data.length > 0) yield { name, data: JSON.parse(data.join("\n")) } as Event;
        name = "";
        data = [];
      } else if (line.startsWith("event:")) name = value;
      else if (line.startsWith("data:")) data.push(value);
    }
    yield null;
  }
}

/** Wakes waits when their job ends. It streams only while somebody waits. */
export class JobWatcher {
  isConnected = false;
  readonly #open: (signal: AbortSignal) => AsyncIterable<Event | null>;
  readonly #waits = new Map<string, Set<() => void>>();
  #stream: AbortController | null = null;
  #tried: Promise<void> = Promise.resolve();

  constructor(open: (signal: AbortSignal) => AsyncIterable<Event | null>) {
    this.#open = open;
  }

  /** Call `wake` when the job may have ended. Resolves when the stream is open, or failed. */
  async watch(jobId: string, wake: () => void): Promise<void> {
    const wakes = this.#waits.get(jobId) ?? new Set();
    this.#waits.set(jobId, wakes.add(wake));
    if (this.#stream === null) {
      const stream = new AbortController();
      this.#stream = stream;
      this.#tried = new Promise((resolve) => void this.#run(stream.signal, resolve));
    }
    await this.#tried;
  }

  /** Undo `watch`. */
  unwatch(jobId: string, wake: () => void): void {
    const wakes = this.#waits.get(jobId);
    wakes?.delete(wake);
    if (wakes?.size === 0) this.#waits.delete(jobId);
    if (this.#waits.size === 0) this.close();
  }

  /** End the stream. */
  close(): void {
    this.#stream?.abort();
    this.#stream = null;
    this.isConnected = false;
  }

  async #run(signal: AbortSignal, tried: () => void): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const event of this.#open(signal)) {
          if (signal.aborted) return;
          this.isConnected = true;
          tried();
          if (event !== null) this.#notify(event);
        }
      } catch {
        // the long poll says what is wrong, if it still is
      }
      if (signal.aborted) return;
      this.isConnected = false;
      tried();
      this.#notifyAll();
      await delay(RECONNECT_DELAY_MS, signal);
    }
  }

  #notify(event: Event): void {
    if (event.name === "reset") this.#notifyAll();
    else if (event.name === "job" && END_STATES.has(event.data.to)) {
      for (const wake of this.#waits.get(event.data.id) ?? []) wake();
    }
  }

  #notifyAll(): void {
    for (const wakes of this.#waits.values()) for (const wake of wakes) wake();
  }
}

/** Wait; ends early where the signal is aborted. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}
