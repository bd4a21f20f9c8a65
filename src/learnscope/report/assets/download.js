"use strict";
// The data behind a figure as CSV, one row a value, made from what the page carries.
const Download = (() => {
  function* chartRows(chart, panel) {
    const several = chart.choices.length > 1;
    for (const choice of chart.choices) {
      for (const [frame, view] of choice.views.entries()) {
        const head = { ...(panel ? { panel } : {}), ...(several ? { [chart.choiceName.toLowerCase()]: choice.name } : {}) };
        if (chart.slider) head[chart.slider.name] = chart.slider.values[frame];
        if (view.series) yield* lineRows(chart, choice, view, head, several);
        else if (view.cells) yield* cellRows(chart, choice, view, head);
        else yield* pointRows(chart, choice, view, head);
      }
    }
  }

  function* lineRows(chart, choice, view, head, several) {
    for (const s of view.series) {
      for (const [k, value] of s.y.entries()) {
        if (value === null) continue;
        const row = { ...head, series: s.name, [chart.x.name]: chart.x.values[k], [several ? "value" : choice.y.name]: value };
        if (s.low) Object.assign(row, { low: s.low[k], high: s.high[k] });
        if (s.converged) row.converged = s.converged[k];
        yield row;
      }
    }
  }

  function* cellRows(chart, choice, view, head) {
    for (const [r, row] of view.cells.entries()) {
      for (const [k, value] of row.entries()) {
        yield { ...head, [choice.y.name]: choice.y.values[r], [chart.x.name]: chart.x.values[k], [choice.colours.title]: value };
      }
    }
  }

  function* pointRows(chart, choice, view, head) {
    const { x, y } = Draw.places(view);
    for (const k of x.keys()) {
      const point = chart.groups ? chart.groups.labels[k] : k;
      const round = (v) => (v === null ? null : Number(v.toPrecision(5)));
      yield { ...head, point, [chart.x.name]: round(x[k]), [choice.y.name]: round(y[k]) };
    }
  }

  function* tableRows(table) {
    const names = Object.keys(table);
    for (const k of table[names[0]].keys()) yield Object.fromEntries(names.map((name) => [name, table[name][k]]));
  }

  function csv(figure) {
    const rows = figure.charts.flatMap((chart) => [...chartRows(chart, figure.charts.length > 1 ? chart.title : "")]);
    if (figure.table) rows.push(...tableRows(figure.table));
    const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const quoted = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    };
    return [names, ...rows.map((row) => names.map((name) => row[name]))].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  }

  function save(name, content, type) {
    const address = URL.createObjectURL(new Blob([content], { type }));
    const link = Object.assign(document.createElement("a"), { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  async function svg(name, { data, layout }) {
    const address = await Plotly.toImage({ data, layout }, { format: "svg", width: layout.width, height: layout.height });
    save(name, decodeURIComponent(address.slice(address.indexOf(",") + 1)), "image/svg+xml");
  }

  return { csv, save, svg };
})();
