"use strict";
(() => {
  const dark = JSON.parse(document.getElementById("dark-colours").textContent);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const isTouch = matchMedia("(pointer: coarse)").matches;
  // Named one by one: plotly's own set has a button that sends the figure to a server.
  const modeBarButtons = [["toImage", "resetScale2d"]];
  const displayModeBar = isTouch ? false : "hover";
  const config = { responsive: true, displaylogo: false, displayModeBar, modeBarButtons };
  const figures = [...document.querySelectorAll(".figure")];

  // Figures are stored in light colours; on a dark page each colour gives way to its partner.
  const swap = (key, value) =>
    typeof value === "string" && Object.hasOwn(dark, value) ? dark[value] : value;

  function draw(isDark, width) {
    for (const place of figures) {
      const text = place.nextElementSibling.textContent;
      const figure = JSON.parse(text, isDark ? swap : undefined);
      // A finger that scrolls the page must not zoom the figure under it.
      if (isTouch) figure.layout.dragmode = false;
      if (width) Object.assign(figure.layout, { width, autosize: false });
      Plotly.react(place, figure.data, figure.layout, config);
    }
  }

  draw(scheme.matches);
  scheme.addEventListener("change", () => draw(scheme.matches));
  addEventListener("beforeprint", () => draw(false, 680));
  addEventListener("afterprint", () => draw(scheme.matches));

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
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => compare(sortKey(a, column), sortKey(b, column)) * (falls ? -1 : 1));
        table.tBodies[0].append(...rows);
      });
    });
  }
})();
