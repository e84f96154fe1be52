(() => {
const data = JSON.parse(document.getElementById("tables").textContent);
const inputs = data.sliders.map((_, i) => document.getElementById(`slider-${i}`));
const page = document.querySelector(".page");
const system = matchMedia("(prefers-color-scheme: dark)");
const TAIL = 1e-3;  // share of its largest value at which a linear axis shows a curve
const DIGITS = 1e4;  // of an exponent of single-precision numbers
let theme = "light";

const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));

function numbers(table) {
  if ("text" in table) return table.text.split(",").map(v => v === "" ? NaN : Number(v));
  const buffer = bytes(table.f4 ?? table.f8).buffer;
  return "f4" in table ? new Float32Array(buffer) : new Float64Array(buffer);
}

function truths(table) {
  if (table.bits === "") return () => true;
  const bits = bytes(table.bits);
  return i => Boolean(bits[i >> 3] >> (i & 7) & 1);
}

for (const curve of data.curves) {
  curve.number = numbers(curve.values);
  curve.truth = truths(curve.claimed);
}

// Place of the first number of a position in a table whose axes may have length 1.
function offset(shape, index) {
  let place = 0;
  shape.forEach((n, i) => { place = place * n + (i < index.length ? Math.min(index[i], n - 1) : 0); });
  return place;
}

function lines(curve, index) {
  const n = curve.x.length, from = offset(curve.values.shape, index);
  const truth_from = offset(curve.claimed.shape, index);
  return curve.labels.map((_, k) => ({
    y: Array.from(curve.x, (_, i) => curve.number[from + k * n + i]),
    claimed: Array.from(curve.x, (_, i) => curve.truth(truth_from + k * n + i)),
  }));
}

// d ln y / d ln x: second differences inside, one-sided ones of second order at the ends.
function exponents(x, y) {
  const at = [...x.keys()].filter(i => x[i] > 0), n = at.length;
  const u = at.map(i => Math.log(x[i])), v = at.map(i => y[i] > 0 ? Math.log(y[i]) : NaN);
  const slope = (i, a, b, c) => {  // of the parabola through three points, at point i
    const [p, q, r] = [u[a], u[b], u[c]], t = u[i];
    return v[a] * (2 * t - q - r) / ((p - q) * (p - r)) + v[b] * (2 * t - p - r) / ((q - p) * (q - r))
      + v[c] * (2 * t - p - q) / ((r - p) * (r - q));
  };
  const result = x.map(() => NaN);
  at.forEach((place, i) => {
    let value = NaN;
    if (n > 2) {
      const middle = Math.min(Math.max(i, 1), n - 2);
      value = slope(i, middle - 1, middle, middle + 1);
    } else if (n === 2) value = (v[1] - v[0]) / (u[1] - u[0]);
    result[place] = Math.round(value * DIGITS) / DIGITS;
  });
  return result;
}

function draw(curve, index) {
  const is_log = axis => curve.log.includes(axis);
  const drawable = (v, axis) => Number.isFinite(v) && (v > 0 || !is_log(axis)) ? v : NaN;
  const colors = data.themes[theme].curves;
  const every = lines(curve, index);
  const more = {
    color: every.map((_, k) => colors[k % colors.length]), label: curve.labels,
    xs: every.map(() => curve.x.map(v => drawable(v, "x"))),
  };
  const touching = (claimed, i) => [i - 1, i, i + 1].some(j => claimed[j] === false);
  const masked = (keep, values) => every.map(({claimed}, k) =>
    values[k].map((v, i) => keep(claimed, i) ? v : NaN));
  const ys = every.map(({y}) => y.map(v => drawable(v, "y")));
  const slopes = every.map(({y}) => {
    const top = is_log("y") ? 0 : TAIL * Math.max(...y.filter(Number.isFinite));
    return exponents(curve.x, y.map(v => is_log("y") || v > top ? v : NaN));
  });
  const set = (kind, ys) => {
    curve.document.get_model_by_name(`${kind} ${curve.name}`).data = {...more, ys};
  };
  const solid = (claimed, i) => claimed[i];
  set("claimed", masked(solid, ys));
  set("not claimed", masked(touching, ys));
  set("slopes", masked(solid, slopes));
  set("slopes not claimed", masked(touching, slopes));
}

// A figure is drawn anew in other colors: the edges of a canvas would keep the old ones.
async function embed(curve, colors) {
  let item = JSON.stringify(curve.item);
  for (const part of ["paper", "ink", "faint"]) {
    item = item.replaceAll(data.drawn[part], colors[part]);
  }
  const place = document.getElementById(`figure-${curve.name}`);
  curve.document?.clear();
  place.replaceChildren();
  await Bokeh.embed.embed_item(JSON.parse(item), place.id);
  curve.document = Bokeh.documents.at(-1);
}

function short(value) {
  if (!Number.isFinite(value)) return "no value";
  const is_small = value !== 0 && Math.abs(value) < 1e-3;
  return is_small ? value.toExponential(4) : Number(value.toPrecision(5)).toString();
}

function show() {
  const index = inputs.map(input => Number(input.value));
  inputs.forEach((input, i) => {
    const value = data.sliders[i].values[index[i]];
    input.setAttribute("aria-valuetext", value);
    input.parentElement.querySelector("output").textContent = value;
  });
  document.getElementById("status").textContent = data.refused[offset(data.shape, index)] ?? "";
  for (const curve of data.curves) {
    if (curve.item) draw(curve, index);
    else {
      const values = lines(curve, index).map(({y}, k) => `${curve.labels[k]} ${short(y[0])}`.trim());
      document.getElementById(`constant-${curve.name}`).textContent = values.join(", ");
    }
  }
  const moved = data.sliders.flatMap(({path, start, values}, i) => index[i] === start ? [] :
    [`system = js.replace(system, "${path}", ${values[index[i]]})\n`]);
  document.getElementById("code").textContent = data.code[0] + moved.join("") + data.code[1];
}

async function dress(name) {
  delete page.dataset.ready;
  page.dataset.theme = theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "light" : "dark";
  for (const curve of data.curves.filter(curve => curve.item)) await embed(curve, data.themes[name]);
  show();
  page.dataset.ready = "yes";
}

Bokeh.set_log_level("error");  // it warns of every curve without a value
let dressed = dress(system.matches ? "dark" : "light");
const then_dress = choose => () => { dressed = dressed.then(() => dress(choose())); };

inputs.forEach(input => input.addEventListener("input", () => { if (page.dataset.ready) show(); }));
document.getElementById("reset")?.addEventListener("click", () => {
  inputs.forEach((input, i) => { input.value = data.sliders[i].start; });
  show();
});
document.getElementById("theme").addEventListener("click",
  then_dress(() => theme === "dark" ? "light" : "dark"));
system.addEventListener("change", then_dress(() => system.matches ? "dark" : "light"));
})();
