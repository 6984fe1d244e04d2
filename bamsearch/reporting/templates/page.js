// The interactive parts of the page: the chart responds to the pointer, and the network, the table
// and the differences follow the selection. Without this script the HTML stays as it is.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const { fixed, giga, mega, scoreText } = numbers;
  const data = JSON.parse(byId("data").textContent);

  // ---- designs: one letter per site, see bamsearch/reporting/page_data.py

  function chosenOptions(code) {
    return [...code].flatMap((letter, at) => {
      const option = data.sites[at].options[data.letters.indexOf(letter)];
      return option ? [{ site: data.sites[at].name, ...option }] : [];
    });
  }

  function optionsText(options) {
    return options.map(({ site, r, d }) => `${site} r${r} d${d}`).join(", ") || "no BAM";
  }

  function designText(code) {
    return optionsText(chosenOptions(code));
  }

  function element(name, text, className) {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // ---- the network and its table follow the chosen design

  const aligned = all("#sites thead th").map((cell) => cell.className);

  function showSites(options) {
    const rows = options.map(({ cells }) => {
      const row = document.createElement("tr");
      row.append(...cells.map((text, at) => {
        const cell = element(at ? "td" : "th", text, aligned[at]);
        if (!at) cell.scope = "row";
        return cell;
      }));
      return row;
    });
    if (!rows.length) {
      const none = element("td", "no BAM");
      none.colSpan = aligned.length;
      rows.push(document.createElement("tr"));
      rows[0].append(none);
    }
    byId("sites").tBodies[0].replaceChildren(...rows);
  }

  function showNetwork(options) {
    const bySite = new Map(options.map((option) => [option.site, option]));
    const words = optionsText(options);
    byId("network").querySelector(".net-title").textContent = `${data.model}: ${words}`;
    byId("network").querySelector(".net-desc").textContent = `BAM after: ${words}.`;
    for (const site of all("#network .site")) {
      const option = bySite.get(site.dataset.site);
      site.classList.toggle("on", option !== undefined);
      for (const letter of ["r", "d"]) {
        site.querySelector(`.${letter}`).textContent = option ? `${letter}${option[letter]}` : "";
      }
    }
  }

  function show(input) {
    const row = input.closest("tr");
    const [score, gflops, params] = [...row.cells].slice(1).map((cell) => cell.textContent);
    const { x, y } = input.dataset;
    const options = chosenOptions(input.value);
    showNetwork(options);
    showSites(options);
    byId("shown").replaceChildren(
      "Shown: ", element("strong", row.querySelector("label span").textContent),
      `, ${designText(input.value)} · ${x === undefined ? "" : "score "}${score}`
        + ` · ${gflops} GFLOPs · ${params} params`,
    );
    mark(x === undefined ? [] : [{ x: Number(x), y: Number(y) }]);
  }

  function chooseClicked(at) {
    const code = designs.code[at];
    let input = all("#designs input").find((radio) => radio.value === code && radio.dataset.x);
    if (!input) {
      // The list has a spare row for designs that are not in it.
      const row = byId("clicked");
      row.hidden = false;
      input = row.querySelector("input");
      input.value = code;
      Object.assign(input.dataset, { x: xs[at], y: designs.score[at] });
      row.querySelector("small").textContent = designText(code);
      [scoreText(designs.score[at]), giga(designs.macs[at]), mega(designs.params[at])]
        .forEach((text, cell) => { row.cells[cell + 1].textContent = text; });
    }
    input.checked = true;
    show(input);
    // Scroll the list, not the page.
    const list = input.closest(".list");
    list.scrollTop += input.getBoundingClientRect().top - list.getBoundingClientRect().top - 50;
  }

  // ---- charts: colours of the specification are CSS variables, which a canvas cannot resolve

  const { designs } = data;
  const xs = designs[data.x.column].map((value) => value / data.x.unit);
  const kinds = designs.kind.flatMap(([kind, count]) => Array(count).fill(kind));
  const embedded = {};
  let pareto = null;

  function inThemesColours(spec) {
    const probe = document.body.appendChild(document.createElement("span"));
    const resolved = JSON.parse(JSON.stringify(spec), (_, value) => {
      if (typeof value !== "string" || !value.startsWith("var(--")) return value;
      probe.style.color = value;
      return getComputedStyle(probe).color;
    });
    probe.remove();
    return resolved;
  }

  async function draw(id, spec) {
    const chart = byId(id);
    const [still, live] = [chart.querySelector(".still"), chart.querySelector(".live")];
    live.hidden = false;
    const narrow = live.clientWidth < 480;
    const drawn = inThemesColours(spec);
    drawn.width = "container";
    drawn.height = narrow ? 260 : 340;
    drawn.autosize = { type: "fit-x", contains: "padding" };
    drawn.config.font = getComputedStyle(document.body).fontFamily;
    if (narrow) drawn.config.legend.columns = 2;
    // ast: interpret expressions, because the page's policy forbids eval.
    const options = { actions: false, ast: true, renderer: "canvas", tooltip: false, hover: false };
    embedded[id]?.finalize();
    embedded[id] = await vegaEmbed(live, drawn, options);
    still.hidden = true;
    return embedded[id].view;
  }

  async function drawAll() {
    if (data.curve.datasets.curves) await draw("curve", data.curve);
    if (!data.chart) return;
    const count = designs.kind
      .reduce((sum, [kind, n]) => sum + (kind.includes("search") ? n : 0), 0);
    const rows = Array.from({ length: count },
      (_, at) => ({ x: xs[at], y: designs.score[at], kind: kinds[at] }));
    pareto = await draw("pareto", {
      ...data.chart, datasets: { ...data.chart.datasets, trials: rows },
    });
    const chosen = document.querySelector("#designs input:checked");
    if (chosen) show(chosen);
  }

  // A data set of one point, so that nothing else in the chart is recomputed.
  function mark(rows) {
    if (pareto) pareto.data("chosen", rows).runAsync();
  }

  // Position of a point in the canvas, in pixels.
  function toPixels() {
    const [left, top] = pareto.origin();
    const [toX, toY] = [pareto.scale("x"), pareto.scale("y")];
    return (at) => [left + toX(xs[at]), top + toY(designs.score[at])];
  }

  // The design nearest to the pointer, within 14 pixels. Vega itself would need a hit on the small
  // point, or a Voronoi diagram over all points.
  function nearest(event) {
    if (!pareto) return -1;
    const box = pareto.container().querySelector("canvas").getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const pixels = toPixels();
    let best = -1;
    let closest = 14 ** 2;
    for (let at = 0; at < xs.length; at += 1) {
      const [x, y] = pixels(at);
      const distance = (x - px) ** 2 + (y - py) ** 2;
      if (distance < closest) [best, closest] = [at, distance];
    }
    return best;
  }

  // Overlays, because redrawing the canvas at each move is too slow with 10,000 points.
  const hint = element("div", "", "hint");
  const ring = element("div", "", "ring");
  hint.hidden = ring.hidden = true;

  function hover(event) {
    const at = nearest(event);
    hint.hidden = ring.hidden = at < 0;
    if (at < 0) return;
    [ring.style.left, ring.style.top] = toPixels()(at).map((pixel) => `${pixel}px`);
    const numbers = [`score ${scoreText(designs.score[at])}`, `${giga(designs.macs[at])} GFLOPs`,
      `${mega(designs.params[at])} params`];
    if (designs.ms) numbers.push(`${fixed(designs.ms[at], 3)} ms`);
    hint.replaceChildren(
      element("b", kinds[at]), element("div", designText(designs.code[at])),
      element("div", numbers.join(" · ")),
    );
    const box = byId("pareto").getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    hint.style.left = `${Math.max(0, Math.min(x + 14, box.width - hint.offsetWidth))}px`;
    hint.style.top = `${y + 18}px`;
  }

  function leave() {
    hint.hidden = ring.hidden = true;
  }

  // ---- differences, themes, copies

  function showDifferences() {
    const differences = data.differences[byId("against").value];
    [...byId("comparison").tBodies[0].rows].forEach((row, at) => {
      for (const cell of all("[data-of]", row)) cell.textContent = differences[at][cell.dataset.of];
    });
  }

  const root = document.documentElement;
  const darkens = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : darkens.matches);

  function themeChanged() {
    byId("theme").textContent = isDark() ? "Light theme" : "Dark theme";
    return drawAll();
  }

  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    let done = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      // Browsers may refuse this for local files; a selection can still be copied.
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Press Ctrl-C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  for (const button of all("#theme, #print, .copy")) button.hidden = false;
  if (data.chart) document.querySelector(".scripted").hidden = false;
  for (const input of all("#designs input, #against")) input.disabled = false;
  for (const button of all(".copy")) button.addEventListener("click", () => copy(button));
  byId("against").addEventListener("change", showDifferences);
  byId("print").addEventListener("click", () => print());
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    themeChanged();
  });
  darkens.addEventListener("change", themeChanged);
  byId("designs")?.addEventListener("change", (event) => show(event.target));
  const live = document.querySelector("#pareto .live");
  byId("pareto").append(ring, hint);
  live.addEventListener("pointermove", hover);
  live.addEventListener("pointerleave", leave);
  live.addEventListener("click", (event) => {
    const at = nearest(event);
    if (at >= 0) chooseClicked(at);
  });
  themeChanged();
})();
