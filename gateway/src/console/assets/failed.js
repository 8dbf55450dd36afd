// Failed jobs, grouped by what went wrong; and many retried at once, after a look at how many they are.

import { call, get, post, tried } from "./api.js";
import { announce, badge, button, field, h, link, note, problemNote, showProblem, table, when } from "./dom.js";
import { count, number, words } from "./format.js";
import { followChanges } from "./live.js";

export const title = "Failed jobs";

// The newest ones are grouped, page by page, up to so many jobs or characters of messages.
const JOBS_MAX = 1000;
const PAGE = 100;
const TEXT_MAX = 4_000_000;
// All of them are read again for each refresh.
const REFRESHED_EVERY_MS = 5000;
const KINDS = ["failed", "timeout", "panic", "crashed", "deadline"];

// Messages that differ in numbers and ids only are one error.
function sameness(message) {
  const line = message.split("\n")[0].slice(0, 200);
  return line.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/gi, "…").replace(/0x[0-9a-f]+|\d+/gi, "…");
}

async function newest(signal) {
  const jobs = [];
  let cursor = "";
  let size = 0;
  while (cursor !== null && jobs.length < JOBS_MAX && size < TEXT_MAX) {
    const page = await get(`/jobs?status=failed&limit=${PAGE}${cursor ? `&cursor=${cursor}` : ""}`, signal);
    jobs.push(...page.jobs);
    size += page.jobs.reduce((sum, job) => sum + (job.error?.message.length ?? 0), 0);
    cursor = page.next_cursor;
  }
  return { jobs, hasMore: cursor !== null };
}

function grouped(jobs) {
  const groups = new Map();
  for (const job of jobs) {
    const error = job.error ?? { kind: "failed", message: "" };
    const key = JSON.stringify([job.task, job.queue, error.kind, sameness(error.message)]);
    if (!groups.has(key)) groups.set(key, { key, job, error, count: 0 });
    groups.get(key).count += 1;
  }
  return [...groups.values()].sort((left, right) => right.count - left.count);
}

export function show({ place, signal }) {
  const failed = h("div");
  const how = h("p", { class: "soft" });
  const groups = table("Failed jobs by error", [{ title: "Jobs", class: "n" }, "Task", "Queue", "Error", "Newest", "Replay"], "No job has failed, or all were replayed.");
  const replays = table("Replays", ["Begun", "Which", "State", { title: "Retried", class: "n" }, { title: "Skipped", class: "n" }, { title: "Jobs / s", class: "n" }, "Stop"],
    "None has been made yet.");
  const form = replayForm(signal, () => read());
  place.append(failed, how, groups.element, h("h2", null, "Replay by filter"), form.element, h("h2", null, "Replays"), replays.element);

  const rowOf = ({ key, job, error, count: jobs }) => [key, [
    number(jobs), [job.task, () => link(`/console/jobs?status=failed&task=${encodeURIComponent(job.task)}`, job.task)], job.queue,
    [key, () => h("div", { class: "wrap" }, badge(words(error.kind), "bad"), ` ${error.message.split("\n")[0].slice(0, 200)}`)],
    [job.job_id, () => link(`/console/jobs/${job.job_id}`, when(job.finished_at))],
    [key, () => button("Choose…", () => form.choose(job), { "aria-label": `Choose… jobs of ${job.task} that ended with ${error.kind}` })],
  ]];
  const which = (one) => [words(one.status), one.task ?? "all tasks", one.queue ? `queue ${one.queue}` : "", one.error_kind ? words(one.error_kind) : ""].filter(Boolean).join(", ");
  const stop = (one) => tried(signal, async () => {
    await call("DELETE", `/jobs:retry/${one.retry_id}`);
    announce("The replay is stopped.");
    await read();
  }, (problem) => failed.replaceChildren(problemNote(problem)));
  const replayRow = (one) => [one.retry_id, [
    [one.created_at, () => when(one.created_at)], which(one), [one.state, () => badge(one.state, one.state === "running" ? "busy" : "idle")],
    number(one.retried), number(one.skipped), number(one.rate_per_second),
    [one.state, () => (one.state === "running" ? button("Stop", () => stop(one), { "aria-label": `Stop the replay of ${which(one)}` }) : h("span"))],
  ]];

  const read = () => tried(signal, async () => {
    const [{ jobs, hasMore }, { retries }] = await Promise.all([newest(signal), get("/jobs:retry", signal)]);
    failed.replaceChildren();
    how.textContent = hasMore
      ? `These are the newest ${count(jobs.length, "failed job")}; there are more. Messages that differ only in numbers and ids are one error.`
      : `${count(jobs.length, "failed job")} in all. Messages that differ only in numbers and ids are one error.`;
    groups.fill(grouped(jobs).map(rowOf));
    replays.fill(retries.map(replayRow));
  }, (problem) => failed.replaceChildren(problemNote(problem)));
  read();
  followChanges(read, signal, { leastMs: REFRESHED_EVERY_MS });
}

function select(options, first) {
  return h("select", null, first ? h("option", { value: "" }, first) : null, options.map((option) => h("option", { value: option }, words(option))));
}

function replayForm(signal, done) {
  const fields = {
    status: field("status", "Jobs that", select(["failed", "cancelled"])),
    task: field("task", "Task", h("input", { autocomplete: "off" }), { hint: "Empty: all tasks" }),
    queue: field("queue", "Queue", h("input", { autocomplete: "off" }), { hint: "Empty: all queues" }),
    error_kind: field("error_kind", "Kind of error", select(KINDS, "any")),
    after: field("after", "Ended at or after", h("input", { type: "datetime-local", step: "1" })),
    before: field("before", "Ended before", h("input", { type: "datetime-local", step: "1" })),
    rate_per_second: field("rate_per_second", "Jobs per second", h("input", { type: "number", min: "1", max: "10000", value: "100" })),
    limit: field("limit", "At most", h("input", { type: "number", min: "1" }), { hint: "Empty: all of them" }),
  };
  const all = Object.values(fields);
  const answer = h("div");
  // What was looked at is what is replayed: a change of the form asks for another look.
  let looked = null;
  const body = () => {
    const asked = { status: fields.status.control.value };
    for (const name of ["task", "queue", "error_kind"]) if (fields[name].control.value.trim()) asked[name] = fields[name].control.value.trim();
    for (const name of ["after", "before"]) if (fields[name].control.value) asked[name] = new Date(fields[name].control.value).toISOString();
    for (const name of ["rate_per_second", "limit"]) if (fields[name].control.value) asked[name] = Number(fields[name].control.value);
    return asked;
  };
  const clear = () => all.forEach((one) => one.say(""));
  const refused = (problem) => showProblem(problem, all, answer);
  const replay = () => tried(signal, async () => {
    const begun = await post("/jobs:retry", looked);
    looked = null;
    answer.replaceChildren(note("good", `The replay has begun: up to ${count(begun.rate_per_second, "job")} a second. What becomes of it stands below.`));
    done();
  }, refused);
  const look = (event) => {
    event.preventDefault();
    clear();
    const asked = body();
    return tried(signal, async () => {
      const preview = await post("/jobs:retry", { ...asked, dry_run: true });
      looked = asked;
      const jobs = asked.limit ? Math.min(asked.limit, preview.matching) : preview.matching;
      const text = `${preview.exact ? "" : "More than "}${count(preview.matching, "job")} ${preview.matching === 1 ? "is" : "are"} like that.`;
      answer.replaceChildren(note("", text),
        jobs > 0 ? h("div", { class: "actions" }, button(`Replay ${preview.exact ? count(jobs, "job") : "them"}`, replay, { class: "first" })) : "",
        h("ul", null, preview.sample.map((job) => h("li", null, link(`/console/jobs/${job.job_id}`, job.task), " ", h("span", { class: "soft" }, job.error?.message.split("\n")[0].slice(0, 120) ?? "")))));
    }, refused);
  };
  const changed = () => {
    looked = null;
    answer.replaceChildren();
  };
  const element = h("form", { class: "fields", on: { submit: look, input: changed } }, all.map((one) => one.element),
    h("p", { class: "field wide soft" }, "Jobs are chosen by how and when they ended, not by their message. Nothing is replayed before you have seen how many they are."),
    h("div", { class: "field wide" }, h("div", { class: "actions" }, h("button", null, "Look (dry run)")), answer));
  return { element, choose(job) {
    changed();
    clear();
    fields.status.control.value = "failed";
    fields.task.control.value = job.task;
    fields.queue.control.value = job.queue;
    fields.error_kind.control.value = job.error?.kind ?? "";
    fields.task.control.focus();
  } };
}
