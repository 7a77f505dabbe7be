"use strict";
// Sorting, filtering and the explorer of samples. Without scripts the page is still complete.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

/** Sort the rows of a table by a column; rows without a value stay at the end. */
function sortBy(table, place, descending) {
  const value = (row) => row.cells[place].dataset.value ?? "";
  const isNumber = table.tHead.rows[table.tHead.rows.length - 1].cells[place].dataset.number;
  const compare = (a, b) => {
    if ((a === "") !== (b === "")) return a === "" ? 1 : -1;
    const order = isNumber ? Number(a) - Number(b) : a.localeCompare(b);
    return descending ? -order : order;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, place) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const first = head.dataset.first ?? "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      sortBy(table, place, order === "descending");
    });
  });
}

/** Show the rows whose name has the text, and the data sets that are chosen. */
function filter() {
  const text = byId("filter-name").value.trim().toLowerCase();
  const chosen = byId("filter-data").value;
  const every = byId("filter-every").checked;
  const controls = byId("filter-controls").checked;
  let shown = 0;
  for (const board of all(".board")) {
    board.hidden = chosen !== "" && board.dataset.block !== chosen;
    board.querySelector("table").classList.toggle("every", every);
    for (const row of all("tbody tr", board)) {
      const isOut = row.classList.contains("control") && !controls;
      row.hidden = isOut || !row.cells[0].dataset.value.toLowerCase().includes(text);
      shown += !row.hidden && !board.hidden;
    }
  }
  byId("filter-count").textContent = `${shown} rows shown`;
}

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

/** One bar per explainer: its score of one sample by one metric. */
function explorer(blocks) {
  const [data, metric, sample] = ["data", "metric", "sample"].map((n) => byId(`explore-${n}`));
  const body = byId("explore-rows");
  const draw = () => {
    const scores = blocks[data.value].metrics[metric.value].scores;
    const values = Object.entries(scores).map(([name, all]) => [name, all[sample.value]]);
    const largest = Math.max(...values.map(([, v]) => Math.abs(v ?? 0)), 1e-12);
    body.replaceChildren(...values.map(([name, value]) => bar(name, value, largest)));
  };
  const fill = () => {
    const block = blocks[data.value];
    metric.replaceChildren(...block.metrics.map((one, i) => option(i, one.label)));
    sample.replaceChildren(...block.rows.map((row, i) => option(i, row)));
    draw();
  };
  data.replaceChildren(...blocks.map((block, i) => option(i, block.title)));
  data.addEventListener("change", fill);
  metric.addEventListener("change", draw);
  sample.addEventListener("change", draw);
  fill();
}

function bar(name, value, largest) {
  const row = document.createElement("tr");
  const [head, number, cell] = ["th", "td", "td"].map((kind) => document.createElement(kind));
  const fill = document.createElement("span");
  head.scope = "row";
  head.textContent = name;
  number.textContent = value === null || value === undefined ? "not scored" : String(value);
  cell.className = "bar";
  fill.className = "fill";
  fill.style.width = `${(100 * Math.abs(value ?? 0)) / largest}%`;
  cell.append(fill);
  row.append(head, number, cell);
  return row;
}

all("table.sortable").forEach(makeSortable);
all(".filter").forEach((one) => one.addEventListener("input", filter));
filter();
const blocks = JSON.parse(byId("samples").textContent);
if (blocks.length) explorer(blocks);
else byId("explore").hidden = true;
