"use strict";
// Small things that all parts of the page use. Whatever it shows is set as text, never as markup: names and messages
// come from files that anybody may have written.

const byId = id => document.getElementById(id);

const make = (tag, kind = "", text = "", ...children) => {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};

// Sets what has changed only, so that a selection stays.
const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const paint = (node, kind) => { if (node.className !== kind) node.className = kind; };

// Makes the children of `parent` those of `items`, in their order. A child stays while there is an item with its key.
const sync = (parent, items, key, build, update) => {
  const before = parent.byKey ?? new Map();
  const next = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const node = before.get(key(item)) ?? build(item);
    next.set(key(item), node);
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const [id, node] of before) if (!next.has(id)) node.remove();
  parent.byKey = next;
};

const NOTHING = "–";

// A number per second, or any other that may be unknown.
const figure = value => {
  if (value === null || value === undefined || Number.isNaN(value)) return NOTHING;
  if (value >= 1e6) return (value / 1e6).toFixed(1) + "M";
  if (value >= 1e4) return (value / 1e3).toFixed(1) + "k";
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toString() : value.toFixed(1);
};

const milliseconds = value => {
  if (value === null || value === undefined || Number.isNaN(value)) return NOTHING;
  if (value >= 1e4) return (value / 1e3).toFixed(0) + " s";
  return value >= 1e3 ? (value / 1e3).toFixed(1) + " s" : value.toFixed(value > 0 && value < 10 ? 1 : 0) + " ms";
};

const percent = share => share === null ? NOTHING : (share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0) + " %";

const span = seconds => {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return whole + " s";
  if (whole < 7200) return Math.floor(whole / 60) + " min";
  return whole < 172800 ? Math.floor(whole / 3600) + " h" : Math.floor(whole / 86400) + " days";
};

// The time of day, with the date if it was another day.
const moment = (ms, now) => {
  const at = new Date(ms);
  const time = at.toLocaleTimeString([], { hour12: false });
  return at.toDateString() === new Date(now).toDateString() ? time : at.toLocaleDateString() + " " + time;
};

// When something began, and how long ago that is. Both clocks are the server's.
const since = (text, now) => `since ${moment(Date.parse(text), now)} (${span((now - Date.parse(text)) / 1000)})`;

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
