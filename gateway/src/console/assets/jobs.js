// The jobs, newest first, page by page. Only the page that is shown is ever read, so a million jobs are as quick as ten.

import { tried, get } from "./api.js";
import { badge, button, field, h, link, problemNote, table, when } from "./dom.js";
import { duration, number, words } from "./format.js";
import { followChanges } from "./live.js";

export const title = "Jobs";

const PAGE = 50;
const STATUSES = ["queued", "running", "scheduled", "succeeded", "failed", "cancelled"];
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function address(query, changes) {
  const wanted = new URLSearchParams(query);
  wanted.delete("cursor");
  for (const [name, value] of Object.entries(changes)) {
    if (value) wanted.set(name, value);
    else wanted.delete(name);
  }
  const text = wanted.toString();
  return text ? `/console/jobs?${text}` : "/console/jobs";
}

function chips(query) {
  const chip = (text, status) => {
    const isHere = (query.get("status") ?? "") === status;
    return h("li", null, h("a", { href: address(query, { status }), "aria-current": isHere ? "true" : null }, text));
  };
  return h("ul", { class: "chips", "aria-label": "Status" }, chip("all", ""), STATUSES.map((status) => chip(status, status)));
}

function search(query, go, signal) {
  const task = field("task", "Task or job id", h("input", { type: "search", value: query.get("task") ?? "", autocomplete: "off", size: "36" }));
  const queue = field("queue", "Queue", h("select", null, h("option", { value: "" }, "all")));
  tried(signal, async () => {
    const { queues } = await get("/queues", signal);
    queue.control.append(...queues.map((one) => h("option", { value: one.queue }, one.queue)));
    queue.control.value = query.get("queue") ?? "";
  }, () => {});
  const found = (event) => {
    event.preventDefault();
    const wanted = task.control.value.trim();
    if (ID.test(wanted)) go(`/console/jobs/${wanted.toLowerCase()}`);
    else go(address(query, { task: wanted, queue: queue.control.value }));
  };
  return h("form", { class: "row", role: "search", on: { submit: found } }, task.element, queue.element, h("button", { class: "first" }, "Search"));
}

export function statusOf(job) {
  const why = job.waiting_for && job.waiting_for !== "slot" ? `waits for ${words(job.waiting_for)}` : "";
  return h("span", null, badge(job.status), why ? h("span", { class: "soft" }, ` ${why}`) : null);
}

function rowOf(job) {
  const took = job.started_at && job.finished_at ? duration(new Date(job.finished_at) - new Date(job.started_at)) : "";
  const fraction = job.status === "running" ? job.progress?.fraction : undefined;
  return [job.job_id, [
    [job.job_id, () => h("span", null, link(`/console/jobs/${job.job_id}`, job.task), h("span", { class: "id" }, job.job_id))],
    [`${job.status} ${job.waiting_for ?? ""}`, () => statusOf(job)],
    job.queue,
    [`${job.attempt} ${fraction}`, () => h("span", { class: "whole" }, `${job.attempt} of ${job.max_attempts} `,
      fraction === undefined ? null : h("progress", { value: fraction, max: 1, "aria-label": `Progress of ${job.task}` }))],
    [job.created_at, () => when(job.created_at)],
    took,
  ]];
}

export function show({ place, query, signal, go }) {
  const list = table("Jobs, newest first", ["Task", "Status", "Queue", "Attempt", "Submitted", { title: "Took", class: "n" }], "No jobs are like that.");
  const failed = h("div");
  const turn = h("div", { class: "actions" });
  place.append(search(query, go, signal), chips(query), failed, list.element, turn);

  const previous = history.state?.previous ?? [];
  const cursor = query.get("cursor") ?? "";
  const filters = new URLSearchParams(query);
  filters.set("limit", PAGE);
  let following = null;
  const newest = button("Newest", () => go(address(query, {})), { disabled: !cursor });
  const back = button("Previous", () => go(address(query, { cursor: previous.at(-1) }), { previous: previous.slice(0, -1) }), { disabled: previous.length === 0 });
  const next = button("Next", () => go(address(query, { cursor: following }), { previous: [...previous, cursor] }), { disabled: true });
  const where = h("span", { class: "soft" });
  turn.append(newest, back, next, where);

  const read = () => tried(signal, async () => {
    const page = await get(`/jobs?${filters}`, signal);
    failed.replaceChildren();
    list.fill(page.jobs.map(rowOf));
    following = page.next_cursor;
    next.disabled = following === null;
    const isShort = page.next_cursor && page.jobs.length < PAGE;
    where.textContent = isShort ? `${number(page.jobs.length)} of the jobs looked at are like that; there are older ones.` : "";
  }, (problem) => failed.replaceChildren(problemNote(problem)));

  read();
  followChanges(read, signal);
}
