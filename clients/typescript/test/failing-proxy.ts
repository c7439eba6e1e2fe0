/** A proxy before the real server that loses answers, refuses, or says that it is busy. */

import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";

type Fault = "lost" | "busy" | "limited";

const STATUS = { busy: 503, limited: 429 };

/**
 * Passes requests on; before that, one fault of `faults` for each request.
 *
 * `lost`: it is passed on, and its answer is lost. `busy`, `limited`: 503, 429, and not passed on.
 */
export class FailingProxy {
  faults: Fault[] = [];
  /** Else streams of events get a 503. */
  hasStreams = true;
  requests: string[] = [];
  readonly #server: Server;

  constructor(url: string) {
    this.#server = createServer((incoming, outgoing) => {
      const path = incoming.url ?? "/";
      this.requests.push(`${incoming.method} ${path.split("?")[0]}`);
      const isStream = path.startsWith("/v1/events") && !this.hasStreams;
      const fault = isStream ? "busy" : this.faults.shift();
      if (fault === "busy" || fault === "limited") {
        const problem = { type: "about:blank", title: "Busy", status: STATUS[fault], detail: "again" };
        outgoing.writeHead(STATUS[fault], { "Retry-After": "0" }).end(JSON.stringify(problem));
        return;
      }
      const options = { method: incoming.method, headers: incoming.headers };
      const passed = request(url + path, options, (answer) => {
        if (fault === "lost") {
          answer.resume().on("end", () => outgoing.destroy());
          return;
        }
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(outgoing);
      });
      passed.on("error", () => outgoing.destroy());
      outgoing.on("close", () => passed.destroy());
      incoming.pipe(passed);
    });
  }

  async open(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
