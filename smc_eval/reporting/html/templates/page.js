const read = (id) => JSON.parse(document.getElementById(id).textContent);
const specs = read("specs"), packed = read("data"), views = [], hidden = new Set();
const CODE_SIGNS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";
const LARGEST_CODE = CODE_SIGNS.length ** 2 - 1;

// The rows of a data set: packed by columns, or as a matrix with two characters per number.
function unpacked(name) {
  const data = packed[name];
  return data.columns ? rows(data.columns) : matrix(data);
}

function rows(columns) {
  const names = Object.keys(columns);
  const values = names.map((name) => {
    const column = columns[name];
    return Array.isArray(column) ? column : column.index.map((at) => column.distinct[at]);
  });
  return (values[0] ?? []).map((_, at) => Object.fromEntries(names.map((name, n) => [name, values[n][at]])));
}

function matrix({ tensors, field, log, points }) {
  const result = [];
  for (const [label, column, depth, text] of points) {
    tensors.forEach((tensor, at) => {
      const signs = text.slice(2 * at, 2 * at + 2);
      if (signs === "..") return;
      const number = CODE_SIGNS.indexOf(signs[0]) * CODE_SIGNS.length + CODE_SIGNS.indexOf(signs[1]);
      const value = !log ? number / LARGEST_CODE : number === 0 ? 0 : 10 ** ((9 * number) / LARGEST_CODE - 6);
      result.push({ label, column, depth, tensor, [field]: value });
    });
  }
  return result;
}

async function draw(place) {
  const spec = specs[place.dataset.figure];
  const whole = { ...spec, description: place.dataset.alt, datasets: { [spec.data.name]: unpacked(spec.data.name) } };
  const { view } = await vegaEmbed(place, whole, { renderer: "svg", actions: false, mode: "vega-lite" });
  const svg = place.querySelector("svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", place.dataset.alt);
  if ((spec.params ?? []).some((param) => param.name === "hidden")) views.push(view);
}

async function drawAll() {
  for (const place of document.querySelectorAll("[data-figure]")) {
    await draw(place);
    await new Promise((done) => setTimeout(done)); // keeps the page responsive
  }
  document.documentElement.dataset.ready = "yes";
}

// A method is hidden or shown in all figures at once.
for (const key of document.querySelectorAll(".key[data-label]")) {
  key.addEventListener("click", () => {
    const { label } = key.dataset, show = hidden.has(label);
    show ? hidden.delete(label) : hidden.add(label);
    key.setAttribute("aria-pressed", String(show));
    for (const view of views) view.signal("hidden", [...hidden]).run();
  });
}

// Light or dark theme: the system's, until the reader chooses.
const button = document.getElementById("theme"), root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const updateButton = () => {
  button.textContent = isDark() ? "light" : "dark";
  button.setAttribute("aria-pressed", String(isDark()));
};
button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; updateButton(); });
system.addEventListener("change", updateButton);
updateButton();

// Sorting: numbers by value, texts by letter, missing values last in both directions.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !head.classList.contains("number"));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[at].dataset.key;
    const order = (a, b) => (a === undefined) - (b === undefined)
      || (a === undefined ? 0 : (ascending ? 1 : -1) * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b));
    body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
  }));
}

drawAll();
