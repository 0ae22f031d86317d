/*
 * What the charts share: words, elements, colours, and how a page starts one.
 *
 * Nothing is fetched, and no text of the data becomes markup.
 */
"use strict";

globalThis.ChartParts = (() => {
  const thousands = (value) => value.toLocaleString("en-US");
  const counted = (value, noun) => `${thousands(value)} ${noun}${value === 1 ? "" : "s"}`;

  /** Return a decimal's text with thousands apart and without zeros at its end. */
  function plain(text) {
    const [whole, rest = ""] = text.split(".");
    const digits = rest.replace(/0+$/, "");
    return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (digits && `.${digits}`);
  }

  /** Return a number for an axis: 1.2K, 3M. */
  const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

  /** Return an element with these properties and children; strings become text, never markup. */
  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  /** Return an entry of the legend below a chart. */
  const key = (name, text) => element("li", {}, element("i", { className: `key ${name}` }), text);

  /** Return the colours of the style sheet with these names, as they are now: in light or in dark. */
  function colours(root, names) {
    const style = getComputedStyle(root);
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  /** Call when the system becomes light or dark. */
  const onScheme = (call) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", call);

  /** Draw the charts of this kind that the page has; each stays reachable as `view` of its element. */
  function start(kind, draw) {
    for (const root of document.querySelectorAll(`[data-chart="${kind}"]`)) {
      root.classList.add("chart", kind);
      root.view = draw(root, JSON.parse(document.getElementById(root.dataset.source).textContent));
    }
  }

  return { colours, compact, counted, element, key, onScheme, plain, start, thousands };
})();
