// The system now: rates, latency, queues, workers, caches, the balancer. Each event of the stream is all of it.

import { badge, h, link, note, svg, table } from "./dom.js";
import { count, duration, number, percent, rate, words } from "./format.js";
import { followOverview } from "./live.js";

export const title = "Overview";

// So many seconds are drawn.
const DRAWN = 120;

const MOODS = { healthy: "good", new: "busy", starting: "busy", draining: "warn", "left-out": "bad", unhealthy: "bad" };

function tile(name, what) {
  const value = h("span");
  const path = svg("path");
  const picture = svg("svg", { class: "spark", viewBox: "0 0 120 30", preserveAspectRatio: "none", role: "img" }, path);
  const past = [];
  return {
    element: h("div", { class: "tile" }, h("dt", null, name), h("dd", null, value, picture)),
    show(now, text, small) {
      past.push(now);
      if (past.length > DRAWN) past.shift();
      value.replaceChildren(text, " ", h("small", null, small ?? ""));
      const most = Math.max(...past, 1e-9);
      const from = DRAWN - past.length;
      const points = past.map((point, index) => `${from + index},${(29 - (27 * point) / most).toFixed(1)}`);
      path.setAttribute("d", `M${points.join("L")}`);
      picture.setAttribute("aria-label", `${what}, the last ${count(past.length, "second")}: now ${text}, at most ${number(most, 1)}`);
    },
  };
}

function section(heading, ...children) {
  return h("section", null, h("h2", null, heading), ...children);
}

const latencyOf = (latency) => (latency ? duration(latency.p99_ms) : "–");

export function show({ place, signal }) {
  const state = h("div");
  const tiles = {
    requests: tile("Requests", "Requests per second"),
    submits: tile("Jobs accepted", "Jobs accepted per second"),
    latency: tile("Latency, p99", "Milliseconds within which 99 of 100 answers begin"),
    waiting: tile("Jobs queued", "Jobs queued"),
    slots: tile("Slots busy", "Slots busy"),
    near: tile("Near cache hits", "Percent of the reads answered by the near cache"),
  };
  const queues = table("Queues", ["Queue", "State", n("Queued"), n("Running"), n("Scheduled"), n("Arrived / min"), n("Succeeded / min"), n("Failed / min"), n("Slots")],
    "There are no queues.");
  const tiers = table("Reads by the tier that answered", ["Tier", n("Reads / s"), n("Share")], "");
  const routes = table("The busiest routes", ["Route", n("Requests / s"), n("p50"), n("p99")], "No requests came in the last seconds.");
  const backends = table("Backends of the balancer",
    ["Backend", "State", n("Weight"), n("In flight"), n("Waiting"), n("Requests / s"), n("Mean"), n("Errors"), n("Failures"), n("Left out")], "It has no backends.");
  const balancer = h("div");
  const source = h("p", { class: "soft" });
  place.append(state, h("dl", { class: "tiles" }, Object.values(tiles).map((one) => one.element)),
    section("Queues", queues.element), section("Caches", tiers.element), section("Balancer", balancer, backends.element),
    section("Routes", routes.element), source);
  backends.element.hidden = true;
  state.append(h("p", { class: "soft" }, "Waiting for the first figures."));

  let before = null;
  followOverview((shown) => {
    const { rates, store } = shown;
    state.replaceChildren(store ? "" : note("bad", "The store does not answer: nothing can be said about queues and workers. Submits are answered 503 until it is back."));
    tiles.requests.show(rates.requests, rate(rates.requests), `/ s, ${rate(rates.failed)} failed`);
    tiles.submits.show(rates.submits, rate(rates.submits), "/ s");
    tiles.latency.show(rates.latency?.p99_ms ?? 0, latencyOf(rates.latency), rates.latency ? `p50 ${duration(rates.latency.p50_ms)}` : "no requests");
    if (store) showStore(store, tiles, queues);
    showReads(rates.reads, tiles.near, tiers);
    routes.fill(rates.routes.map((route) => [route.route,
      [route.route, rate(route.requests), route.latency ? duration(route.latency.p50_ms) : "–", latencyOf(route.latency)]]));
    before = showBalancer(shown.balancer, before, balancer, backends);
    source.textContent = `Rates and latencies are of the last ${number(rates.window_s)} s, from the process of gateway ${shown.gateway} (Longshore ${shown.version}); `
      + "with `longshore up` that is all gateways. Latency is from the head of a request to the head of its answer; requests that asked to wait are in it.";
  }, signal);
}

const n = (title) => ({ title, class: "n" });

function showStore(store, tiles, queues) {
  const queued = store.queues.reduce((sum, queue) => sum + queue.depth.queued, 0);
  tiles.waiting.show(queued, number(queued), store.queues.some((queue) => queue.paused) ? "some paused" : "");
  const { sessions, slots, busy } = store.workers;
  tiles.slots.show(busy, number(busy), `of ${number(slots)}, ${count(sessions, "worker")}`);
  queues.fill(store.queues.map((queue) => [queue.queue, [
    ["link", () => link(`/console/jobs?queue=${encodeURIComponent(queue.queue)}`, queue.queue)],
    [String(queue.paused), () => (queue.paused ? badge("paused", "warn") : badge("open", "good"))],
    number(queue.depth.queued), number(queue.depth.running), number(queue.depth.scheduled),
    number(queue.last_minute.arrived), number(queue.last_minute.succeeded), number(queue.last_minute.failed), number(queue.slots),
  ]]));
}

function showReads(reads, near, tiers) {
  const all = reads.near + reads.shared + reads.store + reads.stale;
  near.show(all > 0 ? (100 * reads.near) / all : 0, percent(reads.near, all), `of ${rate(all)} / s`);
  const names = { near: "near cache (in the gateway)", shared: "shared cache (cache-svc)", store: "store", stale: "stale, as both sides agreed" };
  tiers.fill(Object.entries(names).map(([tier, name]) => [tier, [name, rate(reads[tier]), percent(reads[tier], all)]]));
}

function showBalancer(balancer, before, place, table) {
  const said = {
    not_configured: "The gateways do not know a balancer's port for operators. Set LONGSHORE_ADMIN_LISTEN for lb and LONGSHORE_LB_ADMIN_URL for the gateways to see the backends here.",
    away: "The balancer's port for operators does not answer.",
  };
  table.element.hidden = balancer.state !== "up";
  if (balancer.state !== "up") {
    place.replaceChildren(note(balancer.state === "away" ? "warn" : "", said[balancer.state]));
    return null;
  }
  const { view } = balancer;
  const seconds = before ? view.uptime_s - before.uptime_s : 0;
  place.replaceChildren(h("p", { class: "soft" },
    `${count(view.connections, "connection")}, ${number(view.queued)} waiting for room, backends picked ${words(view.pick.replaceAll("-", "_"))}.`));
  const past = new Map((before?.backends ?? []).map((backend) => [backend.address, backend.requests]));
  table.fill(view.backends.map((backend) => [backend.address, [
    backend.address, [backend.state, () => badge(words(backend.state.replaceAll("-", "_")), MOODS[backend.state])],
    number(backend.weight), number(backend.in_flight), number(backend.waiting),
    seconds > 0 && past.has(backend.address) ? rate(Math.max(0, backend.requests - past.get(backend.address)) / seconds) : "–",
    duration(backend.mean_ms), number(backend.errors), number(backend.failures), number(backend.ejections),
  ]]));
  return view;
}
