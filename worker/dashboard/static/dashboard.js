// Keeps the pages up to date and adds shortcuts. Every page works without this script, too.

import { patchChildren } from "./patch.js";

const MIN_REFRESH_MS = 1_000;
const IDLE_REFRESH_MS = 15_000; // ages, windows and workers change without an event
const POLL_MS = 3_000; // while the event stream is down
const REGIONS = ["nav", "main"];

// Live updates: an event requests a refresh; a hidden tab does not refresh.

const live = document.body.dataset.live === "yes";
const connection = document.getElementById("connection");
let stream = null;
let isStreamBroken = false;
let isRefreshWanted = false;
let isRefreshing = false;
let lastRefreshAt = 0;
let timer = 0;
let nextRefreshAt = Infinity;

function requestRefresh(delay = 0) {
  isRefreshWanted = true;
  if (document.hidden || isRefreshing) return;
  schedule(Math.max(Date.now() + delay, lastRefreshAt + MIN_REFRESH_MS));
}

// A later request never postpones an earlier one: a burst of events must not delay refreshes.
function schedule(at) {
  if (nextRefreshAt <= at) return;
  clearTimeout(timer);
  nextRefreshAt = at;
  timer = setTimeout(refresh, Math.max(0, at - Date.now()));
}

function unschedule() {
  clearTimeout(timer);
  nextRefreshAt = Infinity;
}

async function refresh() {
  unschedule();
  if (document.hidden || isRefreshing) return;
  if (document.querySelector("dialog[open]")) {
    schedule(Date.now() + MIN_REFRESH_MS);
    return;
  }
  isRefreshing = true;
  isRefreshWanted = false;
  lastRefreshAt = Date.now();
  try {
    const response = await fetch(location.href, {
      headers: { "X-Partial": "1" },
      credentials: "same-origin",
      redirect: "error",
    });
    if (response.status === 401) {
      location.reload();
      return;
    }
    if (response.status >= 500) throw new Error(`status ${response.status}`);
    replace(await response.text());
    showConnection(isStreamBroken ? "Live (polling every 3 s)" : "Live");
  } catch {
    showConnection("Not connected: retrying");
  } finally {
    isRefreshing = false;
    scheduleNext();
  }
}

function scheduleNext() {
  if (isRefreshWanted) requestRefresh();
  else schedule(Date.now() + (isStreamBroken ? POLL_MS : IDLE_REFRESH_MS));
}

function replace(text) {
  const next = new DOMParser().parseFromString(text, "text/html");
  for (const id of REGIONS) {
    const fresh = next.getElementById(id);
    const present = document.getElementById(id);
    if (fresh && present) patchChildren(present, fresh);
  }
  updateSelection();
}

function showConnection(text) {
  if (connection && connection.textContent !== text) connection.textContent = text;
}

function openStream() {
  if (stream || document.hidden) return;
  const { events, worker } = document.body.dataset;
  stream = globalThis.SharedWorker ? sharedStream(events, worker) : ownStream(events);
}

// All windows share one stream, see events.js.
function sharedStream(url, script) {
  const { port } = new SharedWorker(script);
  port.onmessage = ({ data }) => EVENT_HANDLERS[data]();
  port.postMessage(url);
  return { close: () => port.postMessage(null), listen: () => port.postMessage(url) };
}

function ownStream(url) {
  let source = null;
  const listen = () => {
    if (source && source.readyState !== EventSource.CLOSED) return;
    source = new EventSource(url);
    for (const name of Object.keys(EVENT_HANDLERS)) source.addEventListener(name, EVENT_HANDLERS[name]);
  };
  listen();
  return { close: () => source.close(), listen };
}

const EVENT_HANDLERS = {
  open: () => {
    isStreamBroken = false;
    showConnection("Live");
    requestRefresh();
  },
  job: () => requestRefresh(150),
  breaker: () => requestRefresh(150),
  budget: () => requestRefresh(150),
  balance: () => requestRefresh(150),
  reset: () => requestRefresh(),
  error: () => {
    if (!isStreamBroken) reopenLater();
    isStreamBroken = true;
    requestRefresh(POLL_MS);
  },
};

// A refused stream stays closed: it is opened again, until it is.
function reopenLater() {
  setTimeout(() => {
    if (!isStreamBroken || !stream) return;
    stream.listen();
    reopenLater();
  }, IDLE_REFRESH_MS);
}

function suspend() {
  unschedule();
  if (stream) stream.close();
  stream = null;
}

if (live) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) suspend();
    else {
      requestRefresh();
      openStream();
    }
  });
  addEventListener("pagehide", suspend);
  addEventListener("pageshow", (event) => event.persisted && openStream());
  openStream();
  scheduleNext();
}

// Relative times: updated between refreshes.

const UNITS = [
  [86_400, 172_800, "d"],
  [3_600, 7_200, "h"],
  [60, 120, "min"],
  [1, 10, "s"],
];

function durationText(seconds) {
  for (const [unit, from, name] of UNITS) {
    if (seconds >= from) return `${Math.floor(seconds / unit)} ${name}`;
  }
  return `${Math.max(0, seconds).toFixed(1)} s`;
}

function updateTimes() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[datetime]")) {
    const elapsed = (Date.now() - Date.parse(time.dateTime)) / 1_000;
    if (Math.abs(elapsed) < 10) continue;
    const text = elapsed >= 0 ? `${durationText(elapsed)} ago` : `in ${durationText(-elapsed)}`;
    if (time.textContent !== text) time.firstChild.data = text;
  }
}
setInterval(updateTimes, 5_000);

// Theme.

const themeButton = document.getElementById("theme");
const SCHEMES = { "": "Theme: system", dark: "Theme: dark", light: "Theme: light" };

function showTheme() {
  themeButton.textContent = SCHEMES[document.documentElement.dataset.theme || ""];
}

themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  const names = Object.keys(SCHEMES);
  const root = document.documentElement;
  const name = names[(names.indexOf(root.dataset.theme || "") + 1) % names.length];
  if (name) root.dataset.theme = name;
  else delete root.dataset.theme;
  try {
    localStorage.setItem("theme", name);
  } catch {
    // Storage is disabled: the choice lasts until the page is left.
  }
  showTheme();
});
showTheme();

// Selection of jobs in a list.

function jobCheckboxes() {
  return [...document.querySelectorAll('input[name="ids"]')];
}

function updateSelection() {
  const all = document.getElementById("select-all");
  if (!all) return;
  all.hidden = false;
  const selectedCount = jobCheckboxes().filter((box) => box.checked).length;
  all.checked = selectedCount > 0 && selectedCount === jobCheckboxes().length;
  all.indeterminate = selectedCount > 0 && selectedCount < jobCheckboxes().length;
  document.getElementById("selected-count").textContent = selectedCount ? `(${selectedCount})` : "";
}

document.addEventListener("change", (event) => {
  if (event.target.id === "select-all") {
    for (const box of jobCheckboxes()) box.checked = event.target.checked;
  }
  if (event.target.id === "select-all" || event.target.name === "ids") {
    const selected = document.querySelector('input[name="scope"][value="selected"]');
    if (selected) selected.checked = true;
    updateSelection();
  }
});
updateSelection();

// A form is submitted once.

document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  else event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// Keyboard shortcuts.

const keys = document.getElementById("keys");
const keysButton = document.getElementById("keys-button");
keysButton.hidden = false;
keysButton.addEventListener("click", () => keys.showModal());

let goPressedAt = 0; // when `g` was pressed, in ms

function rows() {
  return [...document.querySelectorAll("[data-list] > tbody > tr, [data-list] > article")];
}

function moveSelection(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.hasAttribute("data-selected"));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
  if (at >= 0) all[at].removeAttribute("data-selected");
  next.setAttribute("data-selected", "");
  const target = next.querySelector("[data-open]") || next.querySelector("a, button, input");
  if (target) target.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function selectedRow() {
  return document.querySelector("[data-selected]");
}

const KEY_HANDLERS = {
  "/": () => {
    const field =
      document.querySelector("[data-filter] select, [data-filter] input") ||
      document.getElementById("find");
    if (field) field.focus();
  },
  j: () => moveSelection(1),
  k: () => moveSelection(-1),
  x: () => {
    const box = selectedRow() && selectedRow().querySelector('input[name="ids"]');
    if (box) box.click();
  },
  o: () => {
    const link = selectedRow() && selectedRow().querySelector("[data-open]");
    if (link) link.click();
  },
  "?": () => keys.showModal(),
};

function go(key) {
  const link = document.querySelector(`#nav a[data-key="${CSS.escape(key)}"]`);
  if (link) link.click();
  return Boolean(link);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
  const field = event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select");
  if (field) {
    if (event.key === "Escape") field.blur();
    return;
  }
  if (goPressedAt && Date.now() - goPressedAt < 1_500 && go(event.key)) {
    event.preventDefault();
    goPressedAt = 0;
    return;
  }
  goPressedAt = event.key === "g" ? Date.now() : 0;
  if (KEY_HANDLERS[event.key]) {
    event.preventDefault();
    KEY_HANDLERS[event.key]();
  }
});
