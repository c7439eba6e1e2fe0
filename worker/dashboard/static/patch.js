// Turns one tree into another, node by node, and leaves alone what a person is at work on: focus,
// selection, fields they changed, details they opened, places they scrolled to, media that plays.

const MEDIA = new Set(["IMG", "VIDEO", "AUDIO"]);
const FIELDS = new Set(["INPUT", "SELECT", "TEXTAREA"]);

/** Make the children of `now` like those of `next`. */
export function patchChildren(now, next) {
  const keyed = new Map();
  for (const child of now.children) {
    const key = keyOf(child);
    if (key) keyed.set(key, child);
  }
  let place = now.firstChild;
  for (const wanted of [...next.childNodes]) {
    const key = wanted.nodeType === Node.ELEMENT_NODE ? keyOf(wanted) : null;
    let found = key ? keyed.get(key) : null;
    if (!found && place && !keyOf(place) && alike(place, wanted)) found = place;
    if (!found) {
      now.insertBefore(document.importNode(wanted, true), place);
      continue;
    }
    if (found === place) place = place.nextSibling;
    else now.insertBefore(found, place);
    if (key) keyed.delete(key);
    patch(found, wanted);
  }
  while (place) {
    const after = place.nextSibling;
    if (!isBusy(place)) place.remove();
    place = after;
  }
}

function patch(now, next) {
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  if (MEDIA.has(now.tagName) && now.getAttribute("src") === next.getAttribute("src")) return;
  if (FIELDS.has(now.tagName)) {
    patchField(now, next);
    return;
  }
  patchAttributes(now, next, now.tagName === "DETAILS" ? "open" : "");
  patchChildren(now, next);
}

function patchField(now, next) {
  if (now === document.activeElement || isChanged(now)) return;
  if (!now.isEqualNode(next)) {
    patchAttributes(now, next, now.type === "checkbox" || now.type === "radio" ? "checked" : "");
    if (now.tagName === "SELECT") patchChildren(now, next);
    if (now.tagName === "TEXTAREA") now.value = next.value;
  }
}

function patchAttributes(now, next, kept) {
  for (const { name, value } of next.attributes) {
    if (name !== kept && now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  for (const { name } of [...now.attributes]) {
    if (name !== kept && name !== "data-chosen" && !next.hasAttribute(name)) now.removeAttribute(name);
  }
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE
    ? node.getAttribute("data-id") || node.id || null
    : null;
}

function alike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && !keyOf(b);
}

/** Whether a field says something else than the page it came with. */
export function isChanged(field) {
  if (field.type === "hidden") return false;
  if (field.type === "checkbox" || field.type === "radio") {
    return field.checked !== field.defaultChecked;
  }
  if (field.tagName === "SELECT") {
    const usual = [...field.options].some((option) => option.defaultSelected);
    return usual
      ? [...field.options].some((option) => option.selected !== option.defaultSelected)
      : field.selectedIndex > 0;
  }
  return field.value !== field.defaultValue;
}

function isBusy(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return false;
  if (node.contains(document.activeElement) && document.activeElement !== document.body) {
    return FIELDS.has(document.activeElement.tagName);
  }
  return [...node.querySelectorAll("input, textarea")].some(
    (field) => field.type !== "checkbox" && field.type !== "radio" && isChanged(field),
  );
}
