// The queues: how full they are, and whether anything is begun from them.

import { post, segment, tried } from "./api.js";
import { announce, badge, button, h, link, note, problemNote, table, when } from "./dom.js";
import { number } from "./format.js";
import { followOverview } from "./live.js";

export const title = "Queues";

const n = (heading) => ({ title: heading, class: "n" });

export function show({ place, signal }) {
  const said = h("div");
  const queues = table("Queues", ["Queue", "State", "Pause", n("Queued"), n("Running"), n("Scheduled"), "Oldest queued", n("Arrived / min"), n("Started / min"),
    n("Succeeded / min"), n("Failed / min"), n("Workers"), n("Slots"), n("In the broker")], "There are no queues.");
  place.append(h("p", { class: "soft" }, "A paused queue takes jobs, but no attempt is begun from it; what runs goes on to its end."), said, queues.element);

  // What was answered to a click is shown until the stream has seen it, too.
  const clicked = new Map();
  const set = (queue, what) => tried(signal, async () => {
    const { paused } = await post(`/queues/${segment(queue)}/${what}`);
    clicked.set(queue, paused);
    said.replaceChildren();
    announce(`The queue ${queue} is ${paused ? "paused" : "open"}.`);
    if (last) fill(last);
  }, (problem) => said.replaceChildren(problemNote(problem)));

  let last = null;
  const rowOf = (queue) => {
    const paused = clicked.get(queue.queue) ?? queue.paused;
    const what = paused ? "resume" : "pause";
    const toggle = () => button(paused ? "Resume" : "Pause", () => set(queue.queue, what), { "aria-label": `${paused ? "Resume" : "Pause"} the queue ${queue.queue}` });
    const minute = queue.last_minute;
    return [queue.queue, [
      [queue.queue, () => link(`/console/jobs?queue=${segment(queue.queue)}`, queue.queue)],
      [`${paused} ${queue.paused_at}`, () => h("span", null, paused ? badge("paused", "warn") : badge("open", "good"), paused && queue.paused_at ? [" since ", when(queue.paused_at)] : null)],
      [what, toggle],
      number(queue.depth.queued), number(queue.depth.running), number(queue.depth.scheduled),
      [queue.oldest?.job_id ?? "", () => (queue.oldest ? link(`/console/jobs/${queue.oldest.job_id}`, when(queue.oldest.created_at)) : document.createTextNode("–"))],
      number(minute.arrived), number(minute.started), number(minute.succeeded), number(minute.failed),
      number(queue.sessions), number(queue.slots), `${number(queue.bells)} of ${number(queue.window)}`,
    ]];
  };
  // A button whose row had the focus gives it to the one that takes its place.
  const fill = (rows) => {
    const focused = document.activeElement?.closest("tr");
    queues.fill(rows.map(rowOf));
    if (focused && document.activeElement === document.body) focused.querySelector("button")?.focus();
  };
  followOverview(({ store }) => {
    if (!store) {
      said.replaceChildren(note("bad", "The store does not answer."));
      return;
    }
    if (last === null) said.replaceChildren();
    for (const queue of store.queues) if (clicked.get(queue.queue) === queue.paused) clicked.delete(queue.queue);
    last = store.queues;
    fill(last);
  }, signal);
}
