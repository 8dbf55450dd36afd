// Asks for a key once. The browser is given a cookie that no script can read; the key itself is kept nowhere.

import { call, tried } from "./api.js";
import { field, h, showProblem } from "./dom.js";

export const title = "Log in";

export function show({ place, signal }) {
  const key = field("key", "API key", h("input", { type: "password", required: true, autocomplete: "current-password", spellcheck: "false" }),
    { hint: "Or a token. What its scopes allow, this browser may do for twelve hours." });
  const said = h("div");
  const enter = async (event) => {
    event.preventDefault();
    await tried(signal, async () => {
      await call("POST", "/console/session", { body: { key: key.control.value } });
      // As a whole page: what runs now began as nobody.
      location.assign("/console");
    }, (problem) => showProblem(problem, [key], said));
  };
  place.append(h("form", { on: { submit: enter } }, key.element, h("div", { class: "actions" }, h("button", { class: "first" }, "Log in")), said));
  key.control.focus();
}

// Says in `place` who is logged in, where anybody must be.
export async function showAccount(place) {
  const answer = await call("GET", "/console/session");
  const { asks, who, tenant } = await answer.json();
  if (!asks) return;
  const leave = async () => {
    await call("DELETE", "/console/session");
    location.assign("/console/login");
  };
  place.append(h("span", { class: "soft" }, tenant === "default" ? who : `${who} of ${tenant}`), " ", h("button", { type: "button", on: { click: leave } }, "Log out"));
}
