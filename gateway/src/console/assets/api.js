// Calls of the public HTTP API. Every answer that is none is a Problem (RFC 9457), as is no answer at all.

const LOGIN = "/console/login";

export class Problem extends Error {
  constructor(status, body) {
    super(body.title);
    Object.assign(this, { title: "Something went wrong", status, errors: [] }, body);
  }
}

export async function call(method, path, { body, headers, signal } = {}) {
  const init = { method, signal, headers: { accept: "application/json", ...headers } };
  if (body !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "No answer", detail: "Nothing answers at this address: the balancer or the gateway is away, or the network is." });
  }
  if (answer.ok) return answer;
  // Whoever is not logged in, or not any more, is asked to be.
  if (answer.status === 401 && location.pathname !== LOGIN) location.assign(LOGIN);
  const said = await answer.json().catch(() => ({ title: `The answer is ${answer.status}` }));
  throw new Problem(answer.status, said);
}

export const get = async (path, signal) => (await call("GET", path, { signal })).json();

export const text = async (path, signal) => (await call("GET", path, { signal })).text();

export const post = async (path, body) => (await call("POST", path, { body })).json();

export const segment = encodeURIComponent;

// Runs a step of a page: a page that was left says nothing more, another failure is shown.
export async function tried(signal, step, failed) {
  try {
    await step();
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    failed(error);
  }
}
