// What is known of a job's attempts: from its logs, from the job itself, and from what was seen while the page was open.

import { h, when } from "./dom.js";
import { words } from "./format.js";

// So many of the last attempts are listed.
const SHOWN = 20;

export function timeline() {
  const attempts = new Map();
  const of = (run, attempt) => {
    const key = `${run}.${attempt}`;
    if (!attempts.has(key)) attempts.set(key, { run, attempt });
    return attempts.get(key);
  };
  let last = null;

  return {
    // The job as it is now; between two looks an attempt may have begun or ended.
    saw(job) {
      const now = new Date().toISOString();
      if (job.attempt > 0) {
        const present = of(job.run, job.attempt);
        if (job.status === "running" && last && (last.attempt !== job.attempt || last.run !== job.run)) present.began = now;
        if (job.attempt === 1 && job.started_at) present.began = job.started_at;
        if (job.error) Object.assign(present, { how: job.error.kind, message: job.error.message });
        if (job.error && last?.status === "running" && last.attempt === job.attempt && job.status !== "running") present.ended ??= now;
        if (job.finished_at) Object.assign(present, { ended: job.finished_at, how: job.error ? present.how : job.status });
        present.runs = job.status === "running";
      }
      last = job;
    },
    logs({ attempts: logged }) {
      for (const log of logged) {
        if (log.ended === "released") continue;
        const known = of(log.run, log.attempt);
        Object.assign(known, { ended: log.ended_at, how: known.how ?? log.ended });
      }
    },
    list(job) {
      const items = [["", job.created_at, "Submitted"]];
      const first = Math.max(1, job.attempt - SHOWN + 1);
      for (let attempt = first; attempt <= job.attempt; attempt += 1) of(job.run, attempt);
      const known = [...attempts.values()].sort((left, right) => left.run - right.run || left.attempt - right.attempt);
      for (const one of known.slice(-SHOWN)) items.push(...itemsOf(one, job));
      if (job.cancel_requested_at) items.push(["bad", job.cancel_requested_at, "Asked to end"]);
      if (job.run_at) items.push(["busy", job.run_at, job.attempt > 0 ? `Attempt ${job.attempt + 1} is due` : "Due"]);
      if (job.finished_at) items.push([job.status === "succeeded" ? "good" : "bad", job.finished_at, `Ended: ${words(job.status)}`]);
      return h("ol", { class: "timeline" }, items.map(([mood, at, text]) => h("li", { class: mood }, at ? when(at) : null, text)));
    },
  };
}

function itemsOf({ run, attempt, began, ended, how, message, runs }, job) {
  const name = `${job.run > 1 ? `Run ${run}, attempt` : "Attempt"} ${attempt}`;
  const items = [];
  if (began) items.push(["busy", began, `${name} began`]);
  if (runs) items.push(["busy", null, `${name} runs`]);
  else if (ended || how) {
    const mood = how === "succeeded" ? "good" : "bad";
    const why = message ? `: ${message.split("\n")[0].slice(0, 200)}` : "";
    items.push([mood, ended, `${name} ${how === "succeeded" || how === "failed" ? how : `ended: ${words(how ?? "")}`}${why}`]);
  } else if (!began) items.push(["", null, `${name}: it wrote nothing, and nothing is kept of it`]);
  return items;
}
