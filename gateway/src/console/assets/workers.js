// The workers that are there now.

import { get, tried } from "./api.js";
import { h, problemNote, table, when } from "./dom.js";
import { number } from "./format.js";
import { followChanges } from "./live.js";

export const title = "Workers";

const n = (heading) => ({ title: heading, class: "n" });

export function show({ place, signal }) {
  const failed = h("div");
  const workers = table("Workers", ["Worker", "Busy", n("Slots"), "Queues (slots)", "Tasks", "Since"], "No worker is there: jobs are accepted and wait.");
  place.append(h("p", { class: "soft" }, "A worker over HTTP takes jobs by itself and shows no slots."), failed, workers.element);
  const rowOf = (worker) => [worker.session_id, [
    [worker.worker, () => h("span", null, worker.worker, h("span", { class: "id" }, worker.session_id))],
    [`${worker.busy}/${worker.slots}`, () => h("span", { class: "whole" }, worker.slots > 0 ? h("progress", { value: worker.busy, max: worker.slots, "aria-label": `Busy slots of ${worker.worker}` }) : null, ` ${number(worker.busy)}`)],
    number(worker.slots),
    Object.entries(worker.queues).map(([queue, slots]) => (slots > 0 ? `${queue} (${slots})` : queue)).join(", "),
    worker.tasks.join(", "),
    [worker.since, () => when(worker.since)],
  ]];
  const read = () => tried(signal, async () => {
    const told = await get("/workers", signal);
    failed.replaceChildren();
    workers.fill(told.workers.map(rowOf));
  }, (problem) => failed.replaceChildren(problemNote(problem)));
  read();
  followChanges(read, signal, { keyOf: ({ store }) => store?.workers.tag });
}
