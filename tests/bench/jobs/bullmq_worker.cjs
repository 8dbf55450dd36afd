// The worker of bullmq_server.cjs: 64 jobs at a time that do nothing. Finished jobs are kept, so that they can be asked for and counted.
//   REDIS_PORT
const { Worker } = require('bullmq');

const worker = new Worker('work', async () => null, {
  concurrency: 64,
  connection: { host: '127.0.0.1', port: Number(process.env.REDIS_PORT), enableAutoPipelining: true, maxRetriesPerRequest: null },
});

worker.on('error', (error) => console.error(error));
