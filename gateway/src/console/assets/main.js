// The shell: which page an address means, and what happens between two of them.

import { announce, h } from "./dom.js";
import * as cache from "./cache.js";
import * as failed from "./failed.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import * as login from "./login.js";
import * as overview from "./overview.js";
import * as queues from "./queues.js";
import * as submit from "./submit.js";
import * as workers from "./workers.js";

const PAGES = { "": overview, cache, failed, jobs, login, queues, submit, workers };
const main = document.getElementById("main");
let leave = new AbortController();

function pageOf(path) {
  const [, , name = "", id] = path.replace(/\/$/, "").split("/");
  return name === "jobs" && id ? { page: job, id: decodeURIComponent(id) } : { page: PAGES[name], id: null };
}

function show(isFirst) {
  leave.abort();
  leave = new AbortController();
  const { page, id } = pageOf(location.pathname);
  const heading = h("h1", { tabindex: "-1" }, page.title);
  document.title = `${page.title} · Longshore`;
  for (const item of document.querySelectorAll("nav a")) {
    const isHere = pageOf(item.pathname).page === page || (page === job && item.pathname === "/console/jobs");
    if (isHere) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  const place = h("div");
  main.replaceChildren(heading, place);
  const query = new URLSearchParams(location.search);
  const entitle = (title) => {
    heading.textContent = title;
    document.title = `${title} · Longshore`;
  };
  page.show({ place, id, query, signal: leave.signal, go, entitle });
  if (!isFirst) {
    scrollTo(0, 0);
    heading.focus();
  }
}

// Goes to another address of the console. `state` is kept with it in the browser's history.
function go(address, state = null) {
  history.pushState(state, "", address);
  announce("");
  show(false);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("a[href]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!target || !isPlain || target.origin !== location.origin || event.defaultPrevented) return;
  const isOfConsole = target.pathname === "/console" || target.pathname.startsWith("/console/");
  if (!isOfConsole || target.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  go(target.href);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  // Not by its address: that would be another page of the history.
  event.preventDefault();
  main.focus();
});
addEventListener("popstate", () => show(false));
show(true);
if (pageOf(location.pathname).page !== login) login.showAccount(document.getElementById("account")).catch(() => {});
