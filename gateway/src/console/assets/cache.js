// What each gateway would answer for a key, and its invalidation, with the time until nobody can read an older value.

import { call, get, segment, tried } from "./api.js";
import { announce, badge, button, field, h, note, problemNote, table } from "./dom.js";
import { count, duration, number } from "./format.js";

export const title = "Cache";

export function show({ place, query, signal, go }) {
  const key = query.get("key") ?? "";
  const said = h("div");
  const found = h("div");
  const wanted = field("key", "Key", h("input", { value: key, required: true, autocomplete: "off", size: "36" }));
  const look = (event) => {
    event.preventDefault();
    go(`/console/cache?key=${segment(wanted.control.value)}`);
  };
  place.append(h("p", { class: "soft" }, "Looking neither loads nor refreshes anything. Invalidate a key whose data was changed elsewhere: the next read loads it anew."),
    h("form", { class: "row", on: { submit: look } }, wanted.element, h("button", { class: "first" }, "Look")), said, found);
  if (!key) return;

  const failed = (problem) => said.replaceChildren(problemNote(problem));
  const inspect = () => tried(signal, async () => {
    found.replaceChildren(...shown(await get(`/cache/debug/${segment(key)}`, signal)));
  }, failed);
  const read = () => tried(signal, async () => {
    const answer = await call("GET", `/data/${segment(key)}`, { signal });
    said.replaceChildren(note("", "Read: ", h("code", null, answer.headers.get("cache-status") ?? "")));
    await inspect();
  }, failed);
  const invalidate = () => tried(signal, async () => {
    const begun = performance.now();
    const { seq, fenced } = await (await call("DELETE", `/cache/${segment(key)}`)).json();
    const took = duration(performance.now() - begun);
    const text = fenced ? `Nobody reads an older value of it any more: fenced in ${took}, invalidation ${number(seq)}.` : `Invalidation ${number(seq)} is under way.`;
    said.replaceChildren(note("good", text));
    announce(text);
    await inspect();
  }, failed);
  found.before(h("div", { class: "actions" }, button("Invalidate", invalidate, { class: "harm", "aria-label": `Invalidate ${key}` }),
    button("Look again", inspect), button("Read it", read, { title: "As a client does: it fills the caches" })));
  inspect();
}

function whyNot(held) {
  if (held.would_serve) return badge("would serve it", "good");
  if (!held.current) return badge("invalidated since", "warn");
  if (held.expired) return badge("expired", "warn");
  return badge("no valid lease", "warn");
}

const versionOf = (held) => (held.absent ? "known to be absent" : held.is_override ? "an override" : `version ${held.version ?? "unknown"}`);

function shown(debug) {
  const near = table("What each gateway would answer", ["Gateway", "Lease", "Holds", "So it", { title: "Read", class: "n" }, { title: "Invalidations applied", class: "n" }], "No gateway answered.");
  near.fill(debug.gateways.map(({ gateway, lease, held }) => [gateway, [
    gateway, [String(lease.valid), () => (lease.valid ? badge("valid", "good") : badge("lapsed", "warn"))],
    held ? versionOf(held) : "nothing", [String(held?.would_serve ?? "none"), () => (held ? whyNot(held) : badge("would load it", "idle"))],
    held ? `${duration(held.age_ms)} ago` : "–", number(lease.applied),
  ]]));
  const { shared } = debug;
  const facts = [
    ["Shared cache", shared ? `${versionOf(shared)}, read ${duration(shared.age_ms)} ago, kept for ${duration(shared.ttl_ms)}${shared.tags.length > 0 ? `, tags ${shared.tags.join(", ")}` : ""}` : "holds nothing"],
    ["Invalidations", `${number(debug.seq)} issued, fenced up to ${debug.fenced === null ? "none" : number(debug.fenced)}`],
    ["Sequencer's tenure", `epoch ${debug.term.epoch}`],
  ];
  return [
    debug.silent > 0 ? note("warn", `${count(debug.silent, "gateway")} with a lease did not answer within a second.`) : "",
    near.element, h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]).flat()),
  ];
}
