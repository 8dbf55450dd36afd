// The page at /docs: draws openapi.json and sends requests. No library and no build step. All that is shown is made of text nodes, so
// nothing that the document or an answer says can become markup or script.
"use strict";

const METHODS = ["get", "put", "post", "delete"];
let api;
/** What answers have told: the id of the last job and the last lease, offered where one is asked for. */
const known = { job: "", lease: "" };

const make = (tag, attributes, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
};

/** Paragraphs with `code` and **weight**, which is all the Markdown that the document has. */
const inline = (text) =>
  text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
    return part;
  });
const prose = (text) => (text ?? "").split(/\n\s*\n/).filter((part) => part.trim()).map((part) => make("p", {}, inline(part.trim())));

const resolve = (thing) => {
  const path = thing?.$ref?.slice(2).split("/");
  return path ? path.reduce((at, step) => at?.[step.replaceAll("~1", "/").replaceAll("~0", "~")], api) : thing;
};
const nameOf = (thing) => thing.$ref?.split("/").pop();

// Schemas

const alternatives = (schema) => schema.oneOf ?? schema.anyOf;
/** The alternatives that are more than "not there". */
const valued = (schema) => alternatives(schema)?.filter((one) => one.type !== "null") ?? [schema];

/** Whether there is nothing behind its name but a bare value. */
const isSimple = (schema) => !(alternatives(schema) || schema.allOf || schema.items || schema.properties);

/** The type in a few words: `array of Submit`, `string (uuid) or null`. */
const kind = (schema) => {
  if (schema === undefined || schema === true) return "any JSON";
  if (schema.$ref) return isSimple(resolve(schema)) ? kind(resolve(schema)) : nameOf(schema);
  if (alternatives(schema)) return [...valued(schema).map(kind), ...(valued(schema).length < alternatives(schema).length ? ["null"] : [])].join(" or ");
  if (schema.allOf) return "object";
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  const types = [schema.type ?? "any JSON"].flat();
  return types
    .map((type) => {
      if (type === "array") return `array of ${kind(schema.items)}`;
      return type === "string" && schema.format ? `string (${schema.format})` : type;
    })
    .join(" or ");
};

/** The bounds that a value has to keep. */
const bounds = (schema) => {
  const has = (name) => schema[name] !== undefined;
  const number = (value) => value.toLocaleString("en");
  const range = (low, high, what) => {
    if (has(low) && has(high)) return schema[low] === schema[high] ? `${number(schema[low])}${what}` : `${number(schema[low])} to ${number(schema[high])}${what}`;
    return has(high) ? `at most ${number(schema[high])}${what}` : has(low) && schema[low] > 0 && `at least ${number(schema[low])}${what}`;
  };
  return [
    range("minimum", "maximum", ""), range("minLength", "maxLength", " characters"), range("minItems", "maxItems", " items"),
    has("default") && `default ${JSON.stringify(schema.default)}`, has("pattern") && `matches \`${schema.pattern}\``,
  ].filter(Boolean).join("; ");
};
const note = (text) => text && make("div", { class: "note" }, inline(text));

/** The parts that a schema is made of, each once: objects and arrays of objects behind names, alternatives. */
const parts = (schema) => {
  if (!schema) return [];
  if (schema.items) return parts(schema.items);
  if (alternatives(schema)) return valued(schema).flatMap(parts);
  if (schema.allOf) return schema.allOf.flatMap(parts);
  return isSimple(resolve(schema)) ? [] : [schema];
};

const properties = (schema) => {
  const whole = resolve(schema);
  if (whole.allOf) return whole.allOf.flatMap(properties);
  return Object.entries(whole.properties ?? {}).map(([name, property]) => ({ name, property, needed: whole.required?.includes(name) }));
};

/** A schema from above; `seen` are the names around it, so that one which holds itself ends. */
const drawSchema = (schema, seen = []) => {
  const whole = resolve(schema);
  const rows = properties(schema).map(({ name, property, needed }) => {
    const [value] = valued(property);
    const target = resolve(value);
    return make("tr", {},
      make("td", {}, make("code", {}, name), " ", needed && make("span", { class: "required" }, "required")),
      make("td", {}, make("span", { class: "kind" }, kind(property)), prose(property.description ?? value.description ?? target.description),
        note(bounds(property) || bounds(target)), nested(property, seen)));
  });
  const several = alternatives(whole);
  return [
    prose(whole.description),
    note(!rows.length && !several && [kind(whole), bounds(whole)].filter(Boolean).join("; ")),
    several && several.map((one, index) => make("div", {}, note(index ? "or" : "either"), one.$ref ? nested(one, seen) : drawSchema(one, seen))),
    rows.length > 0 && make("table", { class: "rows" }, make("tbody", {}, rows)),
    whole.items && nested(whole.items, seen),
    whole.additionalProperties === false && note("Nothing else: an unknown member is refused with 422."),
  ];
};

/** What is behind the names of a schema, closed at first. */
const nested = (schema, seen) =>
  parts(schema).map((part) => {
    const name = nameOf(part) ?? "object";
    if (seen.includes(name)) return note(`${name}, as above`);
    return lazily(make("details", { class: "schema" }, make("summary", {}, make("span", { class: "kind" }, name))), () => drawSchema(part, [...seen, name]));
  });

/** Fills an element when it is opened for the first time. */
const lazily = (details, fill) => {
  details.addEventListener("toggle", () => details.append(...fill().flat(2).filter(Boolean)), { once: true });
  return details;
};

const show = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
const examplesOf = (media) => {
  const named = Object.entries(media?.examples ?? {}).map(([name, example]) => ({ name: example.summary ?? name, value: example.value }));
  return media?.example !== undefined ? [{ name: "example", value: media.example }, ...named] : named;
};

// Operations

const drawParameters = (operation) => {
  const rows = (operation.parameters ?? []).map((parameter) => {
    const schema = parameter.schema ?? {};
    return make("tr", {},
      make("td", {}, make("code", {}, parameter.name), " ", make("span", { class: "kind" }, parameter.in), " ",
        parameter.required && make("span", { class: "required" }, "required")),
      make("td", {}, make("span", { class: "kind" }, kind(schema)), prose(parameter.description), note(bounds(resolve(schema)))));
  });
  return rows.length ? [make("h3", {}, "Parameters"), make("table", { class: "rows" }, make("tbody", {}, rows))] : [];
};

const drawContent = (content) =>
  Object.entries(content ?? {}).map(([type, media]) => make("div", {},
    make("code", {}, type), " ", media.schema && make("span", { class: "kind" }, kind(media.schema)),
    media.schema && nested(media.schema, []),
    examplesOf(media).map(({ name, value }) => make("details", { class: "plain" },
      make("summary", {}, make("span", { class: "kind" }, name)), make("pre", {}, show(value))))));

const drawBody = (operation) => {
  const body = resolve(operation.requestBody);
  return body ? [make("h3", {}, "Body"), prose(body.description), drawContent(body.content)] : [];
};

const drawAnswers = (operation) => [
  make("h3", {}, "Answers"),
  Object.entries(operation.responses).map(([status, stated]) => {
    const answer = resolve(stated);
    const [first] = answer.description.split("\n");
    return lazily(
      make("details", { class: "answer" }, make("summary", {}, make("span", { class: `status s${status[0]}` }, status), " ", inline(first))),
      () => [make("div", { class: "inside" }, prose(answer.description.slice(first.length)), drawContent(answer.content), drawHeaders(answer.headers))]);
  }),
];

const drawHeaders = (headers) => {
  const rows = Object.entries(headers ?? {}).map(([name, header]) => make("tr", {}, make("td", {}, make("code", {}, name)), make("td", {}, inline(header.description ?? ""))));
  return rows.length > 0 && make("table", { class: "rows" }, make("tbody", {}, rows));
};

const drawOperation = ({ id, method, path, operation }) =>
  lazily(
    make("details", { class: "operation", id },
      make("summary", {}, make("span", { class: `method ${method}` }, method), make("span", { class: "path" }, path), make("span", { class: "said" }, inline(operation.summary ?? "")))),
    () => [make("div", { class: "inside" }, prose(operation.description), drawParameters(operation), drawBody(operation), drawTry(method, path, operation), drawAnswers(operation))]);

// Sending

const field = (label, control) => make("label", { class: "field" }, make("span", {}, label), control);

const drawTry = (method, path, operation) => {
  const inputs = (operation.parameters ?? []).map((parameter) => {
    const input = make("input", { class: "value", autocomplete: "off", spellcheck: "false", placeholder: parameter.example ?? "", required: parameter.required });
    if (parameter.required && parameter.example !== undefined) input.value = parameter.example;
    if (parameter.in === "path" && parameter.name === "id") input.dataset.id = path.startsWith("/leases/") ? "lease" : path.startsWith("/jobs/") ? "job" : "";
    if (input.dataset.id) input.value = known[input.dataset.id];
    return { parameter, input, control: field(make("span", {}, make("code", {}, parameter.name), " ", make("span", { class: "kind" }, parameter.in)), input) };
  });
  const body = bodyFields(operation);
  const answer = make("div", { role: "status" });
  const send = make("button", { class: "send", type: "submit" }, "Send");
  const stop = make("button", { type: "button", hidden: true, click: () => stopping?.abort() }, "Stop");
  const copy = make("button", { type: "button", click: () => copyText(copy, asCurl(request())) }, "Copy as curl");
  let stopping;
  const request = () => composed(method, path, inputs, body);
  const submit = async (event) => {
    event.preventDefault();
    stopping = new AbortController();
    [send.disabled, stop.hidden] = [true, false];
    await exchange(request(), answer, stopping.signal);
    [send.disabled, stop.hidden] = [false, true];
  };
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
  };
  return make("form", { class: "try", submit, keydown: keys }, make("h3", {}, "Try it"), inputs.map(({ control }) => control), body.controls,
    make("div", { class: "buttons" }, send, stop, copy), answer);
};

const bodyFields = (operation) => {
  const content = Object.entries(resolve(operation.requestBody)?.content ?? {});
  if (!content.length) return { controls: [], type: () => undefined, text: () => undefined };
  const examples = content.flatMap(([, media]) => examplesOf(media));
  const text = make("textarea", { class: "value", spellcheck: "false" });
  const fill = () => {
    text.value = show(examples[Math.max(choice.selectedIndex, 0)]?.value ?? "");
    text.rows = Math.min(text.value.split("\n").length + 1, 24);
  };
  const choice = make("select", { change: fill }, examples.map(({ name }) => make("option", {}, name)));
  fill();
  const type = make("select", {}, content.map(([name]) => make("option", {}, name)));
  return {
    controls: [content.length > 1 && field("Content-Type", type), examples.length > 1 && field("Example", choice), field("Body", text)],
    type: () => type.value,
    text: () => text.value,
  };
};

/** The request that a form describes; fields left empty are not sent. */
const composed = (method, path, inputs, body) => {
  const query = new URLSearchParams();
  const headers = {};
  let target = path;
  for (const { parameter, input } of inputs) {
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, () => encodeURIComponent(input.value));
    else if (input.value === "") continue;
    else if (parameter.in === "query") query.append(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  if (body.type()) headers["Content-Type"] = body.type();
  const search = query.size ? `?${query}` : "";
  return { method: method.toUpperCase(), url: new URL(`.${target}${search}`, new URL(".", location.href)), headers, body: body.text() };
};

const asCurl = ({ method, url, headers, body }) => {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const words = [`curl -i -X ${method} ${quoted(url.href)}`, ...Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`)];
  return (body === undefined ? words : [...words, `--data-binary ${quoted(body)}`]).join(" \\\n  ");
};

const copyText = async (button, text) => {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser forbids it";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
};

/** Sends a request and shows the answer as it comes, which for a stream of events may take long. */
const exchange = async ({ method, url, headers, body }, place, signal) => {
  const begin = performance.now();
  const took = () => `${Math.round(performance.now() - begin).toLocaleString("en")} ms`;
  place.replaceChildren(note("Waiting for the answer…"));
  try {
    const response = await fetch(url, { method, headers, body, signal, cache: "no-store" });
    const line = make("p", {}, make("span", { class: `status s${String(response.status)[0]}` }, String(response.status)), ` ${response.statusText} `, make("span", { class: "kind" }, took()));
    const shown = make("pre", { tabindex: "0", "aria-label": "Body of the answer" });
    const heads = make("details", { class: "plain" }, make("summary", {}, make("span", { class: "kind" }, "Headers")), make("pre", {}, [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n")));
    place.replaceChildren(line, heads, shown);
    let text = "";
    const decoder = new TextDecoder();
    const reader = response.body?.getReader();
    for (let read = await reader?.read(); read && !read.done; read = await reader.read()) {
      text += decoder.decode(read.value, { stream: true });
      shown.textContent = text;
    }
    shown.hidden = text === "";
    if (/json/.test(response.headers.get("content-type") ?? "")) remember(shown, text);
  } catch (error) {
    place.append(note(error.name === "AbortError" ? `Stopped after ${took()}.` : `No answer: ${error.message}`));
  }
};

/** Draws JSON with indents, and offers the ids in it to the other forms. */
const remember = (shown, text) => {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return;
  }
  // Numbers beyond 2^53 would come out as others.
  if (!/\d{16}/.test(text)) shown.textContent = JSON.stringify(value, null, 2);
  const lease = value?.leases?.[0];
  for (const [name, id] of [["job", lease?.job_id ?? value?.job_id], ["lease", lease?.lease_id]]) {
    if (typeof id !== "string") continue;
    known[name] = id;
    for (const input of document.querySelectorAll(`input[data-id="${name}"]`)) input.value = id;
  }
};

// The page

const listed = () =>
  Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method], id: item[method].operationId })));

const draw = () => {
  const main = document.getElementById("main");
  const contents = document.getElementById("contents");
  document.getElementById("state").remove();
  main.append(make("h1", {}, "The HTTP API of ", api.info.title, " ", make("small", {}, api.info.version, " · ", make("a", { href: "openapi.json" }, "openapi.json"))), ...prose(api.info.description));
  const all = listed();
  const entries = [];
  for (const tag of api.tags) {
    const own = all.filter(({ operation }) => operation.tags?.includes(tag.name));
    const section = make("section", {}, make("h2", {}, tag.name), prose(tag.description), own.map(drawOperation));
    const links = own.map((one) => make("li", {}, make("a", { href: `#${one.id}`, title: one.operation.summary ?? "" }, make("span", { class: `method ${one.method}` }, one.method), make("span", { class: "path" }, one.path))));
    const group = make("div", {}, make("h2", {}, tag.name), make("ul", {}, links));
    main.append(section);
    contents.append(group);
    entries.push({ section, group, items: own.map((one, index) => ({
      text: `${one.method} ${one.path} ${one.operation.summary} ${one.id}`.toLowerCase(), link: links[index], operation: document.getElementById(one.id),
    })) });
  }
  return entries;
};

const filter = (entries, words) => {
  for (const { section, group, items } of entries) {
    for (const { text, link, operation } of items) link.hidden = operation.hidden = !words.every((word) => text.includes(word));
    section.hidden = group.hidden = items.every(({ link }) => link.hidden);
  }
};

const openNamed = () => {
  const named = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
    named.querySelector("summary").focus({ preventScroll: true });
  }
};

const start = async () => {
  try {
    const response = await fetch("openapi.json");
    if (!response.ok) throw new Error(`the answer was ${response.status}`);
    api = await response.json();
  } catch (error) {
    document.getElementById("state").textContent = `The document could not be read: ${error.message}. Reload the page to try again.`;
    return;
  }
  const entries = draw();
  const input = document.getElementById("filter");
  input.addEventListener("input", () => filter(entries, input.value.toLowerCase().split(/\s+/)));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, textarea, select")) {
      event.preventDefault();
      input.focus();
    }
  });
  addEventListener("hashchange", openNamed);
  openNamed();
};

start();
