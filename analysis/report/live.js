// Draws the study's numbers (#study) with Plotly (#library) in place of the pictures. Nothing is fetched.
"use strict";
(async () => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const packed = Uint8Array.from(atob(document.getElementById("library").textContent.trim()), c => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(unpacked).text();
  document.head.append(library);

  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];   // Okabe and Ito 2008
  const narrow = () => window.innerWidth < 640;
  const escaped = text => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const brief = text => { const most = narrow() ? 16 : 48; return escaped(text.length > most ? text.slice(0, most - 1) + "…" : text); };
  const colour = i => COLOURS[i % COLOURS.length];
  const pale = (i, alpha) => colour(i) + Math.round(alpha * 255).toString(16).padStart(2, "0");
  const fitted = study.groups.filter(g => g.laws.length || g.minima);
  const state = { law: 0, group: study.groups.indexOf(fitted[0]) };

  function raised(x, digits = 3) {   // 0.05, 2.3, 12,300; 1.2×10⁹ beyond
    if (x === null || x === undefined || !isFinite(x)) return "-";
    if (x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5)) {
      const [mantissa, exponent] = x.toExponential(digits - 1).split("e");
      return `${mantissa}×10<sup>${Number(exponent)}</sup>`;
    }
    return Number(x.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
  }

  function interval(low, high) { return `[${raised(low)}, ${raised(high)}]`; }

  function lossWithInterval(x, low, high) {   // as many digits as the interval can carry
    const width = high - low, digits = width > 0 ? Math.min(Math.max(Math.ceil(-Math.log10(width)) + 1, 0), 6) : 4;
    return [x.toFixed(digits), `[${low.toFixed(digits)}, ${high.toFixed(digits)}]`];
  }

  const lawOf = group => group.laws[Math.min(state.law, group.laws.length - 1)];

  const layout = more => ({
    font: { family: "system-ui, sans-serif", size: narrow() ? 11 : 13, color: "#222" }, hovermode: "closest", dragmode: narrow() ? false : "zoom",
    margin: { l: narrow() ? 52 : 64, r: 10, t: 10, b: 48 }, height: narrow() ? 380 : 440, plot_bgcolor: "#fff", paper_bgcolor: "#fff",
    legend: { orientation: "h", y: -0.18, yanchor: "top" }, hoverlabel: { align: "left" }, ...more });
  const log = (title, more) => ({ type: "log", title: { text: title }, gridcolor: "#eee", exponentformat: "power", dtick: "D2", zeroline: false, ...more });
  const span = (values, below, above) => ({ range: [Math.log10(Math.min(...values) / below), Math.log10(Math.max(...values) * above)] });
  const SETTINGS = { responsive: true, displaylogo: false, scrollZoom: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };

  function band(best, letter, i, name) {
    const fill = { legendgroup: name, showlegend: false, hoverinfo: "skip", mode: "lines", line: { width: 0 }, type: "scatter" };
    return [{ ...fill, x: best.C, y: best[letter + "_low"] }, { ...fill, x: best.C, y: best[letter + "_high"], fill: "tonexty", fillcolor: pale(i, 0.18) }];
  }

  function runs(group, i, y, title) {
    const law = lawOf(group), r = group.runs;
    const text = r.N.map((N, j) => `<b>${escaped(group.name)}</b><br>N ${raised(N)}, D ${raised(r.D[j])}, C ${raised(r.C[j])}, seed ${r.seed[j]}`
      + `<br>loss ${raised(r.L[j], 4)}` + (law ? `<br>residual ${(100 * law.residual[j]).toFixed(1)}% (${law.name})` : ""));
    return { type: "scatter", mode: "markers", x: r.C, y, text, hovertemplate: "%{text}<extra></extra>", name: title, legendgroup: group.name,
             marker: { size: 6, color: colour(i), opacity: 0.55 } };
  }

  const between = (best, low, high) => {   // the places of a line from low to high compute
    const keep = best.C.map((c, j) => c >= low && c <= high ? j : -1).filter(j => j >= 0);
    return Object.fromEntries(Object.entries(best).map(([k, v]) => [k, keep.map(j => v[j])]));
  };
  const near = (group, best) => between(best, group.reach[0] * 0.99, group.reach[1] * 1.01);

  function shade(t) {   // cividis, dark to bright
    const ends = [[0, 34, 78], [124, 123, 120], [225, 204, 60]], part = t < 0.5 ? 0 : 1, at = 2 * t - part;
    return "rgb(" + ends[part].map((v, k) => Math.round(v + at * (ends[part + 1][k] - v))) + ")";
  }

  const FIGURES = {
    loss() {
      const traces = study.groups.flatMap((g, i) => {
        const points = runs(g, i, g.runs.L, `${brief(g.name)}: runs`), law = lawOf(g);
        if (!law) return [points];
        const best = near(g, law.best), inside = between(best, ...law.inside);
        const line = (places, more) => ({ type: "scatter", mode: "lines", x: places.C, y: places.L, legendgroup: g.name,
          hovertemplate: "C %{x:.3g}, L* %{y:.4g}<extra></extra>", ...more });
        return [points, ...band(best, "L", i, g.name), line(best, { showlegend: false, line: { color: colour(i), width: 2, dash: "dot" } }),
          line(inside, { name: "lowest loss that compute buys", line: { color: colour(i), width: 2.5 } })];
      });
      return [traces, layout({ xaxis: log("training compute C (FLOPs)"), yaxis: log("validation loss L", span(study.groups.flatMap(g => g.runs.L), 1.25, 1.15)) })];
    },
    optimum() {
      const side = narrow() ? { grid: { rows: 2, columns: 1, pattern: "independent" }, height: 760 } : { grid: { rows: 1, columns: 2, pattern: "independent" }, height: 480 };
      const traces = study.groups.flatMap((g, i) => [["N", ""], ["D", "2"]].flatMap(([letter, axis]) => {
        const on = { xaxis: "x" + axis, yaxis: "y" + axis, type: "scatter" }, law = lawOf(g), made = [];
        const entry = (approach, of) => ({ legendgroup: `${g.name} ${approach}`, showlegend: letter === "N", name: `${brief(g.name)}, ${approach}: a = ${of.a}` + (narrow() ? "" : `, b = ${of.b}`) });
        if (law) {
          const best = near(g, law.best), named = entry("approach 3", law);
          made.push(...band(best, letter, i, named.legendgroup).map(t => ({ ...t, ...on })), { ...on, ...named, mode: "lines", x: best.C, y: best[letter],
            line: { color: colour(i), width: 2.5 }, hovertemplate: `C %{x:.3g}, ${letter}* %{y:.3g}<extra>approach 3</extra>` });
        }
        for (const [approach, found, symbol] of [["approach 2", g.minima, "circle-open"], ["approach 1", g.takeovers, "square-open"]])
          if (found) made.push({ ...on, ...entry(approach, found), mode: "markers", x: found.C, y: found[letter],
            marker: { color: colour(i), symbol, size: 8, line: { width: 1.6 } }, hovertemplate: `C %{x:.3g}, ${letter}* %{y:.3g}<extra>${approach}</extra>` });
        return made;
      }));
      return [traces, layout({ ...side, legend: { orientation: "h", y: narrow() ? -0.1 : -0.3, yanchor: "top" }, xaxis: log("compute C (FLOPs)"), yaxis: log("best size N*"), xaxis2: log("compute C (FLOPs)"), yaxis2: log("best data D*") })];
    },
    isoflop() {
      const traces = study.groups.flatMap((g, i) => !g.minima ? [] : [
        ...g.minima.curves.flatMap((curve, k) => {
          const on = { type: "scatter", legendgroup: g.name, showlegend: false, visible: i === state.group || "legendonly" };
          const ink = shade(k / Math.max(g.minima.curves.length - 1, 1));
          return [{ ...on, mode: "markers", x: curve.N, y: curve.L, marker: { color: ink, opacity: 0.6, size: 5 },
                    hovertemplate: `C ${raised(curve.C)}: N %{x:.3g}, loss %{y:.4g}<extra></extra>` },
                  { ...on, mode: "lines", x: curve.line_N, y: curve.line_L, line: { color: ink, width: 1.6 }, hoverinfo: "skip" }];
        }),
        { type: "scatter", mode: "lines+markers", x: g.minima.N, y: g.minima.L, legendgroup: g.name, name: `${brief(g.name)}: best sizes, a = ${g.minima.a}`,
          visible: i === state.group || "legendonly", marker: { symbol: "star", size: 11, color: colour(i), line: { color: "#fff", width: 1 } }, line: { color: "#222", dash: "dash", width: 1 },
          text: g.minima.C.map(c => `C ${raised(c)}`), hovertemplate: "%{text}: N* %{x:.3g}, loss %{y:.4g}<extra></extra>" }]);
      return [traces, layout({ xaxis: log("parameters N"), yaxis: log("validation loss L") })];
    },
    residuals() {
      const traces = study.groups.flatMap((g, i) => lawOf(g) ? [runs(g, i, lawOf(g).residual.map(r => 100 * r), brief(g.name))] : []);
      return [traces, layout({ xaxis: log("training compute C (FLOPs)"), yaxis: { title: { text: "residual of log L (%)" }, gridcolor: "#eee", zerolinecolor: "#222" } })];
    },
  };

  function draw(names = Object.keys(FIGURES)) {
    for (const name of names) {
      const place = document.querySelector(`.plot[data-figure="${name}"]`);
      if (!place) continue;
      const [traces, about] = FIGURES[name]();
      if (!traces.length) continue;
      place.hidden = false;
      place.previousElementSibling.classList.add("replaced");
      const shown = (place.data || []).map(t => t.visible);   // groups that the reader hid stay hidden
      if (shown.length === traces.length) traces.forEach((t, j) => { if (shown[j] !== undefined) t.visible = shown[j]; });
      Plotly.react(place, traces, about, SETTINGS);
    }
  }

  function at(best, letter, C) {   // straight in logs between the places told
    const x = Math.log(C), place = best.C.findIndex(c => Math.log(c) >= x), j = Math.min(Math.max(place < 0 ? best.C.length - 1 : place, 1), best.C.length - 1);
    const t = (x - Math.log(best.C[j - 1])) / (Math.log(best.C[j]) - Math.log(best.C[j - 1]));
    return Math.exp((1 - t) * Math.log(best[letter][j - 1]) + t * Math.log(best[letter][j]));
  }

  function budget() {
    const place = document.getElementById("budget");
    if (!place || !fitted.length) return;
    place.hidden = false;
    place.innerHTML = `<h2 style="margin:0 0 .4rem">I have <input type="text" id="flops" size="9" inputmode="decimal" aria-label="FLOPs"> FLOPs</h2>
      <input type="range" id="slide" min="0" max="1000" aria-label="compute, logarithmic">
      <p class="note"><label>by <select id="by"></select> (which draws the figures, too)</label> <label ${fitted.length < 2 ? "hidden" : ""}>for <select id="whose"></select></label> <span id="where"></span></p>
      <div class="answers"><div>model size <i>N</i>* <b data-answer="N"></b> <span data-interval="N"></span></div>
      <div>data <i>D</i>* <b data-answer="D"></b> <span data-interval="D"></span></div>
      <div>loss <i>L</i>* <b data-answer="L"></b> <span data-interval="L"></span></div><div><i>D</i>*/<i>N</i>* <b data-answer="ratio"></b></div></div>`;
    const [flops, slide, by, whose] = ["flops", "slide", "by", "whose"].map(id => document.getElementById(id));
    const reach = () => { const C = of().C; return [Math.log(C[0]), Math.log(C[C.length - 1])]; };
    const of = () => { const g = study.groups[state.group]; return state.law < g.laws.length ? g.laws[state.law].best : g.minima.best; };
    const options = () => {
      const g = study.groups[state.group], names = [...g.laws.map(l => l.name), ...(g.minima ? ["approach 2 (isoFLOP)"] : [])];
      by.replaceChildren(...names.map((name, j) => new Option(name, j)));
      state.law = Math.min(state.law, names.length - 1);
      by.value = state.law;
    };
    let C = 0;
    const answer = () => {
      const best = of(), g = study.groups[state.group];
      const put = (key, value, range = "") => {
        document.querySelector(`[data-answer="${key}"]`).innerHTML = value;
        if (key !== "ratio") document.querySelector(`[data-interval="${key}"]`).innerHTML = range;
      };
      for (const k of ["N", "D"]) put(k, raised(at(best, k, C)), interval(at(best, k + "_low", C), at(best, k + "_high", C)));
      put("L", ...(best.L ? lossWithInterval(at(best, "L", C), at(best, "L_low", C), at(best, "L_high", C)) : ["-"]));
      put("ratio", raised(at(best, "D", C) / at(best, "N", C)));
      const away = Math.max(Math.log10(g.reach[0] / C), Math.log10(C / g.reach[1]));
      document.getElementById("where").textContent = away > 0 ? `extrapolated: ${away.toFixed(1)} decades outside the table's compute` : "inside the table's compute";
    };
    const choose = (value, typed) => {
      const [low, high] = reach();
      C = Math.exp(Math.min(Math.max(Math.log(value), low), high));
      if (!typed) flops.value = C.toExponential(2).replace("+", "");
      slide.value = 1000 * (Math.log(C) - low) / (high - low);
      answer();
    };
    slide.addEventListener("input", () => { const [low, high] = reach(); choose(Math.exp(low + slide.value / 1000 * (high - low))); });
    flops.addEventListener("input", () => { const value = Number(flops.value); if (value > 0 && isFinite(value)) choose(value, true); });
    by.addEventListener("change", () => { state.law = Number(by.value); answer(); draw(); });
    whose.addEventListener("change", () => { state.group = Number(whose.value); options(); choose(C); draw(["isoflop"]); });
    whose.replaceChildren(...fitted.map(g => new Option(g.name, study.groups.indexOf(g))));
    options();
    choose(study.budgets[0] || study.groups[state.group].reach[1] * 10);
  }

  document.documentElement.classList.add("live");
  draw();
  budget();
  let wide = !narrow();
  window.addEventListener("resize", () => { if (wide === narrow()) { wide = !narrow(); draw(); } });
  document.documentElement.dataset.ready = "yes";
})();
