// Long work over HTTP as a Node service does it: Fastify hands it to BullMQ.
//   REDIS_PORT, PORT
const fastify = require('fastify')({ logger: false });
const { Queue } = require('bullmq');

const queue = new Queue('work', {
  connection: { host: '127.0.0.1', port: Number(process.env.REDIS_PORT), enableAutoPipelining: true },
});

const schema = {
  body: { type: 'object', required: ['task'], properties: { task: { type: 'string' } } },
  response: { 202: { type: 'object', properties: { job_id: { type: 'string' }, status: { type: 'string' } } } },
};

fastify.post('/longtask', { schema }, async (request, reply) => {
  const job = await queue.add(request.body.task, {});
  reply.code(202);
  return { job_id: job.id, status: 'queued' };
});

fastify.get('/ready', async () => ({ status: 'ready' }));

fastify.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
