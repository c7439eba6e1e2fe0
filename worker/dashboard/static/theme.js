// Applies the saved colour scheme before the first paint. Without one, the system's scheme applies.
(() => {
  let saved = null;
  try {
    saved = localStorage.getItem("theme");
  } catch {
    // Storage is disabled: the system's scheme applies.
  }
  if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
})();
