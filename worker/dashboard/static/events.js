// One event stream for all windows of a browser: over HTTP/1.1 a browser opens six connections to a
// host, and each stream would hold one. Runs as a shared worker; a window sends the URL of the stream
// to listen, and `null` to leave.

const windows = new Set();
let stream = null;
let state = "";

function tell(message) {
  if (message === "open" || message === "error") state = message;
  for (const port of windows) port.postMessage(message);
}

function listen(url) {
  if (stream && stream.readyState !== EventSource.CLOSED) return;
  stream = new EventSource(url);
  for (const name of ["open", "error", "job", "breaker", "budget", "balance", "reset"]) {
    stream.addEventListener(name, () => tell(name));
  }
}

function leave(port) {
  windows.delete(port);
  if (windows.size || !stream) return;
  stream.close();
  stream = null;
  state = "";
}

addEventListener("connect", ({ ports: [port] }) => {
  port.onmessage = ({ data: url }) => {
    if (url === null) {
      leave(port);
      return;
    }
    windows.add(port);
    listen(url);
    if (state) port.postMessage(state);
  };
});
