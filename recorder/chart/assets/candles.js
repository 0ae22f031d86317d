/*
 * Draws candles over their volume with Lightweight Charts: zoom, pan, a crosshair with numbers, timeframes, gaps.
 *
 * Contains the longer timeframes, which are made here from the bars of the page exactly as the archive makes them from
 * trades; what is known of each bar; and the drawing. CandleChart.draw(root, data) draws into an element; data is what
 * CandleChart.data() in recorder/chart/candles.py makes.
 *
 * A bar has a number: that of its timeframe's bars since 1970 UTC. A slot is the place of a bar from the left edge,
 * also where no trade made one. So the axis of time is linear, and a gap is as wide as it was long.
 */
"use strict";

globalThis.CandleChart = (() => {
  const { colours, compact, counted, element, key, onScheme, plain, start, thousands } = ChartParts;
  const DAY_MS = 86_400_000;
  const COMFORTABLE_PX = 5; // a first look takes the finest timeframe whose bars are at least this wide
  const NARROWEST_PX = 1.5; // thinner bars are not shown: the view keeps its right edge and shows fewer
  const FEWEST = 40; // bars in a first look, so that a young archive is not one block
  const LABEL_PX = 6; // around the text above a band

  /* Bars: pure. */

  /** Return the bars of the page: {number, open, high, low, close} in ticks, {volume} as BigInt in units, {count}. */
  function decoded({ gap, open, high, low, close, volume, count }) {
    const volumes = volume === "" ? [] : volume.split(",");
    let number = 0;
    let last = 0;
    return gap.map((step, index) => {
      number += step;
      const opened = last + open[index];
      last = opened + close[index];
      return {
        number,
        open: opened,
        high: Math.max(opened, last) + high[index],
        low: Math.min(opened, last) - low[index],
        close: last,
        volume: BigInt(volumes[index]),
        count: count[index],
      };
    });
  }

  /** Return bars `times` as long, made of these. */
  function longer(bars, times) {
    const made = [];
    for (const bar of bars) {
      const number = Math.floor(bar.number / times);
      const into = made.at(-1);
      if (into?.number !== number) {
        made.push({ ...bar, number });
        continue;
      }
      into.high = Math.max(into.high, bar.high);
      into.low = Math.min(into.low, bar.low);
      into.close = bar.close;
      into.volume += bar.volume;
      into.count += bar.count;
    }
    return made;
  }

  /** Return the runs [low, high] of the numbers of bars that these spans touch, apart and ascending. */
  function touched(spans, widthMs) {
    const runs = [];
    for (const { from, until } of spans) {
      const low = from === null ? -Infinity : Math.floor(from / widthMs);
      const high = until === null ? Infinity : Math.floor(until / widthMs);
      const before = runs.at(-1);
      if (before && low <= before[1]) before[1] = Math.max(before[1], high);
      else runs.push([low, high]);
    }
    return runs;
  }

  /**
   * Set the state of each bar. In a complete one no trade can be missing. Otherwise it is incomplete if trades within
   * the recording are missing; cut if some lie outside the range of the page; begun if the recording begins in it;
   * unfinished if it ends in it.
   */
  function judge(bars, spans, widthMs) {
    for (const bar of bars) bar.state = "complete";
    // Of several states that apply, the last one counts.
    const states = { before: "begun", after: "unfinished", outside: "cut", missing: "incomplete" };
    for (const [kind, state] of Object.entries(states)) {
      const runs = touched(spans.filter((span) => span.kind === kind), widthMs);
      let at = 0;
      for (const bar of bars) {
        while (at < runs.length && runs[at][1] < bar.number) at += 1;
        if (at < runs.length && runs[at][0] <= bar.number) bar.state = state;
      }
    }
    return bars;
  }

  /* Words. */

  /** Return this integer of so many decimals as text, with thousands apart. */
  function decimal(value, digits) {
    const text = String(value < 0 ? -value : value).padStart(digits + 1, "0");
    const whole = plain(text.slice(0, text.length - digits));
    return (value < 0 ? "−" : "") + whole + (digits ? `.${text.slice(text.length - digits)}` : "");
  }

  /** Return a moment in UTC, to the minute, or to the second if it is not a whole minute. */
  function moment(ms) {
    return new Date(ms).toISOString().slice(0, ms % 60_000 === 0 ? 16 : 19).replace("T", " ");
  }

  /** Return what a span tells: in full, or as the label of its band. */
  function told(span) {
    const trades = span.missing === null ? "an unknown number of trades" : counted(span.missing, "trade");
    if (span.kind === "before") return `before the recording, which began ${moment(span.until)}`;
    const when = [span.from, span.until].map((end) => (end === null ? "" : moment(end))).join(" to ");
    if (span.kind === "imported") return `${when}: built from trades without ids, of history files`;
    if (span.kind === "published") return `${when}: candles of history files`;
    if (span.kind === "repaired") return `gap ${when}: ${trades} missed, and fetched later`;
    return `gap ${when}: ${trades} missing`;
  }

  const LABELS = {
    missing: (span) => (span.missing === null ? "missing" : `${thousands(span.missing)} missing`),
    repaired: (span) => `${thousands(span.missing)} fetched later`,
    before: () => "before the recording",
    imported: () => "from history files",
    published: () => "candles of history files",
  };

  const STATES = {
    incomplete: "incomplete: trades are missing",
    unfinished: "not over: the recording ends in it",
    begun: "the recording begins in it",
    cut: "cut by the range of this page",
  };

  /* Bands: the time of gaps, outages and what was before the recording, behind the bars. */

  /** A primitive of Lightweight Charts that shades `spans` over the full height of its pane. */
  class Bands {
    constructor(view, { labelled }) {
      this._view = view;
      this._views = [
        { zOrder: () => "bottom", renderer: () => ({ draw: (target) => this._draw(target) }) },
        ...(labelled ? [{ zOrder: () => "top", renderer: () => ({ draw: (target) => this._write(target) }) }] : []),
      ];
    }

    paneViews() {
      return this._views;
    }

    _draw(target) {
      target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio: ratio }) => {
        for (const { span, left, right } of this._view.places(bitmapSize.width / ratio)) {
          const from = Math.round(left * ratio);
          const width = Math.max(Math.round(right * ratio) - from, Math.ceil(ratio));
          context.fillStyle = this._view.colour(span.kind);
          context.fillRect(from, 0, width, bitmapSize.height);
          if (span.kind === "before") continue;
          // An edge, so that also a short one is seen.
          context.fillStyle = this._view.colour(`${span.kind}-edge`);
          context.fillRect(from, 0, Math.ceil(ratio), bitmapSize.height);
          context.fillRect(from + width - Math.ceil(ratio), 0, Math.ceil(ratio), bitmapSize.height);
        }
      });
    }

    _write(target) {
      target.useMediaCoordinateSpace(({ context, mediaSize }) => {
        context.font = this._view.font;
        context.textBaseline = "top";
        let free = 0;
        for (const { span, left, right } of this._view.places(mediaSize.width)) {
          const text = LABELS[span.kind](span);
          const width = context.measureText(text).width + 2 * LABEL_PX;
          const middle = (Math.max(left, 0) + Math.min(right, mediaSize.width)) / 2;
          const from = Math.min(Math.max(middle - width / 2, 0), mediaSize.width - width);
          if (from < free) continue;
          free = from + width;
          if (span.kind !== "before") {
            context.fillStyle = this._view.colour("paper");
            context.beginPath();
            context.roundRect(from, 1, width, 18, 4);
            context.fill();
          }
          context.fillStyle = this._view.colour(`${span.kind}-ink`);
          context.fillText(text, from + LABEL_PX, 5);
        }
      });
    }
  }

  /* The chart. */

  class View {
    constructor(root, data) {
      this._data = data;
      this._root = root;
      this._fine = decoded(data.bars);
      this._spans = data.spans;
      this._shaded = [];
      this.timeframe = null;
      this._build();
      this._colours();
      onScheme(() => this._recolour());
      const seen = new ResizeObserver(() => {
        if (!this._plot.clientWidth) return; // not shown yet
        seen.disconnect();
        this.all();
      });
      seen.observe(this._plot);
    }

    get font() {
      return `11px ${this._family}`;
    }

    colour(name) {
      return this._palette[name];
    }

    /** The bars of the timeframe that is shown, each with its state. */
    get bars() {
      return this._bars;
    }

    /** Show another timeframe, of the same time as far as its bars can be seen. */
    select(name) {
      const scale = this.chart.timeScale();
      const seen = scale.getVisibleLogicalRange();
      const time = seen && [this._timeAt(seen.from + 0.5), this._timeAt(seen.to + 0.5)];
      this._load(name);
      if (time) this._show(this._slotAt(time[0]), this._slotAt(time[1]));
      this._tell(null);
    }

    /** Show all of the time, in the finest timeframe whose bars are wide enough. */
    all() {
      this._load(this._comfortable());
      const margin = Math.max(this._slots * 0.02, (FEWEST - this._slots) / 2);
      this._show(-margin, this._slots + margin);
      this._tell(null);
    }

    /** Return the bands in sight, in order, as {span, left, right} in pixels. */
    places(width) {
      const found = [];
      for (const span of this._shaded) {
        const left = span.from === null ? 0 : this._x(span.from);
        const right = span.until === null ? width : this._x(span.until);
        if (right < 0 || left > width) continue;
        found.push({ span, left: Math.max(left, -10), right: Math.min(right, width + 10) }); // edges stay out of sight
      }
      return found;
    }

    _build() {
      const { pair, timeframes, base } = this._data;
      this._price = element("span", { className: "price" });
      this._change = element("span", { className: "change" });
      this._buttons = new Map(
        timeframes.map(([name]) => [
          name,
          element("button", { type: "button", textContent: name, onclick: () => this.select(name) }),
        ]),
      );
      this._log = element("button", { type: "button", textContent: "Log", onclick: () => this._logarithmic() });
      this._log.title = "Equal distances are equal ratios";
      const everything = element("button", { type: "button", textContent: "All", onclick: () => this.all() });
      everything.title = "Show all of the time";
      const group = (label, ...buttons) => {
        const made = element("div", { className: "buttons" }, ...buttons);
        made.role = "group";
        made.ariaLabel = label;
        return made;
      };
      this._legend = element("p", { className: "legend" });
      this._plot = element("div", { className: "plot" });
      this._plot.role = "img";
      this._plot.ariaLabel = `Candles of ${pair} over their volume in ${base}`;
      const head = element("header", {}, element("h1", { textContent: pair }), this._price, this._change);
      head.append(group("Timeframe", ...this._buttons.values()), group("View", this._log, everything));
      this._root.replaceChildren(head, this._legend, this._plot, this._footer());
      this._family = getComputedStyle(this._root).fontFamily;
      const { priceDigits } = this._data;
      const tick = 10 ** -priceDigits;
      this.chart = LightweightCharts.createChart(this._plot, {
        autoSize: true,
        crosshair: { mode: LightweightCharts.CrosshairMode.Normal },
        layout: { attributionLogo: false, fontFamily: this._family, fontSize: 11 },
        localization: { locale: "en-GB", timeFormatter: (time) => this._begin(time * 1000) },
        rightPriceScale: {
          borderVisible: false,
          entireTextOnly: true,
          minimumWidth: 64,
          scaleMargins: { top: 0.12, bottom: 0.06 },
        },
        timeScale: {
          borderVisible: false,
          lockVisibleTimeRangeOnResize: true,
          maxBarSpacing: 60,
          minBarSpacing: 0.02,
          timeVisible: true,
        },
      });
      this.candles = this.chart.addSeries(LightweightCharts.CandlestickSeries, {
        lastValueVisible: false, // it would have the colour of the bar, which may be hollow
        priceFormat: {
          type: "custom",
          minMove: tick,
          formatter: (price) => decimal(Math.round(price / tick), priceDigits),
        },
        priceLineVisible: false,
      });
      this._lastPrice = this.candles.createPriceLine({ lineStyle: LightweightCharts.LineStyle.Dotted, lineWidth: 1 });
      this.volume = this.chart.addSeries(
        LightweightCharts.HistogramSeries,
        {
          lastValueVisible: false,
          priceFormat: { type: "custom", minMove: 10 ** -8, formatter: (value) => compact.format(value) },
          priceLineVisible: false,
        },
        1,
      );
      this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.15, bottom: 0 } });
      const [prices, volumes] = this.chart.panes();
      prices.setStretchFactor(3.6);
      volumes.setStretchFactor(1);
      prices.attachPrimitive(new Bands(this, { labelled: true }));
      volumes.attachPrimitive(new Bands(this, { labelled: false }));
      this.chart.subscribeCrosshairMove(({ point, logical }) => this._tell(point ? logical : null));
    }

    _footer() {
      const kinds = new Set(this._spans.map((span) => span.kind));
      const keys = [
        kinds.has("missing") && key("missing", "gap: trades are missing"),
        kinds.has("missing") && key("incomplete", "incomplete bar"),
        kinds.has("repaired") && key("repaired", "gap that was filled"),
        kinds.has("imported") && key("imported", "built from trades of history files"),
        kinds.has("published") && key("published", "candles of history files"),
        kinds.has("before") && key("before", "before the recording"),
        (kinds.has("after") || kinds.has("before")) && key("unfinished", "bar at an end of the recording"),
      ].filter(Boolean);
      const link = element("a", { href: "https://www.tradingview.com/", rel: "noreferrer", target: "_blank" });
      link.textContent = "TradingView";
      return element(
        "footer",
        {},
        element("ul", {}, ...keys),
        ...this._data.notes.map((text) => element("p", { textContent: text })),
        element("p", { className: "attribution" }, "Drawn by ", link, " Lightweight Charts™, © 2026 TradingView, Inc."),
      );
    }

    /** Return the finest timeframe in which all of the time can be seen at once, or the longest. */
    _comfortable() {
      const span = this._data.until - this._data.from;
      const width = this._plot.clientWidth - 64;
      const fits = ([, minutes]) => (span / (minutes * 60_000)) * COMFORTABLE_PX <= width;
      return (this._data.timeframes.find(fits) ?? this._data.timeframes.at(-1))[0];
    }

    _load(name) {
      const minutes = new Map(this._data.timeframes).get(name);
      this.timeframe = name;
      this._widthMs = minutes * 60_000;
      this._bars = judge(longer(this._fine, minutes / this._data.timeframes[0][1]), this._spans, this._widthMs);
      this._number = Math.floor(this._data.from / this._widthMs);
      this._slots = Math.ceil(this._data.until / this._widthMs) - this._number;
      this._placed = new Array(this._slots).fill(null);
      for (const bar of this._bars) this._placed[bar.number - this._number] = bar;
      this._shaded = this._spans.filter((span) => LABELS[span.kind]);
      for (const [of, button] of this._buttons) button.ariaPressed = String(of === name);
      this._fill();
    }

    /** Give the series their values, with the colours of now. */
    _fill() {
      const { priceDigits, volumeDigits } = this._data;
      const price = 10 ** priceDigits;
      const unit = 10 ** volumeDigits;
      const seconds = this._widthMs / 1000;
      const time = (slot) => (this._number + slot) * seconds;
      this.candles.setData(
        this._placed.map((bar, slot) =>
          bar === null
            ? { time: time(slot) }
            : {
                time: time(slot),
                open: bar.open / price,
                high: bar.high / price,
                low: bar.low / price,
                close: bar.close / price,
                ...this._look(bar),
              },
        ),
      );
      this.volume.setData(
        this._placed.map((bar, slot) =>
          bar === null
            ? { time: time(slot) }
            : { time: time(slot), value: Number(bar.volume) / unit, color: this._volumeColour(bar) },
        ),
      );
      const last = this._bars.at(-1);
      const first = this._bars[0];
      if (!last) return;
      const change = ((last.close - first.open) / first.open) * 100;
      this._lastPrice.applyOptions({ color: this.colour(this._direction(last)), price: last.close / price });
      this._price.textContent = decimal(last.close, priceDigits);
      this._change.textContent = `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(2)} %`;
      this._change.title = "from the first open to the last close";
      this._change.className = `change ${change < 0 ? "falling" : "rising"}`;
    }

    /** Return when a bar begins: a day, for those that consist of whole ones. */
    _begin(ms) {
      return this._widthMs % DAY_MS === 0 ? moment(ms).slice(0, 10) : moment(ms);
    }

    _direction(bar) {
      return bar.close < bar.open ? "falling" : "rising";
    }

    _look(bar) {
      const way = this.colour(this._direction(bar));
      if (bar.state === "complete") return { color: way, borderColor: way, wickColor: way };
      const lacking = bar.state === "incomplete";
      const edge = lacking ? this.colour("missing-edge") : way;
      const body = this.colour(lacking ? `${this._direction(bar)}-pale` : "paper");
      return { color: body, borderColor: edge, wickColor: edge };
    }

    _volumeColour(bar) {
      if (bar.state === "incomplete") return this.colour("missing-edge");
      return this.colour(`${this._direction(bar)}-${bar.state === "complete" ? "soft" : "pale"}`);
    }

    /** Show the slots from one edge to the other, or as many of the last ones as can be seen. */
    _show(from, to) {
      const scale = this.chart.timeScale();
      const most = (scale.width() || this._plot.clientWidth) / NARROWEST_PX;
      // Lightweight Charts counts from the middle of a slot.
      scale.setVisibleLogicalRange({ from: Math.max(from, to - most) - 0.5, to: to - 0.5 });
    }

    /** Return the moment of a place on the axis, counted in slots from the left edge of the first. */
    _timeAt(logical) {
      return (this._number + logical) * this._widthMs;
    }

    _slotAt(ms) {
      return ms / this._widthMs - this._number;
    }

    _x(ms) {
      const scale = this.chart.timeScale();
      // Lightweight Charts knows the places of whole slots only.
      const [first, second] = [scale.logicalToCoordinate(0), scale.logicalToCoordinate(1)];
      return first + (this._slotAt(ms) - 0.5) * (second - first);
    }

    _logarithmic() {
      const on = this._log.ariaPressed !== "true";
      const { Logarithmic, Normal } = LightweightCharts.PriceScaleMode;
      this._log.ariaPressed = String(on);
      this.candles.priceScale().applyOptions({ mode: on ? Logarithmic : Normal });
    }

    /** Tell the numbers of the bar under the crosshair; of the last one where there is none. */
    _tell(slot) {
      const last = this._bars.at(-1);
      if (!last) return;
      const at = slot === null || slot < 0 || slot >= this._slots ? last.number - this._number : slot;
      const bar = this._placed[at];
      const begin = this._timeAt(at);
      const { priceDigits, volumeDigits, base } = this._data;
      const parts = [element("time", { textContent: `${this._begin(begin)} UTC` })];
      const said = (label, text, name = "") =>
        parts.push(element("span", { className: name }, element("b", { textContent: label }), ` ${text}`));
      if (bar === null) parts.push(element("span", { textContent: "no trade" }));
      else {
        const way = this._direction(bar);
        for (const [label, field] of [["O", "open"], ["H", "high"], ["L", "low"], ["C", "close"]]) {
          said(label, decimal(bar[field], priceDigits), way);
        }
        said("V", `${plain(decimal(bar.volume, volumeDigits))} ${base}`);
        parts.push(element("span", { textContent: counted(bar.count, "trade") }));
        const state = STATES[bar.state];
        if (state) parts.push(element("span", { className: `tag ${bar.state}`, textContent: state }));
      }
      const inside = this._shaded.filter(
        ({ from, until }) => (from === null || from < begin + this._widthMs) && (until === null || until >= begin),
      );
      if (inside.length) {
        const more = inside.length > 1 ? `; and ${inside.length - 1} more` : "";
        parts.push(element("span", { className: `tag ${inside[0].kind}`, textContent: told(inside[0]) + more }));
      }
      this._legend.replaceChildren(...parts);
    }

    /* Colours: those of the style sheet, in light and in dark. */

    _colours() {
      const names = ["paper", "ink", "faint", "grid"];
      for (const way of ["rising", "falling"]) names.push(way, `${way}-soft`, `${way}-pale`);
      for (const kind of ["missing", "repaired", "imported", "published", "before"]) names.push(kind, `${kind}-edge`, `${kind}-ink`);
      this._palette = colours(this._root, names);
      const { paper, ink, faint, grid } = this._palette;
      const line = { color: faint, labelBackgroundColor: ink };
      this.chart.applyOptions({
        layout: { background: { color: paper }, textColor: faint, panes: { separatorColor: grid } },
        grid: { horzLines: { color: grid }, vertLines: { color: grid } },
        crosshair: { horzLine: line, vertLine: line },
      });
    }

    _recolour() {
      this._colours();
      if (this.timeframe) this._fill();
    }
  }

  const draw = (root, data) => new View(root, data);

  start("candles", draw);
  return { draw, decoded, longer, judge };
})();
