// Server-sent events, followed while the page is seen. A tab that nobody looks at holds no connection: a browser has six for each address.

const BACK_AFTER_MS = 2000;

function tell(isOn, text) {
  const place = document.getElementById("live");
  const name = isOn ? "on" : "off";
  if (place.className === name) return;
  place.className = name;
  place.textContent = text;
}

// Follows a stream until `signal` is aborted, or a handler returns true. `handlers` are by event, and are given what its data say.
export function follow(path, handlers, signal) {
  let source = null;
  let timer = null;
  const close = () => {
    source?.close();
    source = null;
    clearTimeout(timer);
  };
  const end = () => {
    close();
    document.removeEventListener("visibilitychange", seen);
    signal.removeEventListener("abort", end);
    const place = document.getElementById("live");
    place.className = "";
    place.textContent = "";
  };
  const open = () => {
    close();
    source = new EventSource(path);
    source.addEventListener("open", () => tell(true, "Live"));
    source.addEventListener("error", () => {
      tell(false, "Reconnecting");
      // The browser comes back by itself when a connection breaks, but not after an answer that is no stream.
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(open, BACK_AFTER_MS);
    });
    for (const [event, handle] of Object.entries(handlers)) {
      source.addEventListener(event, (message) => {
        if (handle(JSON.parse(message.data)) === true) end();
      });
    }
  };
  const seen = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", seen);
  signal.addEventListener("abort", end);
  if (!document.hidden) open();
}

export const followOverview = (handle, signal) => follow("/console/events", { overview: handle }, signal);

// Calls `refresh`, which returns a promise, when the stream shows that something has changed: by the place of the store's log unless `keyOf`
// says otherwise, one call at a time, and not more often than every `leastMs`.
export function followChanges(refresh, signal, { keyOf = (shown) => shown.store?.place, leastMs = 0 } = {}) {
  let known;
  let busy = false;
  let last = -Infinity;
  followOverview((shown) => {
    const key = keyOf(shown);
    if (!key || key === known || busy || performance.now() - last < leastMs) return;
    known = key;
    busy = true;
    refresh().finally(() => {
      busy = false;
      last = performance.now();
    });
  }, signal);
}
