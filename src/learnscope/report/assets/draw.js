"use strict";
// From a chart's data and what the reader chose to the traces and the layout that Plotly draws.
const Draw = (() => {
  const decoded = new WeakMap();

  // 16-bit integers in base64, coordinate after coordinate
  function places(view) {
    if (!decoded.has(view)) {
      const bytes = Uint8Array.from(atob(view.places.base64), (c) => c.charCodeAt(0));
      const integers = new DataView(bytes.buffer);
      const values = Array.from({ length: bytes.length / 2 }, (_, k) => integers.getInt16(2 * k, true));
      const numbers = values.map((v) => (v === -32768 ? null : v * view.places.scale));
      const half = numbers.length / 2;
      decoded.set(view, { x: numbers.slice(0, half), y: numbers.slice(half) });
    }
    return decoded.get(view);
  }

  function horizontal(chart) {
    const { scale, values } = chart.x;
    if (scale === "step") {
      const steps = Look.stepPlaces(values);
      return { at: values.map(steps.place), say: (k) => `step ${Look.integer(values[k])}`, ...steps };
    }
    const place = (value) => value;
    if (scale === "names") return { at: values.map((_, k) => k), say: (k) => values[k], place };
    return { at: values || [], say: (k) => `${chart.x.name} ${Look.number(values[k])}`, place };
  }

  function lines(chart, choice, view, hidden) {
    const x = horizontal(chart);
    const shown = [...(choice.background || []), ...view.series].filter((s) => !hidden.has(s.name));
    const traces = [];
    for (const series of shown) {
      if (series.low && chart.x.scale !== "names") traces.push(...bands(series, x.at));
    }
    for (const series of shown) traces.push(line(chart, series, x, view.series.length));
    return traces;
  }

  // One closed outline for each stretch without missing values.
  function bands(series, at) {
    const known = at.map((_, k) => series.low[k] !== null && series.high[k] !== null);
    const outlines = [];
    for (let start = 0; start < at.length; start++) {
      if (!known[start]) continue;
      let stop = start;
      while (stop + 1 < at.length && known[stop + 1]) stop++;
      const range = Array.from({ length: stop - start + 1 }, (_, k) => start + k);
      const back = [...range].reverse();
      outlines.push({
        type: "scatter", mode: "lines", fill: "toself", hoverinfo: "skip", showlegend: false, line: { width: 0 },
        x: [...range, ...back].map((k) => at[k]),
        y: [...range.map((k) => series.high[k]), ...back.map((k) => series.low[k])],
        fillcolor: Look.transparent(Look.colour(series.colour), 0.16),
      });
      start = stop;
    }
    return outlines;
  }

  function line(chart, series, x, count) {
    const faint = series.style === "faint";
    const few = series.y.filter((v) => v !== null).length <= (chart.x.scale === "log" ? 20 : 70) && count <= 7;
    const colour = Look.colour(series.colour);
    const { paper } = Look.theme();
    const sure = (k) => !series.converged || series.converged[k];
    return {
      type: "scatter", x: x.at, y: series.y, name: Look.plain(series.name), opacity: faint ? 0.4 : 1,
      mode: few && !faint && series.style !== "dashed" ? "lines+markers" : series.converged ? "lines+markers" : "lines",
      line: { color: colour, width: faint ? 1.5 : count > 7 ? 1.4 : 2, dash: series.style === "dashed" ? "6px,4px" : faint ? "2px,3px" : "solid" },
      marker: { color: series.y.map((_, k) => (sure(k) ? colour : paper)), size: few ? 6 : 4.5, line: { color: colour, width: series.converged ? 1.5 : 0 } },
      text: series.y.map((v, k) => `${Look.plain(series.name)}<br>${Look.plain(x.say(k))}: ${said(series, k)}`),
      hoverinfo: "text", connectgaps: false,
      ...(series.low && chart.x.scale === "names" && !faint ? { error_y: bars(series, colour) } : {}),
    };
  }

  function said(series, k) {
    const range = series.low ? ` (${Look.number(series.low[k])} to ${Look.number(series.high[k])})` : "";
    const doubt = series.converged && !series.converged[k] ? ", not converged" : "";
    return Look.number(series.y[k]) + range + doubt;
  }

  const bars = (series, color) => ({
    type: "data", symmetric: false, color, thickness: 1.2, width: 3,
    array: series.y.map((v, k) => (v === null || series.high[k] === null ? 0 : series.high[k] - v)),
    arrayminus: series.y.map((v, k) => (v === null || series.low[k] === null ? 0 : v - series.low[k])),
  });

  function cells(chart, choice, view, exported) {
    const row = (chart.height - 130) / choice.y.values.length;
    const x = horizontal(chart);
    const { range, logarithmic, title } = choice.colours;
    const shown = (v) => (v === null || (logarithmic && v <= 0) ? null : logarithmic ? Math.log10(v) : v);
    const heat = {
      type: "heatmap", x: chart.x.scale === "log" ? edges(x.at.map(Math.log10)).map((v) => 10 ** v) : edges(x.at), z: view.cells.map((row) => row.map(shown)), colorscale: Look.scale(),
      zmin: shown(range[0]), zmax: shown(range[1]), showscale: Boolean(exported), hoverinfo: "text", xgap: 0, ygap: row > 9 ? 1 : 0,
      colorbar: { title: { text: Look.plain(logarithmic ? `log10 of ${title}` : title) }, thickness: 10 },
      text: view.cells.map((row, r) => row.map((v, k) => `${Look.plain(choice.y.values[r])}<br>${x.say(k)}: ${Look.number(v)}`)),
    };
    const marks = {
      type: "scatter", mode: "markers", x: view.marks.map((m) => x.place(m[0])), y: view.marks.map((m) => m[1]),
      text: view.marks.map((m) => `${Look.plain(choice.y.values[m[1]])}<br>${view.markName} at ${chart.x.scale === "names" ? chart.x.values[m[0]] : `${chart.x.name} ${Look.number(m[0])}`}`),
      marker: { size: Math.min(8, 0.7 * row), color: "#ffffff", line: { color: "#1c2026", width: row > 10 ? 1.5 : 1 } }, hoverinfo: "text", showlegend: false,
    };
    return view.marks.length ? [heat, marks] : [heat];
  }

  // Borders halfway between the places, so that each column lies around its step.
  function edges(at) {
    if (at.length < 2) return [at[0] - 0.15, at[0] + 0.15];
    const middle = at.slice(1).map((v, k) => (v + at[k]) / 2);
    const last = at.length - 1;
    return [2 * at[0] - middle[0], ...middle, 2 * at[last] - middle[last - 1]];
  }

  function points(chart, view, hidden) {
    const { x, y } = places(view);
    const groups = chart.groups || { names: [], ofPoint: x.map(() => 0), labels: x.map((_, k) => `example ${k}`) };
    const others = groups.names.length;
    const order = [others, ...groups.names.keys()];
    return order.filter((g) => g === others || !hidden.has(groups.names[g])).map((g) => {
      const mine = x.map((_, k) => k).filter((k) => groups.ofPoint[k] === g);
      const grey = g === others;
      const colour = grey ? Look.theme().soft : Look.colour(`category ${g}`);
      const values = groups.values && mine.map((k) => groups.values[k]);
      return {
        type: "scatter", mode: "markers", name: Look.plain(grey ? "others" : groups.names[g]),
        x: mine.map((k) => x[k]), y: mine.map((k) => y[k]), text: mine.map((k) => Look.plain(groups.labels[k])), hoverinfo: "text",
        marker: {
          size: 6.5, symbol: grey ? "circle" : Look.symbol(g), opacity: grey && !values ? 0.3 : 0.85,
          line: { width: 0.5, color: Look.theme().paper },
          ...(values ? { color: values, colorscale: Look.scale() } : { color: colour }),
        },
      };
    }).filter((trace) => trace.x.length);
  }

  function axis(title, more) {
    const { ink, soft, rule, faint } = Look.theme();
    return {
      title: { text: Look.plain(title), standoff: 10, font: { size: 13, color: soft } }, color: ink, tickfont: { size: 12 }, automargin: true,
      showline: true, linecolor: rule, ticks: "outside", ticklen: 4, tickcolor: rule, zeroline: false, showgrid: false, gridcolor: faint, ...more,
    };
  }

  function horizontalAxis(chart, view, width) {
    if (view.places) return axis(view.titles[0], extent(view, chart.x.range));
    const { scale, values, title } = chart.x;
    if (scale === "log") return axis(title, { type: "log", ...decades(values), range: padded(values.filter((v) => v > 0).map(Math.log10)) });
    if (scale === "linear") return axis(title, { range: view.cells ? outer(edges(values)) : padded(values), nticks: Math.max(3, Math.floor(width / 90)) });
    if (scale === "names") {
      const kept = Look.thinned(values.length, width - 70, 24);
      const level = values.length * 7 * Math.max(...values.map((v) => Math.min(v.length, 14))) < width - 70;
      return axis(title, {
        tickvals: kept, ticktext: kept.map((k) => Look.plain(Look.short(values[k], width < 560 ? 15 : 20))), tickangle: level ? 0 : -50, ticklabeloverflow: "allow", range: [-0.5, values.length - 0.5],
      });
    }
    const steps = Look.stepPlaces(values);
    const border = view.cells ? edges(values.map(steps.place)) : [steps.range[0] - 0.04 * (steps.range[1] - steps.range[0]), steps.range[1] + 0.04 * (steps.range[1] - steps.range[0])];
    const dense = steps.ticks.tickvals.length * 42 > width - 60;
    const kept = steps.ticks.tickvals.map((_, k) => k).filter((k) => !dense || k < 1 || k % 2 === 1);
    return axis(width < 560 ? title.replace(/;[^)]*/, "") : title, {
      minor: { tickvals: steps.ticks.minor, ticks: "outside", ticklen: 2, tickcolor: Look.theme().rule },
      tickvals: kept.map((k) => steps.ticks.tickvals[k]), ticktext: kept.map((k) => steps.ticks.ticktext[k]), tickangle: 0, range: [border[0], border[border.length - 1]],
    });
  }

  function verticalAxis(choice, view, width, height) {
    if (view.places) return axis(view.titles[1], { ...extent(view, choice.y.range), scaleanchor: "x", showgrid: false });
    const { scale, values, title, range } = choice.y;
    if (scale === "names") {
      const kept = Look.thinned(values.length, height - 80, 13);
      const most = width < 560 ? 16 : 28;
      return axis(title, {
        tickvals: kept, ticktext: kept.map((k) => Look.plain(Look.short(values[k], most)) + " "), range: [-0.5, values.length - 0.5], ticks: "",
        tickfont: { size: values.length > 24 ? 10.5 : 12 }, showline: false,
      });
    }
    const shown = range && (scale === "log" ? range.map(Math.log10) : range);
    const exponents = scale === "log" ? { exponentformat: "power", ...(range ? decades(range) : spaced(view)) } : { rangemode: "tozero" };
    return axis(title, { type: scale === "log" ? "log" : "linear", ...exponents, showgrid: true, ...(shown ? { range: shown } : {}) });
  }

  const outer = (borders) => [borders[0], borders[borders.length - 1]];

  // From the least value to the greatest, with a margin of a fiftieth on each side.
  function padded(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.02 * (high - low) || 0.1;
    return [low - margin, high + margin];
  }

  // Ticks at 1, 2 and 5 times powers of ten, or, where the lines span more than three, at powers only, ten at most.
  function spaced(view) {
    const values = (view.series || []).flatMap((series) => [...series.y, ...(series.low || []), ...(series.high || [])]).filter((v) => v > 0);
    const span = values.length ? Math.log10(values.reduce((a, b) => Math.max(a, b)) / values.reduce((a, b) => Math.min(a, b))) : 0;
    return { dtick: span > 3 ? Math.ceil(span / 10) : "D2" };
  }

  // Ticks at powers of ten, or at 1, 2 and 5 times those where they are few.
  function decades(values) {
    const positive = values.filter((v) => v > 0);
    const [low, high] = [Math.log10(Math.min(...positive)), Math.log10(Math.max(...positive))];
    const factors = high - low > 2.2 ? [1] : [1, 2, 5];
    const tickvals = [];
    for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
      for (const factor of factors) {
        const place = power + Math.log10(factor);
        if (place >= low - 1e-9 && place <= high + 1e-9) tickvals.push(Number((factor * 10 ** power).toPrecision(1)));
      }
    }
    return { tickvals, ticktext: tickvals.map((v) => (v >= 1e-3 && v < 1e6 ? v.toLocaleString("en", { maximumFractionDigits: 6 }) : v.toExponential())) };
  }

  // As far as is asked for, or around the origin to the farthest point.
  function extent(view, shown) {
    const { x, y } = places(view);
    const reach = 1.08 * x.concat(y).reduce((most, v) => Math.max(most, Math.abs(v || 0)), 1e-9);
    return { range: shown || [-reach, reach], zeroline: true, zerolinecolor: Look.theme().faint, nticks: 7 };
  }

  // What Plotly draws: {data, layout}. `state` holds the index of the choice, the frame, and the names that are hidden.
  function drawing(chart, state, width, exported) {
    const choice = chart.choices[state.choice];
    const view = choice.views[chart.slider ? state.frame : 0];
    const { ink, paper, rule, faint } = Look.theme();
    const data = view.series ? lines(chart, choice, view, state.hidden) : view.cells ? cells(chart, choice, view, exported) : points(chart, view, state.hidden);
    const height = view.places ? Math.min(chart.height, width + 20) : chart.height; // nearly square where it is narrow
    const layout = {
      width, height, margin: { l: 58, r: 14, t: 8, b: 48 }, showlegend: Boolean(exported) && !view.cells, font: { family: Look.font, size: 12, color: ink },
      paper_bgcolor: exported ? paper : "rgba(0,0,0,0)", plot_bgcolor: view.cells ? faint : "rgba(0,0,0,0)", hovermode: "closest", hoverdistance: 30,
      hoverlabel: { bgcolor: paper, bordercolor: rule, font: { color: ink, size: 12 }, align: "left", namelength: -1 },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: horizontalAxis(chart, view, width), yaxis: verticalAxis(choice, view, width, height),
    };
    return { data, layout };
  }

  return { drawing, places };
})();
