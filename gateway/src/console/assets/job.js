// One job: what it is, how it gets on while one looks, what was kept of it, and what can be done with it.

import { get, post, segment, text, tried } from "./api.js";
import { announce, button, confirm, h, link, note, problemNote, when } from "./dom.js";
import { count, duration, pretty, words } from "./format.js";
import { statusOf } from "./jobs.js";
import { follow } from "./live.js";
import { timeline } from "./timeline.js";

export const title = "Job";

// Larger JSON is shown in its first part, with a link to all of it.
const SHOWN_MAX = 100_000;
const ENDED = ["succeeded", "failed", "cancelled"];

const section = (heading, ...children) => h("section", null, h("h2", null, heading), ...children);

const block = (label, content) => h("pre", { tabindex: "0", role: "region", "aria-label": label }, content);

function shownJson(label, json, path) {
  if (json.length <= SHOWN_MAX) return block(label, pretty(json));
  return h("div", null, block(label, json.slice(0, SHOWN_MAX)),
    h("p", null, `These are the first ${count(SHOWN_MAX, "character")} of ${count(json.length, "character")}. `, h("a", { href: path }, "All of it")));
}

function facts(job) {
  const rows = [
    ["Status", statusOf(job)], ["Id", h("code", null, job.job_id)], ["Queue", job.queue], ["Priority", job.priority],
    ["Run", String(job.run)], ["Attempt", `${job.attempt} of ${job.max_attempts}`],
    job.crashes ? ["Crashes", String(job.crashes)] : null,
    ["Submitted", when(job.created_at)],
    job.run_at ? ["Due", when(job.run_at)] : null,
    job.started_at ? ["Started", when(job.started_at)] : null,
    job.finished_at ? ["Ended", when(job.finished_at)] : null,
    job.started_at && job.finished_at ? ["Took", duration(new Date(job.finished_at) - new Date(job.started_at))] : null,
    job.start_by ? ["Must start by", when(job.start_by)] : null,
    job.timeout_ms ? ["Timeout of an attempt", duration(job.timeout_ms)] : null,
    job.unique_key ? ["Unique key", h("code", null, job.unique_key)] : null,
    job.invalidates ? ["Invalidates", h("span", null, job.invalidates.map((key) => [link(`/console/cache?key=${segment(key)}`, key), " "]).flat())] : null,
  ];
  return rows.filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]).flat();
}

function progressOf(job) {
  if (job.status !== "running") return [];
  const { fraction, message } = job.progress ?? {};
  const bar = h("progress", { max: 1, value: fraction, "aria-label": "Progress" });
  const said = [fraction === undefined ? null : `${Math.round(fraction * 100)} %`, message].filter(Boolean).join(", ");
  return [h("p", { id: "progress" }, bar, " ", h("span", null, said || "It has not told how far it is."))];
}

function explained(explanation) {
  const { position, workers, lease } = explanation;
  const parts = [
    position ? `${position.exact ? "" : "More than "}${count(position.ahead, "job")} before it.` : null,
    workers ? `${count(workers.sessions, "live worker")} of ${workers.consumers} know the task: ${workers.busy} of ${count(workers.slots, "slot")} busy.` : null,
    lease ? `Its fence is ${lease.fence}, its lease ${duration(lease.lease_ms)}${lease.worker ? "" : ", and its worker is gone"}.` : null,
  ];
  return h("p", null, [explanation.reason, ...parts].filter(Boolean).join(" "));
}

function logsOf({ attempts }) {
  if (attempts.length === 0) return [h("p", { class: "soft" }, "No attempt that has ended wrote anything.")];
  return attempts.map((attempt) => {
    const name = `Run ${attempt.run}, attempt ${attempt.attempt}`;
    const streams = ["stdout", "stderr"].filter((stream) => attempt[stream].text || attempt[stream].truncated);
    return h("div", null, h("h3", null, `${name} (${attempt.ended === "released" ? "given back" : attempt.ended})`),
      streams.map((stream) => [
        h("p", { class: "soft" }, stream, attempt[stream].truncated ? ", the last 64 KiB" : ""), block(`${stream} of ${name}`, attempt[stream].text),
      ]).flat());
  });
}

export function show({ place, id, signal, go, entitle }) {
  const path = `/jobs/${segment(id)}`;
  const said = h("div");
  const parts = Object.fromEntries(["actions", "progress", "facts", "error", "why", "times", "payload", "result", "logs"].map((name) => [name, h(name === "facts" ? "dl" : "div")]));
  const why = section("Why it is where it is", parts.why);
  why.hidden = true;
  parts.actions.className = "actions";
  parts.facts.className = "facts";
  place.append(said);
  const failed = (problem) => {
    const unknown = { ...problem, title: "No such job", detail: `No job has the id ${id}, or it is not remembered any more.` };
    said.replaceChildren(problemNote(problem.status === 404 ? unknown : problem));
  };

  const act = async (request, done) => {
    said.replaceChildren();
    await tried(signal, async () => {
      await request();
      said.replaceChildren(note("good", done));
    }, failed);
    if (!signal.aborted) await again();
  };
  const cancel = async (job) => {
    const text = job.status === "running" ? "Its worker is asked to stop. If it succeeds before that, it has succeeded." : "It will not run.";
    if (await confirm("Cancel the job?", text, "Cancel the job")) await act(() => post(`${path}/cancel`), "The job was asked to end.");
  };

  const observed = timeline();
  let shownAs = "";
  const render = (job) => {
    entitle(`Job ${job.task}`);
    observed.saw(job);
    parts.progress.replaceChildren(...progressOf(job));
    parts.facts.replaceChildren(...facts(job));
    parts.error.replaceChildren(job.error ? h("div", { class: `note ${job.status === "failed" ? "bad" : "warn"}` },
      h("p", null, h("strong", null, words(job.error.kind)), ENDED.includes(job.status) ? "" : ", in the last attempt"), block("Error message", job.error.message)) : "");
    parts.times.replaceChildren(observed.list(job));
    const state = `${job.run} ${job.attempt} ${job.status} ${job.cancel_requested_at ?? ""}`;
    if (state === shownAs) return;
    const isFirst = shownAs === "";
    shownAs = state;
    const isOver = ENDED.includes(job.status);
    const canRetry = job.status === "failed" || job.status === "cancelled";
    const focused = parts.actions.contains(document.activeElement);
    parts.actions.replaceChildren(...[
      isOver ? null : button("Cancel", () => cancel(job), { class: "harm", disabled: Boolean(job.cancel_requested_at) }),
      canRetry ? button("Retry", () => act(() => post(`${path}/retry`), "A new run is open."), { class: "first" }) : null,
      h("a", { class: "button", href: `/console/submit?from=${job.job_id}` }, "Edit and replay"),
    ].filter(Boolean));
    if (focused) document.querySelector("h1").focus();
    if (!isFirst) announce(`The job is ${words(job.status)}.`);
    readParts(job, isOver);
  };

  const readParts = (job, isOver) => tried(signal, async () => {
    const [logs, explanation, result] = await Promise.all([
      get(`${path}/logs`, signal), isOver ? null : get(`${path}/explain`, signal), job.status === "succeeded" ? text(`${path}/result`, signal) : null,
    ]);
    observed.logs(logs);
    parts.times.replaceChildren(observed.list(job));
    parts.logs.replaceChildren(...logsOf(logs));
    why.hidden = explanation === null;
    parts.why.replaceChildren(explanation ? explained(explanation) : "");
    parts.result.replaceChildren(result === null ? h("p", { class: "soft" }, isOver ? "It has none." : "None yet.") : shownJson("Result", result, `${path}/result`));
  }, failed);

  // After a retry the stream of the run before is over.
  let following = new AbortController();
  signal.addEventListener("abort", () => following.abort());
  const again = () => tried(signal, async () => {
    const job = await get(path, signal);
    following.abort();
    following = new AbortController();
    render(job);
    if (ENDED.includes(job.status)) return;
    const handle = (event) => {
      render(event);
      return ENDED.includes(event.status);
    };
    follow(`${path}/events`, { status: handle, progress: handle }, following.signal);
  }, failed);

  tried(signal, async () => {
    const payload = await text(`${path}/payload`, signal);
    parts.payload.append(payload === "null" ? h("p", { class: "soft" }, "It has none.") : shownJson("Payload", payload, `${path}/payload`));
    place.append(parts.actions, parts.progress, parts.error, parts.facts, why, section("Timeline", parts.times),
      section("Payload", parts.payload), section("Result", parts.result), section("Logs", parts.logs));
    await again();
  }, failed);
}
