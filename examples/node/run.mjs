// Runs a job and prints its result: KNOUDS_API_URL=http://127.0.0.1:8080 node run.mjs
import { Client, JobDead, JobParked } from "knouds-worker-client";

const client = new Client();
try {
  // An id of your own makes the program safe to start again: it waits for the same job.
  const job = await client.run({ kind: "model", target: "gpt-image-2", inputs: { prompt: "a cat" }, id: "node-cat-1" });
  console.log(JSON.stringify(job.result));
} catch (error) {
  if (!(error instanceof JobDead || error instanceof JobParked)) throw error;
  console.error(`${error.job.id} is ${error.job.state}: ${JSON.stringify(error.job.reason)}`);
  process.exitCode = 1;
}
