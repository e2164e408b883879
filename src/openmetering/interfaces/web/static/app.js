"use strict";
/* Light scripting for all pages: times in the zone of the reader, as shown and as typed, plots, live parts. Without it every page works, with times in UTC. */
(() => {
  const tongue = document.documentElement.lang || "en";
  /* the order of the server: 2026-01-14 16:30 in English, 14.01.2026 16:30 in German, always 24 hours */
  const parts = new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const short = { format: (at) => {
    const found = Object.fromEntries(parts.formatToParts(at).map((one) => [one.type, one.value]));
    const date = tongue === "de" ? [found.day, found.month, found.year].join(".") : [found.year, found.month, found.day].join("-");
    return date + " " + found.hour + ":" + found.minute;
  } };
  const day = { format: (at) => short.format(at).slice(0, 10) };
  const zoneAt = (at) => new Intl.DateTimeFormat(tongue, { timeZoneName: "short" }).formatToParts(at).find((one) => one.type === "timeZoneName").value;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  const localTimes = (root) => {
    root.querySelectorAll("time[data-local]").forEach((element) => {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.valueOf())) return;
      element.textContent = (element.dataset.local === "day" ? day : short).format(at) + (element.dataset.local === "full" ? " " + zoneAt(at) : "");
      element.title = element.dateTime;
      delete element.dataset.local;
    });
    root.querySelectorAll("[data-zone]").forEach((element) => { element.textContent = zone; });
  };

  /* a colour of the sheet as the browser has resolved it, for the canvas */
  const colour = (name) => {
    const probe = document.createElement("span");
    probe.style.color = "var(" + name + ")";
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };

  const axis = (extra) => ({ stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif", ...extra });

  const plots = new Map();
  const bars = () => uPlot.paths.bars({ size: [0.7, 40], align: 1 });
  const draw = (place, answer) => {
    const number = new Intl.NumberFormat(tongue, { maximumFractionDigits: answer.digits });
    const tone = colour("--series-1");
    const shape = answer.form === "bars" ? { paths: bars(), fill: tone, points: { show: false } } : { fill: "transparent", width: 2, points: { size: 5 } };
    plots.get(place)?.destroy();
    place.replaceChildren();
    /* the legend tells the newest value until the pointer names another one */
    const newest = (plot) => plot.setLegend({ idx: answer.times.length - 1 });
    const rest = (plot) => { newest(plot); plot.over.addEventListener("mouseleave", () => newest(plot)); };
    plots.set(place, new uPlot({
      hooks: { ready: [rest] },
      width: place.clientWidth, height: Math.max(240, Math.min(340, place.clientWidth * 0.5)),
      tzDate: (seconds) => new Date(seconds * 1e3),
      fmtDate: (template) => uPlot.fmtDate(template),
      scales: { x: { range: (_, low, high) => [low, answer.form === "bars" ? high + answer.slot : high] }, y: { range: (_, low, high) => {
        if (low === null) return [0, 1];
        if (answer.form === "bars") return [Math.min(0, low), high > 0 ? high * 1.08 : 1];
        const room = (high - low || Math.abs(high) || 1) * 0.08;
        return [low - room, high + room];
      } } },
      axes: [axis({ values: (_, splits) => splits.map((at, index) => label(splits, index)) }), axis({ size: 64, values: (_, splits) => splits.map((value) => number.format(value)) })],
      series: [
        { label: answer.words.time, value: (_, at) => (at === null ? "–" : short.format(at * 1e3)) },
        { label: answer.label, stroke: tone, ...shape, value: (_, value) => (value === null ? "–" : number.format(value) + " " + answer.unit) },
      ],
      legend: { live: true },
      cursor: { y: false },
    }, [answer.times, answer.values], place));
  };
  const clock = new Intl.DateTimeFormat(tongue, { hour: "2-digit", minute: "2-digit" });
  const date = new Intl.DateTimeFormat(tongue, { day: "numeric", month: "short" });
  const month = new Intl.DateTimeFormat(tongue, { month: "short", year: "2-digit" });
  const label = (splits, index) => {
    const step = splits.length > 1 ? splits[1] - splits[0] : 86400;
    const at = splits[index] * 1e3;
    if (step >= 27 * 86400) return month.format(at);
    const midnight = clock.format(at) === clock.format(new Date(2024, 0, 1));
    return step >= 86400 || midnight ? date.format(at) : clock.format(at);
  };
  const load = async (place) => {
    const problem = (text) => { const note = document.createElement("p"); note.className = "empty"; note.textContent = text; place.replaceChildren(note); };
    try {
      const response = await fetch(place.dataset.plot, { headers: { Accept: "application/json" } });
      if (!response.ok) return problem(place.dataset.failed);
      const answer = await response.json();
      if (!answer.times.length) return problem(place.dataset.empty);
      place.answer = answer;
      draw(place, answer);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      problem(place.dataset.failed);
    }
  };
  const plotsOf = (root) => root.querySelectorAll("[data-plot]").forEach(load);
  let again = 0;
  const redraw = () => {
    clearTimeout(again);
    again = setTimeout(() => document.querySelectorAll("[data-plot]").forEach((place) => place.answer && draw(place, place.answer)), 150);
  };
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  /* news of the server: names of what changed; parts of the page that show it fetch themselves again */
  const listen = () => {
    const wanted = document.querySelectorAll("[data-live]");
    if (!wanted.length) return;
    const source = new EventSource("/live");
    source.addEventListener("changed", (event) => {
      const names = event.data.split(" ");
      document.querySelectorAll("[data-live]").forEach((element) => {
        if (element.dataset.live.split(" ").some((name) => names.includes(name))) htmx.trigger(element, "live");
      });
    });
    addEventListener("pagehide", () => source.close());
  };

  document.addEventListener("htmx:afterSettle", (event) => { localTimes(event.target); plotsOf(event.target); });
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  /* a time that was typed is one of this zone: the server gets it with its offset */
  document.addEventListener("formdata", (event) => {
    event.target.querySelectorAll("input[type=datetime-local]").forEach((field) => {
      if (field.value) event.formData.set(field.name, new Date(field.value).toISOString());
    });
  });
  localTimes(document);
  plotsOf(document);
  listen();
})();
