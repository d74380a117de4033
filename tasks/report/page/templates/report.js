"use strict";
// Charts take the page's colours, in light, dark and print; tables sort and filter.
const dark = matchMedia("(prefers-color-scheme: dark)");
const shown = [];

function theme(width, isDark) {
  const ink = isDark ? "#e8e6e1" : "#1c1e22", soft = isDark ? "#a5a9b1" : "#5b6068", line = isDark ? "#343841" : "#e4e2dc";
  const font = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
  return {
    background: "transparent", font, view: { stroke: null },
    axis: { labelColor: ink, titleColor: soft, gridColor: line, domainColor: soft, tickColor: soft, labelFontSize: 11.5, titleFontSize: 11.5, titleFontWeight: 500, titleLimit: Math.max(200, width - 40) },
    axisX: { titleAnchor: width < 420 ? "end" : "middle" },
    axisY: { labelLimit: Math.max(90, Math.min(300, width * 0.52)) },
    legend: { labelColor: ink, titleColor: soft, labelFontSize: 12, columns: width < 520 ? 1 : 2, layout: { top: { anchor: width < 420 ? "end" : "start" } } },
  };
}

async function draw(place, isDark) {
  const spec = { description: place.ariaLabel, ...JSON.parse(place.dataset.spec) };
  const result = await vegaEmbed(place, spec, { actions: false, renderer: "svg", config: theme(place.clientWidth, isDark), tooltip: { theme: isDark ? "dark" : "light" } });
  shown.push(result);
}

// A chart in a fold has no width: it is drawn when the fold opens.
async function drawVisible(isDark) {
  for (const place of document.querySelectorAll(".chart:not([data-drawn])")) {
    if (!place.checkVisibility()) continue;
    place.dataset.drawn = "";
    await draw(place, isDark);
  }
  document.documentElement.dataset.charts = "done";
}

function drawAll(isDark) {
  shown.splice(0).forEach((result) => result.finalize());
  for (const place of document.querySelectorAll(".chart")) delete place.dataset.drawn;
  return drawVisible(isDark);
}

function value(row, column) {
  const text = row.cells[column].dataset.value, number = Number(text);
  return text === "" ? null : Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function sort(header) {
  const table = header.closest("table"), body = table.tBodies[0], column = header.cellIndex;
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...body.rows].sort((a, b) => compare(value(a, column), value(b, column)) * (descending ? -1 : 1));
  body.append(...rows);
}

for (const place of document.querySelectorAll(".chart")) {
  place.dataset.spec = place.querySelector("script").textContent;
  place.replaceChildren();
}
for (const header of document.querySelectorAll("th")) header.querySelector("button")?.addEventListener("click", () => sort(header));
for (const input of document.querySelectorAll(".filter input")) {
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of document.getElementById(input.dataset.table).tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
for (const cell of document.querySelectorAll("td.bar")) cell.style.setProperty("--share", `${100 * Number(cell.dataset.value)}%`);
// The event does not bubble, but is seen on its way down.
addEventListener("toggle", (event) => event.target.open && drawVisible(dark.matches), true);
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
  drawAll(false);
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
  drawAll(dark.matches);
});
dark.addEventListener("change", () => drawAll(dark.matches));
drawAll(dark.matches);
