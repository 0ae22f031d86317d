/*
 * Draws days of many pairs: a calendar of what is proven of each day, or the volume of each day.
 *
 * A row is a pair, a cell a day, a week or a month. The data is what DayChart.data() in recorder/chart/days.py makes.
 */
"use strict";

globalThis.DayChart = (() => {
  const { colours, compact, counted, element, key, onScheme, plain, start, thousands } = ChartParts;
  const DAY_MS = 86_400_000;
  const LABEL_PX = 76; // between two dates of the axis, at least
  const DAYS = [1, 2, 5, 10];
  const MONTHS = [1, 2, 3, 6, 12, 24, 60];

  const day = (number) => new Date(number * DAY_MS).toISOString().slice(0, 10);
  const named = (number, format) =>
    new Date(number * DAY_MS).toLocaleDateString("en-GB", { timeZone: "UTC", ...format });

  /** Return the dates of an axis of `width` pixels as [day, text]: pure. */
  function ticks(from, until, width) {
    const wide = (days) => (days / (until - from)) * width >= LABEL_PX;
    const step = DAYS.find(wide);
    if (step) {
      const count = Math.ceil((until - from) / step);
      return Array.from({ length: count }, (_, index) => from + index * step).map((at) => [
        at,
        named(at, { day: "numeric", month: "short", ...(at === from && { year: "numeric" }) }),
      ]);
    }
    const months = MONTHS.find((count) => wide(count * 30)) ?? MONTHS.at(-1);
    const made = [];
    for (let month = Math.ceil(monthOf(from) / months) * months; ; month += months) {
      const at = Date.UTC(1970, month, 1) / DAY_MS;
      if (at >= until) return made;
      if (at >= from) made.push([at, named(at, { year: "numeric", ...(months < 12 && { month: "short" }) })]);
    }
  }

  /** Return the number of months since 1970 in which a day is; of a day within one, the next. */
  function monthOf(number) {
    const date = new Date(number * DAY_MS);
    return (date.getUTCFullYear() - 1970) * 12 + date.getUTCMonth() + (date.getUTCDate() > 1 ? 1 : 0);
  }

  class View {
    constructor(root, data) {
      this._root = root;
      this._data = data;
      this._volume = data.kind === "volume";
      root.classList.add(data.kind);
      this._build();
      new ResizeObserver(() => this._draw()).observe(this._grid);
      onScheme(() => this._draw());
    }

    _build() {
      const { title, notes, pairs, statuses } = this._data;
      this._legend = element("p", { className: "legend" });
      this._grid = element("div", { className: "grid" });
      this._rows = pairs.map((pair, index) => {
        const canvas = element("canvas", {});
        const highest = Math.max(...pair.cells.map((cell) => Number(cell[5] ?? 0)));
        const name = element("span", { className: "name" }, pair.name);
        if (this._volume) name.append(element("small", { textContent: `${compact.format(highest)} ${pair.base}` }));
        canvas.dataset.row = index;
        this._grid.append(name, canvas);
        return { ...pair, canvas, highest };
      });
      this._axis = element("canvas", { className: "axis" });
      this._grid.append(element("span", { className: "axis" }), this._axis);
      const seen = new Set(pairs.flatMap((pair) => pair.cells.map((cell) => cell[2])));
      const keys = this._volume
        ? [
            key("complete", "every trade is stored"),
            key("unknown", "at least: trades are missing, or a day is not over"),
          ]
        : statuses.flatMap(([name, meaning], index) => (seen.has(index) ? [key(name, `${name}: ${meaning}`)] : []));
      this._root.replaceChildren(
        element("header", {}, element("h1", { textContent: title })),
        element("div", { className: "notes" }, ...notes.map((text) => element("p", { textContent: text }))),
        this._legend,
        this._grid,
        element("footer", {}, element("ul", {}, ...keys)),
      );
      for (const kind of ["pointermove", "pointerdown"]) {
        this._grid.addEventListener(kind, (event) => this._point(event));
      }
      this._grid.addEventListener("pointerleave", () => this._tell(null, null));
      this._tell(null, null);
    }

    /** Draw everything at the width that there is, in the colours of now. */
    _draw() {
      const names = ["ink", "faint", "grid", "rising", ...this._data.statuses.map(([name]) => name)];
      this._palette = colours(this._root, names);
      for (const row of this._rows) this._drawRow(row);
      this._drawAxis();
    }

    /** Return a canvas made ready: its context, and its size in pixels of the page. */
    _ready(canvas) {
      const { clientWidth: width, clientHeight: height } = canvas;
      const ratio = devicePixelRatio;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const context = canvas.getContext("2d");
      context.scale(ratio, ratio);
      return { context, width, height };
    }

    _drawRow(row, marked = null) {
      const { context, width, height } = this._ready(row.canvas);
      if (this._volume) {
        context.fillStyle = this._palette.grid;
        context.fillRect(0, height - 1, width, 1);
      }
      for (const cell of row.cells) {
        const left = Math.round(this._x(cell[0], width));
        const right = Math.max(left + 1, Math.round(this._x(cell[1], width)));
        const gap = right - left > 4 ? 1 : 0;
        const status = this._data.statuses[cell[2]][0];
        const share = this._volume ? (row.highest ? Number(cell[5]) / row.highest : 0) : 1;
        const tall = this._volume ? Math.round(share * (height - 2)) : height;
        context.fillStyle = this._colour(status);
        context.fillRect(left, height - tall, right - left - gap, tall);
        if (cell === marked) {
          context.strokeStyle = this._palette.ink;
          context.lineWidth = 2;
          context.strokeRect(left + 1, 1, Math.max(right - left - gap - 2, 1), height - 2);
        }
      }
    }

    _drawAxis() {
      const { from, until } = this._data;
      const { context, width } = this._ready(this._axis);
      context.font = `11px ${getComputedStyle(this._root).fontFamily}`;
      context.textBaseline = "top";
      context.fillStyle = this._palette.faint;
      for (const [at, text] of ticks(from, until, width)) {
        const x = Math.round(this._x(at, width));
        context.fillRect(x, 0, 1, 4);
        if (x + context.measureText(text).width < width) context.fillText(text, x + 3, 5);
      }
    }

    _colour(status) {
      if (!this._volume) return this._palette[status];
      return status === "complete" || status === "empty" ? this._palette.rising : this._palette.unknown;
    }

    _x(at, width) {
      return ((at - this._data.from) / (this._data.until - this._data.from)) * width;
    }

    _point(event) {
      const row = this._rows[event.target.dataset?.row];
      if (!row) return this._tell(null, null);
      const { from, until } = this._data;
      const at = from + (event.offsetX / row.canvas.clientWidth) * (until - from);
      return this._tell(row, row.cells.find((cell) => cell[0] <= at && at < cell[1]) ?? null);
    }

    /** Tell what is known of a cell, and mark it. */
    _tell(row, cell) {
      if (this._marked) this._drawRow(this._marked);
      this._marked = row && cell && row;
      if (!row || !cell) {
        this._legend.replaceChildren(element("span", { textContent: "Point at a cell for its numbers." }));
        return;
      }
      this._drawRow(row, cell);
      const [first, after, status, open, trades, volume, missing] = cell;
      const [name, meaning] = this._data.statuses[status];
      const when = this._data.unit === "day" ? day(first) : `${day(first)} to ${day(after - 1)}`;
      const parts = [
        element("b", { textContent: row.name }),
        element("time", { textContent: when }),
        ...(volume === null ? [] : [element("span", { textContent: `${plain(volume)} ${row.base}` })]),
        element("span", { textContent: counted(trades, "trade") }),
        element("span", { className: `tag ${name}`, textContent: `${name}: ${meaning}` }),
      ];
      if (open && this._data.unit !== "day") parts.push(element("span", { textContent: counted(open, "open day") }));
      if (missing) parts.push(element("span", { textContent: `${thousands(missing)} missing` }));
      this._legend.replaceChildren(...parts);
    }
  }

  const draw = (root, data) => new View(root, data);
  start("days", draw);
  return { draw, ticks };
})();
