const read = (id) => JSON.parse(document.getElementById(id).textContent);
const specs = read("specs"), packed = read("data"), views = [], off = new Set();
const SIGNS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";
const MOST = SIGNS.length ** 2 - 1;

// Rows that were packed by columns, or a matrix of two signs a number.
function unpacked(name) {
  const told = packed[name];
  return told.columns ? rows(told.columns) : matrix(told);
}

function rows(columns) {
  const names = Object.keys(columns);
  const values = names.map((name) => {
    const one = columns[name];
    return Array.isArray(one) ? one : one.at.map((at) => one.words[at]);
  });
  return (values[0] ?? []).map((_, at) => Object.fromEntries(names.map((name, n) => [name, values[n][at]])));
}

function matrix({ tensors, field, log, squares }) {
  const made = [];
  for (const [label, column, depth, text] of squares) {
    tensors.forEach((tensor, at) => {
      const signs = text.slice(2 * at, 2 * at + 2);
      if (signs === "..") return;
      const number = SIGNS.indexOf(signs[0]) * SIGNS.length + SIGNS.indexOf(signs[1]);
      const value = !log ? number / MOST : number === 0 ? 0 : 10 ** ((9 * number) / MOST - 6);
      made.push({ label, column, depth, tensor, [field]: value });
    });
  }
  return made;
}

async function draw(place) {
  const spec = specs[place.dataset.figure];
  const whole = { ...spec, description: place.dataset.alt, datasets: { [spec.data.name]: unpacked(spec.data.name) } };
  const { view } = await vegaEmbed(place, whole, { renderer: "svg", actions: false, mode: "vega-lite" });
  const svg = place.querySelector("svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", place.dataset.alt);
  if ((spec.params ?? []).some((one) => one.name === "off")) views.push(view);
}

async function drawn() {
  for (const place of document.querySelectorAll("[data-figure]")) {
    await draw(place);
    await new Promise((done) => setTimeout(done)); // the page stays awake while a hundred are drawn
  }
  document.documentElement.dataset.ready = "yes";
}

// A method switched off is off in every figure.
for (const key of document.querySelectorAll(".key[data-label]")) {
  key.addEventListener("click", () => {
    const { label } = key.dataset, shown = off.has(label);
    shown ? off.delete(label) : off.add(label);
    key.setAttribute("aria-pressed", String(shown));
    for (const view of views) view.signal("off", [...off]).run();
  });
}

// Day or night: what the system says, until the reader does.
const shade = document.getElementById("shade"), root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const night = () => (root.dataset.shade ? root.dataset.shade === "night" : dark.matches);
const tell = () => {
  shade.textContent = night() ? "light" : "dark";
  shade.setAttribute("aria-pressed", String(night()));
};
shade.addEventListener("click", () => { root.dataset.shade = night() ? "day" : "night"; tell(); });
dark.addEventListener("change", tell);
tell();

// Tables: numbers as numbers, words as words, what is missing last either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !head.classList.contains("number"));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "ascending" : "descending");
    const key = (row) => row.cells[at].dataset.key;
    const order = (a, b) => (a === undefined) - (b === undefined)
      || (a === undefined ? 0 : (down ? 1 : -1) * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b));
    body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
  }));
}

drawn();
