/*
 * What the pages do beyond showing what the server rendered: they stay current, draw candles, and send statements.
 *
 * No text from a trade, a pair or a message becomes markup, except the parts of the overview, which the server renders.
 * A tab that is hidden keeps no stream open.
 */
"use strict";

(() => {
  const page = document.body.dataset.page;
  const byId = (id) => document.getElementById(id);

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  /** Return a length of time in its largest units, as the server writes it. */
  function ago(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    if (seconds < 60) return `${seconds} s`;
    for (const [unit, name, smaller, its] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (seconds < unit) continue;
      const rest = Math.floor((seconds % unit) / smaller);
      return `${Math.floor(seconds / unit)} ${name}` + (rest ? ` ${rest} ${its}` : "");
    }
    return "";
  }

  const grouped = (text) => text.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
  const second = (iso) => iso.slice(0, 19).replace("T", " ").replace(/Z$/, "");

  function tick() {
    const now = Date.now();
    byId("clock").textContent = new Date(now).toISOString().slice(11, 19);
    for (const cell of document.querySelectorAll("[data-age]")) {
      const text = ago(now - Number(cell.dataset.age));
      if (cell.textContent !== text) cell.textContent = text;
    }
  }

  /**
   * Keep a stream of server-sent events open while the tab is seen. `address` is asked for at each opening; `on` maps
   * kinds of events to functions.
   */
  function stream(address, on) {
    let source = null;
    const say = (text) => {
      byId("live").textContent = text;
    };
    const open = () => {
      source = new EventSource(address());
      source.addEventListener("open", () => say("live"));
      source.addEventListener("error", () => {
        say("reconnecting");
        if (source?.readyState !== EventSource.CLOSED) return;
        source = null; // refused: try again, but not at once
        setTimeout(() => source === null && !document.hidden && open(), 5000);
      });
      for (const [kind, take] of Object.entries(on)) source.addEventListener(kind, (event) => take(JSON.parse(event.data)));
    };
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) {
        source?.close();
        source = null;
        say("paused");
      } else if (source === null) open();
    });
    if (!document.hidden) open();
  }

  /* The overview. */

  function overview() {
    const rows = new Map([...document.querySelectorAll("#pairs tr[data-pair]")].map((row) => [row.dataset.pair, row]));

    function mark(row) {
      const [gaps, change] = ["gaps", "change"].map((name) => row.querySelector(`[data-cell="${name}"]`));
      gaps.classList.toggle("has", gaps.textContent !== "none");
      change.classList.toggle("up", change.textContent.startsWith("+"));
      change.classList.toggle("down", change.textContent.startsWith("\u2212"));
    }

    function show(row, cells) {
      for (const [name, value] of Object.entries(cells)) {
        const cell = row.querySelector(`[data-cell="${name}"]`);
        if (name === "last") {
          if (value !== null) cell.dataset.age = value;
          continue;
        }
        if (name === "spark") {
          cell.setAttribute("points", value);
          continue;
        }
        if (cell.textContent === value) continue;
        cell.textContent = value;
        if (name !== "price") continue;
        cell.classList.remove("changed");
        void cell.offsetWidth; // so that the animation begins anew
        cell.classList.add("changed");
      }
      mark(row);
    }

    function take({ rows: changed = {}, parts = {}, gone = [] }) {
      const unknown = Object.keys(changed).some((pair) => !rows.has(pair));
      if (unknown || gone.some((pair) => rows.has(pair))) {
        location.reload(); // another set of pairs
        return;
      }
      for (const [pair, cells] of Object.entries(changed)) show(rows.get(pair), cells);
      for (const [name, html] of Object.entries(parts)) document.querySelector(`[data-part="${name}"]`).innerHTML = html;
      entitle();
      tick();
    }

    /** Show the state in the title too, where it is seen while another tab is looked at. */
    function entitle() {
      document.title = `${document.querySelector(".word").textContent} · kraken-recorder`;
    }

    entitle();
    rows.forEach(mark);
    const filter = byId("filter");
    if (filter) {
      filter.parentElement.hidden = false;
      filter.addEventListener("input", () => {
        const wanted = filter.value.trim().toUpperCase();
        for (const [pair, row] of rows) row.hidden = !pair.toUpperCase().includes(wanted);
      });
      document.addEventListener("keydown", (event) => {
        if (event.key !== "/" || event.target.closest("input, textarea")) return;
        event.preventDefault();
        filter.focus();
      });
    }
    stream(() => "/live", { message: take });
  }

  /* A pair. */

  const TAPE = 60;
  const NEAR = 60; // bars before the left edge of what is loaded at which older ones are fetched
  const AGAIN_MS = 60_000; // until all bars are fetched again while some miss trades, which may be stored by then
  const PARTS_MS = { quote: 2000, book: 5000 }; // until each is fetched again
  const EMPTY = 6; // pieces without a trade that are passed over in one go

  async function fetched(path, parameters) {
    const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`);
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error ?? answer.statusText);
    return content;
  }

  function pair() {
    const root = byId("chart");
    const { pair: name, timeframe, start, stop } = root.dataset;
    const historic = Boolean(stop);
    const asked = { pair: name, timeframe };
    let data = null;
    let view = null;
    let loading = false;
    let stale = false;
    let exhausted = false;
    let whole = Date.now();

    const chart = (more) => fetched("/api/v1/chart", { ...asked, ...more });
    const iso = (ms) => new Date(ms).toISOString();
    const own = (piece) => ({ ...piece, timeframes: piece.timeframes.slice(0, 1) });

    async function begin() {
      const piece = await chart({ ...(start && { start }), ...(stop && { stop }) });
      if (piece.bars === null) throw new Error("no trade is stored in this range");
      data = own(piece);
      root.classList.add("chart", "candles");
      view = CandleChart.draw(root, data);
      root.view = view;
      view.chart.timeScale().subscribeVisibleLogicalRangeChange(moved);
    }

    function moved(range) {
      if (range === null) return;
      if (range.from < NEAR) older();
      remember();
    }

    /** Fetch what is before the left edge, over pieces without a trade. */
    async function older() {
      if (loading || exhausted || data.from <= data.first) return;
      loading = true;
      try {
        let until = data.from;
        for (let piece = 0; piece < EMPTY; piece += 1) {
          const found = await chart({ stop: iso(until) });
          if (found.bars !== null) {
            data = CandleChart.joined(own(found), data);
            view.replace(data);
            break;
          }
          until = found.from;
          exhausted = until <= data.first;
          if (exhausted) break;
        }
      } finally {
        loading = false;
      }
    }

    /** Fetch the bars from the last one on; now and then all of the last ones, where a gap may have closed. */
    async function newer() {
      if (!stale || loading || view === null || historic) return;
      stale = false;
      loading = true;
      try {
        const again = Date.now() - whole > AGAIN_MS && data.spans.some(({ kind }) => kind === "missing");
        if (again) whole = Date.now();
        const found = await chart(again ? {} : { start: iso(data.until - 2 * data.timeframes[0][1] * 60_000) });
        if (found.bars === null) return;
        data = CandleChart.joined(data, own(found));
        view.replace(data);
      } finally {
        loading = false;
      }
    }

    let remembering = 0;
    /** Keep the range that is seen in the address, so that it can be passed on. */
    function remember() {
      clearTimeout(remembering);
      remembering = setTimeout(() => {
        const [from, until] = view.seen();
        const address = new URL(location);
        address.searchParams.set("timeframe", timeframe);
        if (view.follows() && !historic) {
          address.searchParams.delete("start");
          address.searchParams.delete("stop");
        } else {
          const minute = (ms) => `${iso(Math.floor(ms / 60_000) * 60_000).slice(0, 16)}Z`;
          address.searchParams.set("start", minute(from));
          address.searchParams.set("stop", minute(until));
        }
        history.replaceState(null, "", address);
      }, 600);
    }

    /** Return a decimal as the rows above write it, with as many digits. */
    function aligned(text, column) {
      const above = document.querySelector(`#tape tbody td:nth-child(${column})`)?.textContent ?? "";
      const [whole, rest = ""] = text.split(".");
      const digits = Math.max(rest.length, above.split(".")[1]?.length ?? 0);
      return grouped(whole) + (digits ? `.${rest.padEnd(digits, "0")}` : "");
    }

    function trade(one) {
      const [day, time] = second(one.time).split(" ");
      const row = element(
        "tr",
        { className: one.side === "sell" ? "sell" : "buy" },
        element("td", {}, element("span", { className: "day", textContent: day }), ` ${time}`),
        element("td", { textContent: one.side }),
        element("td", { className: "number", textContent: aligned(one.price, 3) }),
        element("td", { className: "number", textContent: aligned(one.qty, 4) }),
        element("td", { className: "number", textContent: String(one.trade_id) }),
      );
      const body = document.querySelector("#tape tbody");
      body.prepend(row);
      while (body.rows.length > TAPE) body.lastElementChild.remove();
      newest = one.trade_id;
      document.title = `${aligned(one.price, 3)} ${name}`;
      stale = true;
      if (byId("tape-state").textContent) whole = 0; // a gap has closed
      byId("tape-state").textContent = "";
    }

    let newest = Number(document.querySelector("#tape tbody tr td:last-child")?.textContent ?? 0);
    begin().catch((error) => {
      root.classList.add("failed");
      root.replaceChildren(element("p", { className: "problem", textContent: error.message }));
    });
    const address = () =>
      `/api/v1/trades/stream?${new URLSearchParams({ pairs: name, format: "sse", after: `${name}:${newest}` })}`;
    stream(address, {
      trade,
      waiting: ({ waiting }) => {
        for (const [first, last] of Object.values(waiting)) {
          const ids = last - first + 1;
          byId("tape-state").textContent = `waiting for ${ids.toLocaleString("en-US")} missing id${ids === 1 ? "" : "s"}`;
        }
      },
    });
    setInterval(() => newer().catch(() => {}), 1000);
    Object.entries(PARTS_MS).forEach(([part, ms]) => current(part, ms));
  }

  /** Fetch a part of the page again and again while the tab is seen; its age tells if that fails. */
  function current(part, ms) {
    const root = document.querySelector(`[data-part="${part}"]`);
    if (!root) return;
    setTimeout(async () => {
      try {
        const reply = document.hidden ? null : await fetch(`?part=${part}`);
        if (reply?.ok) {
          root.innerHTML = await reply.text();
          tick();
        }
      } catch {
        // the server is away
      }
      current(part, ms);
    }, ms);
  }

  /* Statements. */

  function ask() {
    const form = byId("sql-form");
    if (!form) return;
    const said = byId("sql-state");
    const answer = byId("sql-answer");

    const post = (path, content) =>
      fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });

    /** Send the statement, and give the reply to `take`. */
    async function send(path, more, take) {
      const began = performance.now();
      said.textContent = "running";
      for (const button of form.querySelectorAll("button")) button.disabled = true;
      try {
        await take(await post(path, { sql: byId("sql").value, ...more }));
        said.textContent = `${((performance.now() - began) / 1000).toFixed(2)} s`;
      } catch (error) {
        said.textContent = "";
        answer.replaceChildren(element("p", { className: "problem", role: "alert", textContent: error.message }));
      } finally {
        for (const button of form.querySelectorAll("button")) button.disabled = false;
      }
    }

    /** Show the answer or the problem in what the server rendered, which may be a whole page. */
    async function show(reply) {
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      const found = page.querySelector(".answer, .problem");
      if (found === null) throw new Error(reply.statusText || "no answer came");
      answer.replaceChildren(found);
    }

    const save = (format) => async (reply) => {
      if (!reply.ok) throw new Error((await reply.json()).error);
      const link = element("a", { href: URL.createObjectURL(await reply.blob()), download: `query.${format}` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    };

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send("/ask", {}, show);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    for (const button of form.querySelectorAll("[data-download]")) {
      const format = button.dataset.download;
      button.addEventListener("click", () => send("/api/v1/query", { format }, save(format)));
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.documentElement.classList.add("scripted");
    ({ overview, pair, ask })[page]?.();
    tick();
    setInterval(tick, 1000);
  });
})();
