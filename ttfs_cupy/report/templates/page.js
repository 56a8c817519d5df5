"use strict";
(() => {
  const root = document.documentElement;

  // The switch between light and dark
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const button = document.getElementById("theme");
  const tell = () => {
    button.setAttribute("aria-pressed", String(isDark()));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("ttfs-report-theme", root.dataset.theme); } catch (error) { /* for this time only */ }
    tell();
  });
  dark.addEventListener("change", tell);
  tell();

  const holder = document.getElementById("charts-data");
  if (!holder || !window.vegaEmbed) return;
  const page = JSON.parse(holder.textContent);

  // The values at the pointer: texts, never HTML
  const tip = document.getElementById("tip");
  const showTip = (handler, event, item, value) => {
    if (value === null || value === undefined || value === "") {
      tip.hidden = true;
      return;
    }
    const rows = typeof value === "object" ? Object.entries(value) : [["", String(value)]];
    // a line that has no value there is told as "NaN", "NaN%" or undefined
    const isKnown = ([, text]) => text !== "" && !/^(undefined|NaN%?)$/.test(text);
    tip.replaceChildren(...rows.filter(isKnown).map(([name, text]) => {
      const row = document.createElement("div");
      const label = document.createElement("span"), number = document.createElement("b");
      label.textContent = name;
      number.textContent = text;
      row.append(label, number);
      return row;
    }));
    tip.hidden = false;
    const box = tip.getBoundingClientRect(), gap = 14;
    const left = event.clientX + gap + box.width > innerWidth ? event.clientX - gap - box.width : event.clientX + gap;
    const top = event.clientY + gap + box.height > innerHeight ? event.clientY - gap - box.height : event.clientY + gap;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  };
  addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  const views = new Map();
  const objects = ({ columns, rows }) =>
    rows.map((row) => Object.fromEntries(columns.map((column, place) => [column, row[place]])));

  // What a chart shows is put into its specification; expressions are interpreted, so that nothing is evaluated
  const draw = (chart) => {
    const place = document.getElementById(chart.id);
    if (!place || views.has(chart.id)) return views.get(chart.id);
    const specification = structuredClone(page.specs[chart.spec]);
    for (const source of specification.data) {
      if (source.name in chart.data) source.values = objects(chart.data[source.name]);
    }
    specification.description = chart.description;
    const drawn = vegaEmbed(place, specification, {
      mode: "vega", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: showTip, logLevel: 1,
    }).then((result) => {
      place.classList.add("drawn");
      if (specification.signals && specification.signals.some((signal) => signal.name === "pointer_x")) {
        place.addEventListener("pointerleave", () => result.view.signal("pointer_x", -1).runAsync());
      }
      return result.view;
    });
    views.set(chart.id, drawn);
    return drawn;
  };

  // A chart is drawn when it comes near the window; while there is nothing else to do, the others are
  const charts = new Map(page.charts.map((chart) => [chart.id, chart]));
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        near.unobserve(entry.target);
        draw(charts.get(entry.target.id));
      }
    }
  }, { rootMargin: "300px" });
  const later = window.requestIdleCallback || ((work) => setTimeout(work, 50));
  const rest = (waiting) => {
    if (waiting.length === 0) {
      root.dataset.drawn = "all";
      return;
    }
    Promise.resolve(draw(waiting[0])).then(() => later(() => rest(waiting.slice(1))));
  };
  const begin = () => {
    for (const chart of page.charts) near.observe(document.getElementById(chart.id));
    later(() => rest(page.charts));
  };
  requestAnimationFrame(() => setTimeout(begin, 0));
  addEventListener("beforeprint", () => page.charts.forEach(draw));

  // Series that are switched off
  for (const box of document.querySelectorAll("input[data-chart]")) {
    box.addEventListener("change", () => {
      const chart = charts.get(box.dataset.chart);
      const boxes = document.querySelectorAll(`input[data-chart="${CSS.escape(chart.id)}"]`);
      const hidden = [...boxes].filter((one) => !one.checked).map((one) => one.dataset.series);
      draw(chart).then((view) => view.signal("hide", hidden).runAsync());
    });
  }

  const all = document.getElementById("all-tables");
  if (all) {
    all.hidden = false;
    all.addEventListener("click", () => {
      const open = all.getAttribute("aria-pressed") !== "true";
      all.setAttribute("aria-pressed", String(open));
      for (const one of document.querySelectorAll("details.data")) one.open = open;
    });
  }
})();
