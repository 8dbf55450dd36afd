"""A service that does jobs and a receiver of events, for Longshore: python3 receiver.py PORT, with SECRETS="whsec_… whsec_…" in its environment.

It checks signatures as Standard Webhooks has them, answers a job with the number of words in its payload, and prints each event once.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import sys
import time

SECRETS = [base64.b64decode(secret.removeprefix("whsec_")) for secret in os.environ["SECRETS"].split()]
SEEN = set()  # a real one keeps them, for as long as events may come again


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.is_signed(body):
            return self.answer(401, {"error": "the signature is wrong"})
        if self.headers["longshore-job"]:
            return self.answer(200, {"words": len(str(json.loads(body)).split())})
        if self.headers["webhook-id"] not in SEEN:
            event = json.loads(body)
            print(event["type"], event["data"]["job"]["task"], event["data"]["job"]["job_id"], flush=True)
            SEEN.add(self.headers["webhook-id"])
        self.answer(200, {})

    def is_signed(self, body):
        sent = self.headers["webhook-timestamp"] or "0"
        if abs(time.time() - int(sent)) > 300:
            return False
        message = f"{self.headers['webhook-id']}.{sent}.".encode() + body
        mine = ["v1," + base64.b64encode(hmac.digest(secret, message, hashlib.sha256)).decode() for secret in SECRETS]
        told = (self.headers["webhook-signature"] or "").split(" ")
        return any(hmac.compare_digest(one, other) for one in mine for other in told)

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
