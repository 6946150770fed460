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
  const spec = specs[place.dataset.figure], figure = place.closest("figure"), rows = unpacked(spec.data.name);
  const controls = [...figure.querySelectorAll("[data-control]")];
  const valueOf = (control) => (control.type === "checkbox" ? control.checked : control.value);
  const first = Object.fromEntries(controls.map((control) => [control.dataset.control, valueOf(control)]));
  first.hidden = [...hidden];
  const params = (spec.params ?? []).map((param) => ({ ...param, value: first[param.name] ?? param.value }));
  const whole = { ...spec, params, description: place.dataset.alt, datasets: { [spec.data.name]: rows } };
  const { view } = await vegaEmbed(place, whole, { renderer: "svg", actions: false, mode: "vega-lite" });
  const svg = place.querySelector("svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", place.dataset.alt);
  if (params.some((param) => param.name === "hidden")) views.push(view);
  const table = figure.querySelector("details.numbers");
  const fill = () => { if (table.open) showNumbers(table, rows, controls); };
  table.addEventListener("toggle", fill);
  for (const control of controls) {
    control.addEventListener("change", () => { view.signal(control.dataset.control, valueOf(control)).run(); fill(); });
  }
}

// A number in one of d3's formats `.Nf`, `.Ng` and `.N%`.
function formatted(value, format) {
  const digits = Number(format[1]);
  if (format.endsWith("%")) return `${(100 * value).toFixed(digits)}%`;
  return format.endsWith("f") ? value.toFixed(digits) : String(Number(value.toPrecision(digits)));
}

// The numbers of a figure as a table, for the values that its menus have.
function showNumbers(details, rows, controls) {
  const columns = JSON.parse(details.dataset.columns), menus = controls.filter((control) => control.dataset.field);
  const chosen = (row) => menus.every((menu) => String(row[menu.dataset.field]) === menu.value);
  const shown = columns.filter(({ field }) => !menus.some((menu) => menu.dataset.field === field));
  const table = document.createElement("table");
  const add = (line, tag, text) => line.appendChild(Object.assign(document.createElement(tag), { textContent: text }));
  const head = table.createTHead().insertRow(), body = table.createTBody();
  for (const { title } of shown) add(head, "th", title).scope = "col";
  for (const row of rows.filter((row) => row[columns[0].field] !== undefined && chosen(row))) {
    const line = body.insertRow();
    for (const { field, format } of shown) {
      const value = row[field] ?? "–";
      add(line, "td", format && typeof value === "number" ? formatted(value, format) : value);
    }
  }
  details.querySelector(".scroll").replaceChildren(table);
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
const updateButton = () => button.setAttribute("aria-pressed", String(isDark()));
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

// What a frame cuts off is named below it. The first columns of the wide table stay in sight.
for (const frame of document.querySelectorAll(".frame")) {
  const box = frame.querySelector(".scroll"), hint = frame.nextElementSibling, table = box.querySelector("table");
  const rows = [...table.tBodies[0].rows], frozen = table.classList.contains("suite") ? [0, rows[0].querySelector("th").cellIndex] : [];
  const count = (number, noun) => `${number.toLocaleString("en")} more ${noun}${number === 1 ? "" : "s"}`;
  const update = () => {
    const right = box.scrollWidth - box.clientWidth - box.scrollLeft > 1;
    frame.toggleAttribute("data-right", right);
    frame.toggleAttribute("data-left", box.scrollLeft > 1);
    const edge = box.getBoundingClientRect(), parts = [];
    const cut = right ? [...table.tHead.rows[0].cells].filter((cell) => cell.getBoundingClientRect().right > edge.left + box.clientWidth + 2).length : 0;
    if (cut) parts.push(`${count(cut, "column")} →`);
    const bottom = box.scrollTop + box.clientHeight, below = bottom < box.scrollHeight - 1 ? rows.filter((row) => row.offsetTop + row.offsetHeight > bottom + 2).length : 0;
    if (below) parts.push(`${count(below, "row")} ↓`);
    hint.textContent = parts.join(", ");
  };
  const freeze = () => {
    const wide = box.clientWidth > 700, width = (at) => rows[0].cells[at].offsetWidth;
    const kept = wide ? frozen : frozen.slice(1);
    for (const row of frozen.length ? table.rows : []) frozen.forEach((at) => row.cells[at].classList.toggle("frozen", kept.includes(at)));
    if (kept.length > 1) frame.style.setProperty("--first", `${width(0)}px`);
    frame.style.setProperty("--frozen", `${kept.reduce((sum, at) => sum + width(at), 0)}px`);
    update();
  };
  box.addEventListener("scroll", update, { passive: true });
  new ResizeObserver(freeze).observe(box);
}

// Anchors and what has the focus stay below the header and the legend, however many lines these have.
for (const [name, place] of [["--header", document.querySelector("header")], ["--legend", document.querySelector(".legend")]]) {
  new ResizeObserver(() => root.style.setProperty(name, `${place.offsetHeight}px`)).observe(place);
}

drawAll();
