"use strict";
// Legend: a click switches an arm in every figure, a double click shows it alone.
const keys = [...document.querySelectorAll("[data-arm-key]")];
function show(button, on) {
  button.setAttribute("aria-pressed", String(on));
  for (const part of document.querySelectorAll(`[data-arm="${button.dataset.armKey}"]`)) part.classList.toggle("off", !on);
}
for (const button of keys) {
  button.addEventListener("click", () => show(button, button.getAttribute("aria-pressed") !== "true"));
  button.addEventListener("dblclick", () => keys.forEach((other) => show(other, other === button)));
}
document.getElementById("all-arms")?.addEventListener("click", () => keys.forEach((button) => show(button, true)));

// Tables: a click on a heading sorts by it, a second one turns the order; cells without a value stay last.
function sortKey(cell, numeric) {
  const raw = cell.dataset.sort ?? cell.textContent;
  if (!numeric) return raw === "–" ? null : raw;
  const value = parseFloat(raw.replaceAll(",", ""));
  return Number.isNaN(value) ? null : value;
}
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const numeric = head.classList.contains("num");
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [sortKey(row.cells[column], numeric), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
      return down ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
  }));
}

// Light and dark: the system's choice until the button is used.
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const now = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
});
