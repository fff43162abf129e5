"use strict";
(() => {
  const dark = JSON.parse(document.getElementById("dark-colours").textContent);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const isTouch = matchMedia("(pointer: coarse)").matches;
  // Named one by one: plotly's own set has a button that sends the figure to a server.
  const modeBarButtons = [["toImage", "resetScale2d"]];
  const displayModeBar = isTouch ? false : "hover";
  const config = { responsive: true, displaylogo: false, displayModeBar, modeBarButtons };

  // Figures are stored in light colours; on a dark page each colour gives way to its partner.
  const swap = (key, value) =>
    typeof value === "string" && Object.hasOwn(dark, value) ? dark[value] : value;

  // Figures

  const figures = [...document.querySelectorAll(".figure")];
  const drawn = new Set();
  const makers = new Map();
  /** A place's figure as JSON: that beside it, or what its maker makes of a trial. */
  const source = (place) => makers.get(place)?.() ?? place.nextElementSibling.textContent;

  function draw(place, isDark = scheme.matches, width = 0) {
    const figure = JSON.parse(source(place), isDark ? swap : undefined);
    // A finger that scrolls the page must not zoom the figure under it.
    if (isTouch) figure.layout.dragmode = false;
    if (width) Object.assign(figure.layout, { width, autosize: false });
    drawn.add(place);
    return Plotly.react(place, figure.data, figure.layout, config);
  }

  function redraw(isDark, width) {
    for (const place of drawn) draw(place, isDark, width?.(place));
  }

  const isFolded = (place) => place.closest("details:not([open])") !== null;
  const waiting = figures.filter((place) => !isFolded(place));

  // What is in sight first, the rest one by one while the page can be used already. The marks tell
  // whoever measures the page when that was.
  function drawNext() {
    const inSight = (place) => {
      const box = place.getBoundingClientRect();
      return box.bottom > 0 && box.top < innerHeight;
    };
    const seen = waiting.find(inSight);
    if (!seen && performance.getEntriesByName("in-use").length === 0) performance.mark("in-use");
    const place = seen ?? waiting[0];
    if (!place) {
      performance.mark("all-drawn");
      document.documentElement.dataset.drawn = "all";
      return;
    }
    waiting.splice(waiting.indexOf(place), 1);
    if (!drawn.has(place)) draw(place);
    setTimeout(drawNext);
  }

  setTimeout(drawNext);
  for (const details of document.querySelectorAll("details")) {
    details.addEventListener("toggle", () => {
      for (const place of details.querySelectorAll(".figure")) {
        if (details.open && !drawn.has(place)) draw(place);
      }
    });
  }
  scheme.addEventListener("change", () => redraw(scheme.matches));
  const onPaper = (place) => {
    const inColumn = place.parentElement.parentElement?.classList.contains("columns");
    const isSmall = place.classList.contains("small");
    return inColumn || isSmall || place.parentElement.classList.contains("columns") ? 330 : 680;
  };
  addEventListener("beforeprint", () => {
    for (const place of figures) if (!isFolded(place) && !drawn.has(place)) draw(place, false);
    redraw(false, onPaper);
  });
  addEventListener("afterprint", () => redraw(scheme.matches));

  // Tables

  const sortKey = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = parseFloat(text);
    return /^[-+0-9.]/.test(text) && !Number.isNaN(number) ? number : text;
  };
  const compare = (a, b) =>
    typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const falls = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falls ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row, column), row]);
        rows.sort(([a], [b]) => compare(a, b) * (falls ? -1 : 1));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  // Trials: filtering

  const store = document.getElementById("trial-data");
  if (!store) return;
  const table = document.querySelector("#trials table.sortable");
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.toLowerCase());
  const [filter, outcome, told] = ["trial-filter", "trial-outcome", "trial-count"].map((id) =>
    document.getElementById(id),
  );
  const texts = new Map();
  function textOf(row) {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  }
  const holds = {
    "<=": (a, b) => a <= b,
    ">=": (a, b) => a >= b,
    "<": (a, b) => a < b,
    ">": (a, b) => a > b,
    "=": (a, b) => a === b,
  };

  /** Whether a row has a word in it, or its column fulfils what `name>=6` asks. */
  function test(word) {
    const asked = /^([^<>=]+)(<=|>=|<|>|=)(.+)$/.exec(word);
    const column = asked ? heads.findIndex((head) => head.endsWith(asked[1])) : -1;
    if (column < 0) return (row) => textOf(row).includes(word);
    const number = Number(asked[3]);
    const wanted = Number.isNaN(number) ? asked[3] : number;
    return (row) => {
      const key = sortKey(row, column);
      const own = typeof key === "string" ? key.toLowerCase() : key;
      return typeof own === typeof wanted && holds[asked[2]](own, wanted);
    };
  }

  function sift() {
    const tests = filter.value.toLowerCase().split(/\s+/).filter(Boolean).map(test);
    let left = 0;
    for (const row of rows) {
      const is = row.cells[1].textContent.trim().split(" ").at(-1);
      const stays = (!outcome.value || is === outcome.value) && tests.every((fits) => fits(row));
      row.hidden = !stays;
      left += stays;
    }
    told.value = `${left} of ${rows.length} shown`;
  }

  filter.addEventListener("input", sift);
  outcome.addEventListener("change", sift);
  document.querySelector(".filters").hidden = false;
  sift();

  // Trials: what opens under a row

  let data = null;
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  const line = (x, y, colour, more = {}) => ({
    x, y, mode: "lines", line: { color: colour, width: 1.6 }, hovertemplate: "%{x}: %{y:.4g}<extra></extra>", ...more,
  });
  const level = (y, colour, dash) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: colour, width: 1.2, dash },
  });

  function small(description, title, traces, axis = {}, levels = []) {
    const { layout, stages, steps, colours } = data.shared;
    const place = make("div", { className: "figure small" });
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", description);
    const ends = stages.map((x) => ({
      type: "line", yref: "paper", y0: 0, y1: 1, x0: x, x1: x, line: { color: colours.median, width: 1, dash: "dot" },
    }));
    const whole = {
      ...layout,
      xaxis: { ...layout.xaxis, range: [0, steps * 1.02] },
      yaxis: { ...layout.yaxis, ...axis, title: { ...layout.yaxis.title, text: title } },
      shapes: [...ends, ...levels],
      showlegend: traces.length > 1,
    };
    makers.set(place, () => JSON.stringify({ data: traces, layout: whole }));
    return place;
  }

  /** Powers of ten where there are some between the ends, else digits in between. */
  function rateAxis(rates) {
    const known = rates.filter((rate) => rate > 0);
    const isWide = Math.max(...known) >= 10 * Math.min(...known);
    return { type: "log", exponentformat: "power", dtick: isWide ? 1 : "D2" };
  }

  function charts(number, trial) {
    const { colours, metric, median, best, alarm, clip } = data.shared;
    const log = { type: "log", dtick: "D2", tickformat: "~g", exponentformat: "none" };
    const places = [];
    if (trial.curve[0].length) {
      const own = line(...trial.curve, colours.own, { mode: "lines+markers", name: `trial ${number}` });
      const traces = [own];
      if (median) traces.unshift(line(...median, colours.median, { name: "median of complete" }));
      if (best && best[0] !== number) {
        traces.push(line(best[1], best[2], colours.best, { name: `best: trial ${best[0]}` }));
      }
      places.push(small(`Score of trial ${number} by step.`, metric, traces));
    }
    if (trial.norm) {
      const at = trial.norm.map((_, run) => Math.min((run + 1) * trial.every, trial.steps));
      places.push(small(`Training loss of trial ${number} by step.`, "training loss", [line(at, trial.loss, colours.own)]));
      const levels = [level(alarm, colours.alarm, "dash")];
      if (clip) levels.push(level(clip, colours.median, "dot"));
      const title = `gradient norm (alarm at ${alarm})`;
      places.push(small(`Gradient norm of trial ${number} by step.`, title, [line(at, trial.norm, colours.own)], log, levels));
      places.push(small(`Learning rate of trial ${number} by step.`, "learning rate", [line(at, trial.rate, colours.own)], rateAxis(trial.rate)));
      if (trial.scale) {
        places.push(small(`Loss scale of trial ${number} by step.`, "loss scale", [line(at, trial.scale, colours.scale)], log));
      }
    }
    return make("div", { className: "charts" }, ...places);
  }

  const list = (pairs) =>
    make("dl", {}, ...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value))));

  /** Parameters that the trial drew, then what became of it. */
  function facts(trial) {
    const drawn = data.shared.names.map((name, at) => [name, trial.drawn[at]]);
    const [time, attempts, device] = trial.facts;
    const rest = [["time", time], ["attempts", String(attempts)], ["trained on", device]];
    return [...drawn.filter(([, value]) => value !== null), ...rest];
  }

  function checks(trial) {
    const signs = new Map([[true, ["✓", "pass"]], [false, ["✗", "fail"]], [null, ["–", "unknown"]]]);
    return make("ul", { className: "checks" }, ...trial.checks.map(([passed, said], at) => {
      const name = data.shared.checks[at];
      const [sign, verdict] = signs.get(passed);
      const mark = make("span", { className: "sign" }, sign);
      return make("li", { className: `check ${verdict}` }, mark, ` ${name}: ${passed === null ? "" : `${verdict}, `}${said}`);
    }));
  }

  function translations(trial) {
    return data.shared.samples.map((sample, at) =>
      list([[`source, line ${sample.line}`, sample.source], ["reference", sample.reference], ["this trial", trial.texts[at] || "(empty)"]]));
  }

  function details(number) {
    const trial = data.trials[number];
    const head = (text) => make("h4", {}, text);
    const parts = [
      make("div", { className: "why" }, head("Why it ended where it did"), ...trial.why.map((said) => make("p", {}, said))),
      charts(number, trial),
      make("div", { className: "columns" },
        make("div", {}, head("Configuration"), list(facts(trial))),
        make("div", {}, head(`Health: ${trial.verdict}`), checks(trial))),
    ];
    if (trial.texts) parts.push(head("Translations"), ...translations(trial));
    return parts;
  }

  const opened = document.getElementById("trial-opened");

  /** Opens a trial below the table, or closes it. */
  function toggle(button, row) {
    const number = Number(button.dataset.trial);
    const before = document.getElementById(`trial-${number}`);
    button.setAttribute("aria-expanded", String(before === null));
    if (before) {
      for (const place of before.querySelectorAll(".figure")) {
        Plotly.purge(place);
        drawn.delete(place);
        makers.delete(place);
      }
      before.remove();
      return;
    }
    data ??= JSON.parse(store.textContent);
    const head = make("h3", { tabIndex: -1 }, `Trial ${number}: `, row.cells[1].firstChild.cloneNode(true));
    const close = make("button", { type: "button" }, "Close");
    const box = make("article", { className: "opened", id: `trial-${number}` }, make("header", {}, head, close), ...details(number));
    close.addEventListener("click", () => {
      toggle(button, row);
      button.focus();
    });
    opened.prepend(box);
    for (const place of box.querySelectorAll(".figure")) draw(place);
    head.focus({ preventScroll: true });
    box.scrollIntoView({ block: "start" });
  }

  for (const row of rows) {
    const head = row.cells[0];
    const button = make("button", { type: "button", className: "open" }, ...head.childNodes);
    button.dataset.trial = parseInt(head.textContent || button.textContent, 10);
    button.setAttribute("aria-expanded", "false");
    button.title = "Open this trial";
    head.append(button);
    button.addEventListener("click", () => toggle(button, row));
  }
})();
