// Updates one DOM tree to match another, node by node. It keeps what the reader is using: focus,
// selection, changed fields, opened details, scroll positions and playing media.

const MEDIA = new Set(["IMG", "VIDEO", "AUDIO"]);
const FIELDS = new Set(["INPUT", "SELECT", "TEXTAREA"]);

/** Update the children of `now` to match those of `next`. */
export function patchChildren(now, next) {
  const keyed = new Map();
  for (const child of now.children) {
    const key = keyOf(child);
    if (key) keyed.set(key, child);
  }
  let cursor = now.firstChild;
  for (const child of [...next.childNodes]) {
    const key = child.nodeType === Node.ELEMENT_NODE ? keyOf(child) : null;
    let found = key ? keyed.get(key) : null;
    if (!found && cursor && !keyOf(cursor) && isSameKind(cursor, child)) found = cursor;
    if (!found) {
      now.insertBefore(document.importNode(child, true), cursor);
      continue;
    }
    if (found === cursor) cursor = cursor.nextSibling;
    else now.insertBefore(found, cursor);
    if (key) keyed.delete(key);
    patch(found, child);
  }
  while (cursor) {
    const after = cursor.nextSibling;
    if (!isBusy(cursor)) cursor.remove();
    cursor = after;
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

function patchAttributes(now, next, ignoredAttribute) {
  for (const { name, value } of next.attributes) {
    if (name !== ignoredAttribute && now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  for (const { name } of [...now.attributes]) {
    if (name !== ignoredAttribute && name !== "data-selected" && !next.hasAttribute(name)) now.removeAttribute(name);
  }
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE
    ? node.getAttribute("data-id") || node.id || null
    : null;
}

function isSameKind(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && !keyOf(b);
}

/** Whether a field differs from its value in the page as it was loaded. */
export function isChanged(field) {
  if (field.type === "hidden") return false;
  if (field.type === "checkbox" || field.type === "radio") {
    return field.checked !== field.defaultChecked;
  }
  if (field.tagName === "SELECT") {
    const hasDefault = [...field.options].some((option) => option.defaultSelected);
    return hasDefault
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
