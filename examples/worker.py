"""A worker that pulls its jobs over HTTP; any language can. Run it: python3 worker.py http://127.0.0.1:8000"""
import functools, json, os, sys, time, urllib.error, urllib.request, uuid
WORKER = f"{os.uname().nodename}-{os.getpid()}"
now = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)  # It goes on while the machine sleeps, as leases do.

def post(path, body, **headers):
    """The answer, and when its call was sent. Every call may be repeated, so it is until there is an answer."""
    while True:
        headers["content-type"], sent = "application/json", now()
        request = urllib.request.Request(sys.argv[1] + path, json.dumps(body).encode(), headers)
        try:
            return json.load(urllib.request.urlopen(request, timeout=40)), sent
        except OSError as error:
            if getattr(error, "code", 503) not in (429, 502, 503, 504):
                raise
            time.sleep(0.5)

def work(job, payload, length, until):
    for tick in range(ticks := round(10 * payload["seconds"])):
        time.sleep(0.1)  # The task itself: a little work, then a look at the lease, again and again.
        if until - now() < length / 6:
            return post(job + "release", {})  # Frozen for too long: the next owner may begin soon.
        if until - now() < length * 2 / 3:
            answer, sent = post(job + "heartbeat", {"progress": {"fraction": tick / ticks}})
            if answer["cancel_requested"]:
                return post(job + "fail", {"error": "cancelled", "retry": False})
            until = sent + length
    post(job + "complete", {"result": {"worker": WORKER}})

while True:
    ask = {"worker": WORKER, "tasks": ["countdown"], "lease_ms": 3000}
    answer, sent = post("/leases", ask, prefer="wait=20", **{"idempotency-key": str(uuid.uuid4())})
    for lease in answer["leases"]:
        job, length = f"/leases/{lease['lease_id']}/", lease["lease_ms"] / 1000
        try:
            work(job, lease["payload"], length, sent + answer["waited_ms"] / 1000 + length)
        except urllib.error.HTTPError as error:  # Such as 410: the lease is lost.
            print(job, error.code, error.read().decode(), file=sys.stderr)
        except (KeyError, TypeError, ValueError) as error:
            post(job + "fail", {"error": f"not a payload for this task: {error!r}", "retry": False})
