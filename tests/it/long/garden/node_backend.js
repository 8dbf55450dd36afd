// node_backend.js PORT: reads requests with Node's own server, says of each the client's address, method and target on a line, and
// answers 200.

const http = require('node:http');

const server = http.createServer((request, response) => {
  const source = request.headers['x-forwarded-for'] ?? '-';
  process.stdout.write(`${source} ${request.method} ${request.url}\n`);
  request.on('end', () => response.end());
  // A message without an end gets no answer.
  request.on('error', () => {});
  request.resume();
});
server.listen(Number(process.argv[2]), '127.0.0.1');
