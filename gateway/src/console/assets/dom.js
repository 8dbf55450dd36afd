// Elements without markup in strings: whatever a job or a key is called, it is shown as text.

import { time } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

export const link = (href, ...children) => h("a", { href }, ...children);

export const button = (text, act, attributes) => h("button", { type: "button", on: { click: act }, ...attributes }, text);

export const when = (text) => (text ? h("time", { datetime: text, title: new Date(text).toString() }, time(text)) : "–");

const MOODS = { succeeded: "good", running: "busy", failed: "bad", scheduled: "warn", cancelled: "idle", queued: "idle" };

export const badge = (text, mood) => h("span", { class: `badge ${mood ?? MOODS[text] ?? ""}` }, text);

// Says something to whoever cannot see that it happened.
export function announce(text) {
  document.getElementById("said").textContent = text;
}

// A table that is filled again and again. `rows` are [key, cells]; a cell is text, or [key, make] for an element that is made anew only when
// its key changes, so that what has the focus keeps it.
export function table(caption, columns, empty) {
  const body = h("tbody");
  const heads = columns.map((column) => h("th", { scope: "col", class: column.class }, column.title ?? column));
  const nothing = h("p", { class: "soft" }, empty);
  nothing.hidden = true;
  const region = h("div", { class: "table", role: "region", "aria-label": caption, tabindex: "0" },
    h("table", null, h("caption", { class: "unseen" }, caption), h("thead", null, h("tr", null, heads)), body));
  const element = h("div", null, region, nothing);
  const known = new Map();
  const fill = (rows) => {
    const wanted = rows.map(([key, cells]) => {
      const row = known.get(key) ?? h("tr", null, cells.map((_, index) => cellOf(columns, index)));
      known.set(key, row);
      cells.forEach((cell, index) => put(row.children[index], cell));
      return row;
    });
    const keys = new Set(rows.map(([key]) => key));
    for (const key of [...known.keys()]) if (!keys.has(key)) known.delete(key);
    for (const row of [...body.children]) if (!wanted.includes(row)) row.remove();
    wanted.forEach((row, index) => {
      if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    });
    region.hidden = rows.length === 0;
    nothing.hidden = rows.length > 0;
  };
  return { element, fill };
}

const cellOf = (columns, index) => (index === 0 ? h("th", { scope: "row", class: columns[0].class }) : h("td", { class: columns[index].class }));

function put(element, cell) {
  const [key, make] = Array.isArray(cell) ? cell : [cell, () => cell];
  if (element.shownKey === key) return;
  element.shownKey = key;
  element.replaceChildren(make());
}

// What went wrong, as the answer says it.
export function problemNote(problem) {
  const errors = (problem.errors ?? []).map((error) => h("li", null, h("code", null, error.pointer || "/"), " ", error.detail));
  return h("div", { class: "note bad", role: "alert" },
    h("p", null, h("strong", null, problem.title), problem.status ? ` (${problem.status})` : null),
    problem.detail ? h("p", null, problem.detail) : null,
    errors.length > 0 ? h("ul", null, errors) : null);
}

export const note = (mood, ...children) => h("div", { class: `note ${mood}`, role: "status" }, h("p", null, ...children));

// Resolves to whether the person wants it.
export function confirm(title, text, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "question" },
      h("form", { method: "dialog" },
        h("h2", { id: "question" }, title), h("p", null, text),
        h("div", { class: "actions" },
          h("button", { value: "yes", class: "first" }, yes), h("button", { value: "no", autofocus: true }, "Leave it"))));
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// A labelled control with room for a hint and for what is wrong with it.
export function field(name, label, control, { hint, wide } = {}) {
  const wrong = h("span", { class: "wrong", id: `${name}-wrong` });
  const described = [hint ? `${name}-hint` : null, `${name}-wrong`].filter(Boolean).join(" ");
  filled(control, { id: name, name, "aria-describedby": described }, []);
  const element = h("div", { class: wide ? "field wide" : "field" },
    h("label", { for: name }, label), control,
    hint ? h("span", { class: "hint", id: `${name}-hint` }, hint) : null, wrong);
  return { element, control, name, say: (text) => {
    wrong.textContent = text;
    if (text) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  } };
}

// Shows each error of a problem beside its field, and the rest in `place`; the first field at fault gets the focus.
export function showProblem(problem, fields, place) {
  const rest = [];
  let first = null;
  for (const error of problem.errors ?? []) {
    const of = fields.find((candidate) => candidate.name === error.pointer.split("/")[1]);
    if (of) {
      of.say(error.detail);
      first ??= of.control;
    } else rest.push(error);
  }
  place.replaceChildren(problemNote({ ...problem, errors: rest }));
  const folded = first?.closest("details");
  if (folded) folded.open = true;
  first?.focus();
}
