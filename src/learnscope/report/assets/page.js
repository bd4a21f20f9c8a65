"use strict";
// What the reader can do: choose, move through the steps, hide series, change the theme, download.
(() => {
  const PLAY_PAUSE = 240; // milliseconds between frames
  const figures = JSON.parse(document.getElementById("figure-data").textContent);
  const charts = [];

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  class ChartView {
    constructor(node) {
      this.node = node;
      this.figure = figures[node.dataset.figure];
      this.chart = this.figure.charts[node.dataset.chart];
      this.frame = this.chart.slider ? this.chart.slider.values.length - 1 : 0;
      this.hidden = new Set();
      this.visible = false;
      this.panels = [...node.querySelectorAll(".panel")].map((panel) => ({
        node: panel, plot: panel.querySelector(".plot"), choice: Number(panel.dataset.start),
      }));
      if (this.chart.choices.length > 1) this.panels.forEach((panel) => this.addChoice(panel));
      if (this.chart.slider && this.chart.slider.values.length > 1) this.addSlider();
      this.legend();
    }

    state(panel) {
      return { choice: panel.choice, frame: this.frame, hidden: this.hidden };
    }

    addChoice(panel) {
      const options = this.chart.choices.map((choice, k) => element("option", { value: k, textContent: Look.short(choice.name, 48), selected: k === panel.choice }));
      const select = element("select", { onchange: () => { panel.choice = Number(select.value); this.legend(); this.draw(); } }, ...options);
      const place = this.panels.length > 1 ? panel.node.querySelector(".choice") : this.node.querySelector(".slider");
      place.append(element("label", {}, this.chart.choiceName, select));
    }

    addSlider() {
      const last = this.chart.slider.values.length - 1;
      this.play = element("button", { type: "button", className: "play", textContent: "Play", onclick: () => this.toggle() });
      this.range = element("input", { type: "range", min: 0, max: last, step: 1, oninput: () => { this.pause(); this.show(Number(this.range.value)); } });
      this.range.setAttribute("aria-label", this.chart.slider.name);
      this.output = element("output");
      this.node.querySelector(".slider").append(this.play, this.range, this.output);
      this.label();
    }

    label() {
      this.range.value = this.frame;
      this.output.textContent = `${this.chart.slider.name} ${Look.number(this.chart.slider.values[this.frame])}`;
      this.range.setAttribute("aria-valuetext", this.output.textContent);
    }

    show(frame) {
      this.frame = frame;
      this.label();
      return this.draw();
    }

    toggle() {
      if (this.playing) return this.pause();
      this.playing = {}; // one for each time that play was pressed, so that an earlier run cannot go on
      this.play.textContent = "Pause";
      return this.advance(this.frame === this.chart.slider.values.length - 1 ? 0 : this.frame + 1, this.playing);
    }

    pause() {
      this.playing = null;
      this.play.textContent = "Play";
    }

    async advance(frame, run) {
      await this.show(frame);
      if (this.playing !== run) return;
      if (frame === this.chart.slider.values.length - 1) this.pause();
      else setTimeout(() => { if (this.playing === run) this.advance(frame + 1, run); }, PLAY_PAUSE);
    }

    draw() {
      if (!window.Plotly) return Promise.resolve();
      this.visible = true;
      return Promise.all(this.panels.map((panel) => {
        const { data, layout } = Draw.drawing(this.chart, this.state(panel), panel.plot.clientWidth);
        panel.plot.style.height = `${layout.height}px`;
        return Plotly.react(panel.plot, data, layout, { displayModeBar: false, doubleClick: "reset" });
      }));
    }

    legend() {
      const choice = this.chart.choices[this.panels[0].choice];
      const view = choice.views[0];
      const keys = view.series ? this.seriesKeys(choice, view) : view.cells ? cellKeys(choice, view) : this.groupKeys();
      this.node.querySelector(".legend").replaceChildren(...keys);
    }

    seriesKeys(choice, view) {
      const all = [...view.series, ...(choice.background || [])];
      if (view.series.length === 1 && all.length === 1) return [];
      if (view.series.length > 12) return [rampKey(Look.alongDepth, view.series[0].name, view.series[view.series.length - 1].name)];
      const bundled = (choice.background || []).length > 2 ? view.series : all;
      return bundled.map((s) => this.key(s.name, swatch(Look.colour(s.colour), s.style)));
    }

    groupKeys() {
      const { groups } = this.chart;
      if (!groups) return [];
      if (groups.values) {
        const numbers = groups.values.filter((v) => v !== null);
        return [rampKey(Look.viridis, Look.number(Math.min(...numbers)), Look.number(Math.max(...numbers)), groups.name)];
      }
      const keys = groups.names.map((name, g) => this.key(name, dot(Look.colour(`category ${g}`), Look.symbol(g))));
      return groups.ofPoint.includes(groups.names.length) && keys.length ? [...keys, element("span", { className: "key" }, svg(dotPath("circle"), Look.theme().soft), element("span", { textContent: "other classes" }))] : keys;
    }

    key(name, picture) {
      const button = element("button", { type: "button", title: name, onclick: () => {
        if (!this.hidden.delete(name)) this.hidden.add(name);
        button.setAttribute("aria-pressed", !this.hidden.has(name));
        this.draw();
      } }, picture, element("span", { textContent: Look.short(name, 44) }));
      button.setAttribute("aria-pressed", !this.hidden.has(name));
      return button;
    }
  }

  function svg(path, colour, more = "") {
    const holder = element("span");
    holder.innerHTML = `<svg width="22" height="12" viewBox="0 0 22 12" aria-hidden="true"><path d="${path}" ${more}/></svg>`;
    holder.firstChild.firstChild.setAttribute(more ? "stroke" : "fill", colour);
    return holder.firstChild;
  }

  const DASHES = { dashed: "5 3", faint: "2 2", line: "none" };
  const swatch = (colour, style = "line") => svg("M1 6H21", colour, `fill="none" stroke-width="2.2" stroke-dasharray="${DASHES[style]}" opacity="${style === "faint" ? 0.55 : 1}"`);
  const DOTS = { circle: "M7 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0", diamond: "M11 1L16 6L11 11L6 6Z", square: "M7 2H15V10H7Z", "triangle-up": "M11 1.5L16 10H6Z" };
  const dotPath = (symbol) => DOTS[symbol];
  const dot = (colour, symbol) => svg(dotPath(symbol), colour);

  function rampKey(from, low, high, title = "") {
    const bar = element("span", { className: "ramp" });
    bar.style.background = Look.ramp(from);
    const said = (text) => element("span", { textContent: Look.short(text, 24), title: text });
    const scale = element("span", { className: "scale" }, said(low), bar, said(high));
    return element("span", { className: "key" }, ...(title ? [element("span", { textContent: title })] : []), scale);
  }

  function cellKeys(choice, view) {
    const { title, range } = choice.colours;
    const keys = [rampKey(Look.viridis, Look.number(range[0]), Look.number(range[1]), title)];
    if (view.marks.length) {
      const ring = svg(DOTS.circle, Look.theme().ink, 'fill="none" stroke-width="1.5"');
      keys.push(element("span", { className: "key" }, ring, element("span", { textContent: view.markName })));
    }
    if (view.cells.some((row) => row.includes(null))) keys.push(element("span", { className: "key" }, element("span", { className: "blank" }), element("span", { textContent: "not measured" })));
    return keys;
  }

  function redraw() {
    Look.refresh();
    for (const chart of charts) {
      chart.legend();
      if (chart.visible) chart.draw();
    }
  }

  function setTheme(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    nameTheme();
    redraw();
  }

  const button = document.getElementById("theme");
  const nameTheme = () => { button.textContent = Look.isDark() ? "Light page" : "Dark page"; };
  button.onclick = () => setTheme(!Look.isDark());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { nameTheme(); redraw(); });

  Look.refresh();
  nameTheme();
  charts.push(...[...document.querySelectorAll(".chart")].map((node) => new ChartView(node)));

  // Plotly takes its time to load: the findings are on the screen before it starts. Charts are then drawn when they
  // come near the window, and the others while nothing else is to be done.
  function start() {
    document.body.append(element("script", { textContent: document.getElementById("plotly").textContent }));
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const chart = charts.find((c) => c.node === entry.target);
        if (entry.isIntersecting && !chart.visible) chart.draw();
      }
    }, { rootMargin: "300px" });
    charts.forEach((chart) => near.observe(chart.node));
    idle(rest);
    addEventListener("beforeprint", () => charts.filter((c) => !c.visible).forEach((c) => c.draw()));
  }

  const idle = window.requestIdleCallback || ((task) => setTimeout(task, 50));
  const rest = () => {
    const next = charts.find((chart) => !chart.visible);
    if (next) next.draw().then(() => idle(rest));
    else document.documentElement.dataset.drawn = "all";
  };
  addEventListener("load", () => requestAnimationFrame(() => setTimeout(start)));

  let width = innerWidth;
  let waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 120);
  });

  for (const node of document.querySelectorAll("[data-csv]")) {
    const figure = figures[node.dataset.csv];
    node.onclick = () => Download.save(`${figure.name}.csv`, Download.csv(figure), "text/csv");
  }
  for (const node of document.querySelectorAll("[data-svg]")) {
    const mine = charts.filter((chart) => chart.figure === figures[node.dataset.svg]);
    const panels = mine.flatMap((chart) => chart.panels.map((panel) => [chart, panel]));
    node.onclick = async () => {
      for (const [k, [chart, panel]] of panels.entries()) {
        const suffix = panels.length > 1 ? `-${k + 1}` : "";
        await Download.svg(`${chart.figure.name}${suffix}.svg`, Draw.drawing(chart.chart, chart.state(panel), panel.plot.clientWidth, true));
      }
    };
  }
})();
