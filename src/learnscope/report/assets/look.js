"use strict";
// Colours, numbers, names and the places of steps: everything that drawing needs and that no chart owns.
const Look = (() => {
  const VIRIDIS = ["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
  const SYMBOLS = ["circle", "diamond", "square", "triangle-up"];
  const NAMES = ["paper", "wash", "ink", "soft", "rule", "faint", ...Array.from({ length: 8 }, (_, k) => `c${k}`)];
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;
  let theme = {};

  function refresh() {
    for (const name of NAMES) {
      probe.style.color = `var(--${name})`;
      theme[name] = getComputedStyle(probe).color;
    }
  }

  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };

  const channels = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));

  function viridis(t) {
    const place = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1);
    const k = Math.min(Math.floor(place), VIRIDIS.length - 2);
    const [a, b] = [channels(VIRIDIS[k]), channels(VIRIDIS[k + 1])];
    return `rgb(${a.map((v, i) => Math.round(v + (place - k) * (b[i] - v))).join(", ")})`;
  }

  // the ends of viridis that would vanish on the page are left out
  const alongDepth = (t) => viridis(isDark() ? 0.25 + 0.75 * t : 0.88 * t);

  function colour(token) {
    const [kind, value] = token.split(" ");
    return kind === "category" ? theme[`c${value % 8}`] : alongDepth(Number(value));
  }

  const transparent = (rgb, share) => rgb.replace(/rgba?\(([^,]+),([^,]+),([^,)]+).*/, `rgba($1,$2,$3,${share})`);
  const symbol = (k) => SYMBOLS[Math.floor(k / 8) % SYMBOLS.length];
  const scale = () => VIRIDIS.map((hex, k) => [k / (VIRIDIS.length - 1), hex]);
  const ramp = (from) => `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(from).join(", ")})`;

  // Plotly reads a few tags, and formulas between dollars, in text: names must not be taken for them
  const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", $: "&#36;" };
  const plain = (text) => String(text).replace(/[&<>$]/g, (character) => ENTITIES[character]);
  const integer = (value) => value.toLocaleString("en");

  function number(value) {
    if (value === null || value === undefined) return "–";
    if (Number.isInteger(value)) return integer(value);
    const size = Math.abs(value);
    return size >= 0.001 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(2);
  }

  // names of layers differ mostly at their ends: cut the middle
  function short(name, most) {
    if (name.length <= most) return name;
    const tail = Math.ceil((most - 1) * 0.6);
    return `${name.slice(0, most - 1 - tail)}…${name.slice(-tail)}`;
  }

  // Steps on a logarithmic axis, step 0 at a place of its own to the left of the first positive one.
  function stepPlaces(steps) {
    const positive = steps.filter((s) => s > 0);
    const low = positive.length ? Math.log10(positive[0]) : 0;
    const high = positive.length ? Math.log10(positive[positive.length - 1]) : 0;
    const zero = low - Math.max(0.3, 0.1 * (high - low));
    const place = (step) => (step > 0 ? Math.log10(step) : zero);
    const first = steps.some((s) => s <= 0) ? zero : low;
    return { place, ticks: stepTicks(first === zero, low, high, zero), range: [first, Math.max(high, first + 0.3)] };
  }

  function stepTicks(hasZero, low, high, zero) {
    const ticks = hasZero ? [[zero, "0"]] : [];
    const factors = high - low > 2 ? [1] : high - low > 0.8 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
    for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
      for (const factor of factors) {
        const place = power + Math.log10(factor);
        if (place >= low - 1e-9 && place <= high + 1e-9) ticks.push([place, integer(factor * 10 ** power)]);
      }
    }
    const minor = [];
    for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
      for (let factor = 2; factor < 10; factor++) minor.push(power + Math.log10(factor));
    }
    return { tickvals: ticks.map((t) => t[0]), ticktext: ticks.map((t) => t[1]), minor: minor.filter((p) => p > low && p < high) };
  }

  // Every k-th of n places, so that labels keep a distance of `least` pixels.
  function thinned(n, pixels, least) {
    const every = Math.max(1, Math.ceil((n * least) / Math.max(pixels, 1)));
    return Array.from({ length: n }, (_, k) => k).filter((k) => k % every === 0);
  }

  return {
    refresh, isDark, viridis, alongDepth, colour, transparent, symbol, scale, ramp, plain, integer, number, short,
    stepPlaces, thinned, theme: () => theme, font: getComputedStyle(probe).getPropertyValue("--sans").trim(),
  };
})();
