// What makes the pages live and quick to use. Everything they do works without it, too.

import { patchChildren } from "./patch.js";

const REFRESH_EVERY_MS = 1_000; // at most
const REFRESH_SLOW_MS = 15_000; // ages, windows and workers change without an event
const POLL_MS = 3_000; // where there is no stream of events
const REGIONS = ["nav", "main"];

// Live: an event asks for a refresh; a hidden tab rests.

const live = document.body.dataset.live === "yes";
const connection = document.getElementById("connection");
let stream = null;
let broken = false;
let wanted = false;
let running = false;
let lastAt = 0;
let timer = 0;
let due = Infinity;

function ask(delay = 0) {
  wanted = true;
  if (document.hidden || running) return;
  plan(Math.max(Date.now() + delay, lastAt + REFRESH_EVERY_MS));
}

// A later wish never puts an earlier one off, or a storm of events would hold up all refreshes.
function plan(at) {
  if (due <= at) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(refresh, Math.max(0, at - Date.now()));
}

function unplan() {
  clearTimeout(timer);
  due = Infinity;
}

async function refresh() {
  unplan();
  if (document.hidden || running) return;
  if (document.querySelector("dialog[open]")) {
    plan(Date.now() + REFRESH_EVERY_MS);
    return;
  }
  running = true;
  wanted = false;
  lastAt = Date.now();
  try {
    const answer = await fetch(location.href, {
      headers: { "X-Partial": "1" },
      credentials: "same-origin",
      redirect: "error",
    });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (answer.status >= 500) throw new Error(`status ${answer.status}`);
    replace(await answer.text());
    say(broken ? "Live, by looking every 3 s" : "Live");
  } catch {
    say("Not connected: trying again");
  } finally {
    running = false;
    again();
  }
}

function again() {
  if (wanted) ask();
  else plan(Date.now() + (broken ? POLL_MS : REFRESH_SLOW_MS));
}

function replace(text) {
  const next = new DOMParser().parseFromString(text, "text/html");
  for (const id of REGIONS) {
    const fresh = next.getElementById(id);
    const present = document.getElementById(id);
    if (fresh && present) patchChildren(present, fresh);
  }
  enhance();
}

function say(text) {
  if (connection && connection.textContent !== text) connection.textContent = text;
}

function listen() {
  if (stream || document.hidden) return;
  stream = new EventSource("/v1/events");
  stream.addEventListener("open", () => {
    broken = false;
    say("Live");
    ask();
  });
  stream.addEventListener("job", () => ask(150));
  stream.addEventListener("reset", () => ask());
  stream.addEventListener("error", () => {
    broken = true;
    if (stream && stream.readyState === EventSource.CLOSED) {
      stream = null;
      setTimeout(listen, REFRESH_SLOW_MS);
    }
    ask(POLL_MS);
  });
}

function rest() {
  unplan();
  if (stream) stream.close();
  stream = null;
}

if (live) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) rest();
    else {
      ask();
      listen();
    }
  });
  addEventListener("pagehide", rest);
  addEventListener("pageshow", (event) => event.persisted && listen());
  listen();
  again();
}

// Times: relative ones move on between refreshes.

const UNITS = [
  [86_400, 172_800, "d"],
  [3_600, 7_200, "h"],
  [60, 120, "min"],
  [1, 10, "s"],
];

function span(seconds) {
  for (const [unit, from, name] of UNITS) {
    if (seconds >= from) return `${Math.floor(seconds / unit)} ${name}`;
  }
  return `${Math.max(0, seconds).toFixed(1)} s`;
}

function tick() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[datetime]")) {
    const passed = (Date.now() - Date.parse(time.dateTime)) / 1_000;
    if (Math.abs(passed) < 10) continue;
    const text = passed >= 0 ? `${span(passed)} ago` : `in ${span(-passed)}`;
    if (time.textContent !== text) time.firstChild.data = text;
  }
}
setInterval(tick, 5_000);

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
    // Storage is off: the choice lasts as long as the page.
  }
  showTheme();
});
showTheme();

// Selection of jobs in a list.

function boxes() {
  return [...document.querySelectorAll('input[name="ids"]')];
}

function enhance() {
  const all = document.getElementById("tick-all");
  if (!all) return;
  all.hidden = false;
  const ticked = boxes().filter((box) => box.checked).length;
  all.checked = ticked > 0 && ticked === boxes().length;
  all.indeterminate = ticked > 0 && ticked < boxes().length;
  document.getElementById("ticked").textContent = ticked ? `(${ticked})` : "";
}

document.addEventListener("change", (event) => {
  if (event.target.id === "tick-all") {
    for (const box of boxes()) box.checked = event.target.checked;
  }
  if (event.target.id === "tick-all" || event.target.name === "ids") {
    const selected = document.querySelector('input[name="scope"][value="selected"]');
    if (selected) selected.checked = true;
    enhance();
  }
});
enhance();

// A form is sent once.

document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  else event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// Keys.

const keys = document.getElementById("keys");
const keysButton = document.getElementById("keys-button");
keysButton.hidden = false;
keysButton.addEventListener("click", () => keys.showModal());

let gone = 0; // when `g` was pressed

function rows() {
  return [...document.querySelectorAll("[data-list] > tbody > tr, [data-list] > article")];
}

function move(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.hasAttribute("data-chosen"));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
  if (at >= 0) all[at].removeAttribute("data-chosen");
  next.setAttribute("data-chosen", "");
  const target = next.querySelector("[data-open]") || next.querySelector("a, button, input");
  if (target) target.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function chosen() {
  return document.querySelector("[data-chosen]");
}

const ON_KEY = {
  "/": () => {
    const field =
      document.querySelector("[data-filter] select, [data-filter] input") ||
      document.getElementById("find");
    if (field) field.focus();
  },
  j: () => move(1),
  k: () => move(-1),
  x: () => {
    const box = chosen() && chosen().querySelector('input[name="ids"]');
    if (box) box.click();
  },
  o: () => {
    const link = chosen() && chosen().querySelector("[data-open]");
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
  if (gone && Date.now() - gone < 1_500 && go(event.key)) {
    event.preventDefault();
    gone = 0;
    return;
  }
  gone = event.key === "g" ? Date.now() : 0;
  if (ON_KEY[event.key]) {
    event.preventDefault();
    ON_KEY[event.key]();
  }
});
