// The mix of `longshore load` for people who have k6 (https://k6.io):
//
//     k6 run -e RATE=200 -e FOR=30s tests/load/longshore.js
//
// URL (http://127.0.0.1:8000), RATE (requests per second, 50), FOR (30s), TASK (noop), KEYS (100) and VUS (1000, the most requests in
// flight) may be given with -e. The arrival rate is constant, so answers do not slow the requests down; but k6 counts a request's time from
// its sending. Requests that it could not send in time are its `dropped_iterations`, and the run fails if there are any.

import http from 'k6/http';
import { check } from 'k6';

const url = __ENV.URL || 'http://127.0.0.1:8000';
const rate = Number(__ENV.RATE || 50);
const duration = __ENV.FOR || '30s';
const task = __ENV.TASK || 'noop';
const keys = Number(__ENV.KEYS || 100);
const vus = Number(__ENV.VUS || 1000);

const shares = { submit: 50, wait: 10, read: 30, write: 5, invalidate: 5 };
const json = { 'content-type': 'application/json' };

function scenario(kind) {
  const share = shares[kind] / 100;
  return {
    executor: 'constant-arrival-rate',
    exec: kind,
    // Per minute, so that a small share of a small rate is still a whole number.
    rate: Math.max(1, Math.round(rate * share * 60)),
    timeUnit: '1m',
    duration: duration,
    preAllocatedVUs: Math.max(1, Math.round(vus * share)),
  };
}

export const options = {
  scenarios: Object.fromEntries(Object.keys(shares).map((kind) => [kind, scenario(kind)])),
  thresholds: {
    dropped_iterations: ['count==0'],
    http_req_failed: ['rate<0.01'],
    checks: ['rate>0.99'],
    'http_req_duration{scenario:submit}': ['p(99)<250'],
    'http_req_duration{scenario:wait}': ['p(99)<35000'],
    'http_req_duration{scenario:read}': ['p(99)<100'],
    'http_req_duration{scenario:write}': ['p(99)<1000'],
    'http_req_duration{scenario:invalidate}': ['p(99)<1000'],
  },
  summaryTrendStats: ['med', 'p(90)', 'p(99)', 'p(99.9)', 'max'],
};

function key() {
  return `load-${Math.floor(Math.random() * keys)}`;
}

// One series per route, not per key.
function named(name, params) {
  return Object.assign({ tags: { name: name } }, params);
}

export function setup() {
  for (let number = 0; number < keys; number += 1) {
    const answer = http.put(`${url}/data/load-${number}`, '{"data":"first"}', named('PUT /data/{key}', { headers: json }));
    if (answer.status !== 200) {
      throw new Error(`${url} answered ${answer.status} to a write: is Longshore there?`);
    }
  }
}

export function submit() {
  const answer = http.post(`${url}/longtask`, JSON.stringify({ task: task }), named('POST /longtask', { headers: json }));
  check(answer, { 'submit: 202 with an id': (it) => it.status === 202 && Boolean(it.json('job_id')) });
}

export function wait() {
  const headers = Object.assign({ prefer: 'wait=30' }, json);
  const params = named('POST /longtask, wait', { headers: headers, timeout: '60s' });
  const answer = http.post(`${url}/longtask`, JSON.stringify({ task: task }), params);
  check(answer, { 'wait: the finished job': (it) => it.status === 200 && it.json('status') === 'succeeded' });
}

export function read() {
  const answer = http.get(`${url}/data/${key()}`, named('GET /data/{key}'));
  check(answer, { 'read: 200': (it) => it.status === 200 });
}

export function write() {
  const answer = http.put(`${url}/data/${key()}`, '{"data":"written"}', named('PUT /data/{key}', { headers: json }));
  check(answer, { 'write: fenced': (it) => it.status === 200 && it.json('fenced') === true });
}

export function invalidate() {
  const answer = http.del(`${url}/cache/${key()}`, null, named('DELETE /cache/{key}'));
  check(answer, { 'invalidate: fenced': (it) => it.status === 200 && it.json('fenced') === true });
}
