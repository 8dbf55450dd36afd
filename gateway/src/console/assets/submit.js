// Submits a job and goes to its page, which follows it. With ?from=ID the form is filled with what that job was submitted with.

import { Problem, call, get, segment, text, tried } from "./api.js";
import { field, h, note, problemNote, showProblem } from "./dom.js";
import { pretty } from "./format.js";

export const title = "Submit a job";

function formFields() {
  const input = (attributes) => h("input", { autocomplete: "off", ...attributes });
  const ms = (most) => input({ type: "number", min: "0", max: String(most) });
  return {
    task: field("task", "Task", input({ required: true, list: "tasks" }), { hint: "The only field that is needed" }),
    queue: field("queue", "Queue", h("select")),
    priority: field("priority", "Priority", h("select", null, ["high", "normal", "low"].map((name) => h("option", { value: name, selected: name === "normal" }, name)))),
    payload: field("payload", "Payload", h("textarea", { spellcheck: "false" }), { hint: "Any JSON; empty for none", wide: true }),
    delay_ms: field("delay_ms", "Delay in ms", ms(31_622_400_000)),
    run_at: field("run_at", "Or run at", h("input", { type: "datetime-local", step: "1" })),
    max_attempts: field("max_attempts", "Attempts at most", input({ type: "number", min: "1", max: "100" }), { hint: "5 unless said" }),
    timeout_ms: field("timeout_ms", "Timeout of an attempt in ms", ms(2_592_000_000), { hint: "The task's unless said" }),
    start_deadline_ms: field("start_deadline_ms", "Must start within, in ms", ms(31_622_400_000), { hint: "Else it fails" }),
    unique_key: field("unique_key", "Unique key", input({ maxlength: "255" }), { hint: "Refused while another job with it is open" }),
    invalidates: field("invalidates", "Invalidates", h("textarea", { spellcheck: "false", rows: "2" }), { hint: "Data keys that it changes, one on each line", wide: true }),
  };
}

// The body as JSON. The payload goes in as it is written: parsing it would change large numbers.
function bodyOf(fields) {
  const said = { task: fields.task.control.value.trim() };
  for (const name of ["queue", "priority", "unique_key"]) if (fields[name].control.value) said[name] = fields[name].control.value;
  for (const name of ["delay_ms", "max_attempts", "timeout_ms", "start_deadline_ms"]) if (fields[name].control.value) said[name] = Number(fields[name].control.value);
  if (fields.run_at.control.value) said.run_at = new Date(fields.run_at.control.value).toISOString();
  const keys = fields.invalidates.control.value.split("\n").map((key) => key.trim()).filter(Boolean);
  if (keys.length > 0) said.invalidates = keys;
  const payload = fields.payload.control.value.trim();
  if (!payload) return JSON.stringify(said);
  try {
    JSON.parse(payload);
  } catch (error) {
    throw new Problem(0, { title: "The payload is not JSON", errors: [{ pointer: "/payload", detail: error.message }] });
  }
  return `${JSON.stringify(said).slice(0, -1)},"payload":${payload}}`;
}

export function show({ place, query, signal, go }) {
  const fields = formFields();
  const all = Object.values(fields);
  const answer = h("div");
  const tasks = h("datalist", { id: "tasks" });
  const failed = (problem) => showProblem(problem, all, answer);
  // Sent again after a lost answer, it is the same job.
  let key = crypto.randomUUID?.();
  const changed = () => { key = crypto.randomUUID?.(); };
  const send = (event) => {
    event.preventDefault();
    all.forEach((one) => one.say(""));
    answer.replaceChildren();
    return tried(signal, async () => {
      const headers = key ? { "idempotency-key": `"console-${key}"` } : {};
      const accepted = await (await call("POST", "/longtask", { body: bodyOf(fields), headers })).json();
      go(`/console/jobs/${accepted.job_id}`);
    }, failed);
  };
  const more = ["delay_ms", "run_at", "max_attempts", "timeout_ms", "start_deadline_ms", "unique_key", "invalidates"].map((name) => fields[name].element);
  const folded = h("details", null, h("summary", null, "More"), h("div", { class: "fields", role: "group", "aria-label": "More" }, more));
  place.append(answer, h("form", { class: "fields", novalidate: true, on: { submit: send, input: changed } },
    fields.task.element, fields.queue.element, fields.priority.element, fields.payload.element, folded,
    h("div", { class: "field wide" }, h("div", { class: "actions" }, h("button", { class: "first" }, "Submit")))), tasks);

  tried(signal, async () => {
    const [{ queues }, { workers }] = await Promise.all([get("/queues", signal), get("/workers", signal)]);
    fields.queue.control.append(...queues.map(({ queue }) => h("option", { value: queue, selected: queue === "default" }, queue)));
    const known = new Set(workers.flatMap((worker) => worker.tasks).filter((task) => !task.endsWith("*")));
    tasks.append(...[...known].sort().map((task) => h("option", { value: task })));
    const from = query.get("from");
    if (from) await fill(fields, from, signal, answer, folded);
  }, (problem) => answer.replaceChildren(problemNote(problem)));
}

async function fill(fields, from, signal, answer, folded) {
  const [job, payload] = await Promise.all([get(`/jobs/${segment(from)}`, signal), text(`/jobs/${segment(from)}/payload`, signal)]);
  const { control } = fields.payload;
  control.value = payload === "null" ? "" : pretty(payload);
  for (const name of ["task", "queue", "priority", "max_attempts", "timeout_ms", "start_deadline_ms", "unique_key"]) {
    if (job[name] !== undefined) fields[name].control.value = job[name];
  }
  fields.invalidates.control.value = (job.invalidates ?? []).join("\n");
  folded.open = Boolean(job.unique_key || job.invalidates || job.timeout_ms || job.start_deadline_ms);
  answer.replaceChildren(note("", `Filled with what job ${job.job_id} was submitted with. Submitting makes another job.`));
}
