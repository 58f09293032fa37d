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

// Selectors: what a figure shows; a size or metric that is chosen in one figure is chosen in all that have it.
const selects = [...document.querySelectorAll("figure select")];
const sliders = [...document.querySelectorAll("figure input[type=range]")];
function choose(figure) {
  const wanted = [...figure.querySelectorAll("select")].map((one) => [one.dataset.key, one.value]);
  for (const slider of figure.querySelectorAll("input[type=range]")) wanted.push([slider.dataset.key, slid(slider)]);
  let any = false;
  for (const panel of figure.querySelectorAll(".panel")) {
    const of = JSON.parse(panel.dataset.shown || "{}");
    const on = wanted.every(([key, value]) => value === "" || !(key in of) || of[key] === value);
    panel.hidden = !on;
    any ||= on;
  }
  figure.querySelector(".none")?.remove();
  if (!any) {
    const none = document.createElement("p");
    none.className = "none";
    none.textContent = "Not measured.";
    figure.querySelector(".panels").append(none);
  }
}
for (const select of selects) {
  select.addEventListener("change", () => {
    for (const other of selects) {
      const same = other.dataset.key === select.dataset.key && [...other.options].some((one) => one.value === select.value);
      if (other !== select && same && select.value !== "") other.value = select.value;
      if (other === select || same) choose(other.closest("figure"));
    }
  });
}
function slid(slider) {
  return slider.dataset.values.split("|")[Number(slider.value)];
}
for (const slider of sliders) {
  slider.addEventListener("input", () => {
    slider.nextElementSibling.textContent = slid(slider);
    choose(slider.closest("figure"));
  });
}
const narrow = matchMedia("(max-width: 700px)");
function fit() {  // a phone shows one panel of those that a wide page has side by side
  for (const select of selects) {
    if (select.options[0].value !== "") continue;
    if (narrow.matches && select.value === "") select.selectedIndex = 1;
    else if (!narrow.matches && select.selectedIndex === 1) select.selectedIndex = 0;
    choose(select.closest("figure"));
  }
}
narrow.addEventListener("change", fit);
if (narrow.matches) {
  fit();
  document.querySelector(".more")?.removeAttribute("open");
}
for (const caption of document.querySelectorAll("figcaption")) caption.addEventListener("click", () => caption.classList.add("whole"));

// Contents close when a place was chosen.
for (const list of document.querySelectorAll(".contents")) list.addEventListener("click", (event) => { if (event.target.closest("a")) list.open = false; });

// Copying. Where the clipboard is not given, the file is saved instead.
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function say(button, word) {
  const before = button.dataset.copy ?? button.dataset.table;
  button.textContent = word;
  setTimeout(() => { button.textContent = before; }, 1500);
}
async function hand(button, type, blob, name) {
  try {
    const item = type === "image/png" ? { "image/png": blob } : null;
    if (item) await navigator.clipboard.write([new ClipboardItem(item)]);
    else await navigator.clipboard.writeText(await blob.text());
    say(button, "copied");
  } catch {
    save(blob, name);
    say(button, "saved");
  }
}
// The panels of a figure that can be seen, side by side in one picture, with their legend.
const NS = "http://www.w3.org/2000/svg";
function element(name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
function seen(figure) {
  return [...figure.querySelectorAll(".panel")].filter((panel) => !panel.hidden && !panel.classList.contains("off"));
}
function picture(figure) {
  const parts = seen(figure).map((panel) => {
    const image = panel.querySelector("img");
    if (image) {
      const [width, height] = [image.naturalWidth, image.naturalHeight];
      const group = element("svg", { width, height: height + 20, viewBox: `0 0 ${width} ${height + 20}` });
      group.append(element("text", { x: 0, y: 14, "font-size": 12 }, panel.querySelector("p").textContent));
      group.append(element("image", { y: 20, width, height, href: image.src, style: "image-rendering:pixelated" }));
      return [group, width, height + 20];
    }
    const drawn = [...panel.querySelectorAll("svg")].find((one) => one.getClientRects().length) ?? panel.querySelector("svg");
    const copy = drawn.cloneNode(true);
    copy.querySelectorAll(".off").forEach((part) => part.remove());
    const [, , width, height] = drawn.getAttribute("viewBox").split(" ").map(Number);
    return [copy, width, height];
  });
  const columns = Math.min(3, parts.length);
  let [y, wide] = [0, 0];
  const whole = element("svg", { xmlns: NS, "font-family": "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif" });
  for (let start = 0; start < parts.length; start += columns) {
    let [x, high] = [0, 0];
    for (const [part, width, height] of parts.slice(start, start + columns)) {
      part.setAttribute("x", x);
      part.setAttribute("y", y);
      whole.append(part);
      x += width + 12;
      high = Math.max(high, height);
    }
    y += high + 8;
    wide = Math.max(wide, x - 12);
  }
  const lines = seen(figure).some((panel) => panel.classList.contains("line"));
  const arms = new Set([...figure.querySelectorAll(".panel.line:not([hidden]) [data-arm]")].map((part) => part.dataset.arm));
  let x = 8;
  for (const key of lines ? keys : []) {
    if (!arms.has(key.dataset.armKey) || key.getAttribute("aria-pressed") !== "true") continue;
    const [swatch, name] = [key.querySelector("svg").cloneNode(true), key.textContent.trim()];
    const width = 44 + 7 * name.length;
    if (x > 8 && x + width > wide) [x, y] = [8, y + 20];
    swatch.setAttribute("x", x);
    swatch.setAttribute("y", y);
    whole.append(swatch, element("text", { x: x + 35, y: y + 11, "font-size": 11, fill: "#1c2024" }, name));
    x += width;
  }
  const height = y + (x > 8 ? 22 : 0);
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${wide} ${height}`, width: wide, height })) whole.setAttribute(name, value);
  whole.prepend(element("rect", { width: wide, height, fill: "#ffffff" }));
  return [whole, wide, height];
}
async function png(svg, width, height) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * width, 2 * height];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const figure = button.closest("figure");
    const kind = button.dataset.copy;
    const name = `${figure.id}.${kind.toLowerCase()}`;
    if (kind === "CSV") {
      const text = seen(figure).map((panel) => panel.dataset.csv).filter(Boolean).join("\n");
      await hand(button, "text/csv", new Blob([text], { type: "text/csv" }), name);
      return;
    }
    const [svg, width, height] = picture(figure);
    if (kind === "SVG") {
      const text = new XMLSerializer().serializeToString(svg);
      await hand(button, "image/svg+xml", new Blob([text], { type: "image/svg+xml" }), name);
    } else {
      await hand(button, "image/png", await png(svg, width, height), name);
    }
  });
}
// A table as LaTeX, Markdown or CSV, in the order in which it is sorted.
const LATEX = { "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
  "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "↓": "$\\downarrow$", "↑": "$\\uparrow$", "–": "--", "×": "$\\times$", "→": "$\\rightarrow$" };
function latex(text) {
  return text.replace(/[\\&%$#_{}~^±↓↑–×→]/g, (letter) => LATEX[letter]);
}
function plain(value) {  // as in the exported CSV: what a spreadsheet would compute is told not to
  const safe = /^[=+\-@\t\r]/.test(value) && !/^[-+][-+ 0-9.,%()eto]*$/.test(value) ? `'${value}` : value;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
function written(table, kind) {
  const heads = [...table.tHead.rows[0].cells];
  const numeric = heads.map((head) => head.classList.contains("num"));
  const labels = heads.map((head) => head.textContent.trim());
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
  const text = (cell) => cell.textContent.trim();
  const marked = (cell) => cell.querySelector(".best, .second")?.className;
  if (kind === "CSV") {
    const value = (cell, column) => (text(cell) === "–" ? "" : numeric[column] ? cell.dataset.sort ?? text(cell) : text(cell));
    return [labels, ...rows.map((row) => row.map(value))].map((row) => row.map(plain).join(",")).join("\n") + "\n";
  }
  if (kind === "Markdown") {
    const bar = (words) => `| ${words.map((word) => word.replaceAll("|", "\\|")).join(" | ")} |`;
    const own = { best: (word) => `**${word}**`, second: (word) => `<u>${word}</u>` };
    const cells = (row) => row.map((cell) => (own[marked(cell)] ?? String)(text(cell)));
    return [bar(labels), bar(numeric.map((one) => (one ? "--:" : ":--"))), ...rows.map((row) => bar(cells(row)))].join("\n") + "\n";
  }
  const own = { best: (word) => `\\textbf{${word}}`, second: (word) => `\\underline{${word}}` };
  const line = (words) => `  ${words.join(" & ")} \\\\`;
  const body = rows.map((row) => line(row.map((cell) => (own[marked(cell)] ?? String)(latex(text(cell))))));
  const columns = numeric.map((one) => (one ? "r" : "l")).join("");
  return [`\\begin{tabular}{${columns}}`, "  \\toprule", line(labels.map(latex)), "  \\midrule", ...body, "  \\bottomrule", "\\end{tabular}"].join("\n") + "\n";
}
const ENDINGS = { LaTeX: "tex", Markdown: "md", CSV: "csv" };
for (const button of document.querySelectorAll("[data-table]")) {
  button.addEventListener("click", async () => {
    const table = button.closest(".table").querySelector("table");
    const text = written(table, button.dataset.table);
    await hand(button, "text/plain", new Blob([text], { type: "text/plain" }), `${table.id}.${ENDINGS[button.dataset.table]}`);
  });
}

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
// A link into a folded part opens it.
function unfold() {
  for (let part = document.getElementById(decodeURIComponent(location.hash.slice(1))); part; part = part.parentElement) {
    if (part.tagName === "DETAILS") part.open = true;
    if (part.tagName === "FIGURE") part.querySelector("details")?.setAttribute("open", "");
  }
}
addEventListener("hashchange", unfold);
unfold();
