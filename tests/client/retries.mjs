// The client's retries: a job whose answer got lost is not created twice.
import assert from 'node:assert/strict';
import http from 'node:http';

import { rows, upload } from './rows.mjs';

// A way to the daemon on which the answers of the first `n` requests get lost.
async function lossy(target, n) {
  const seen = [];
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const { host, connection, 'content-length': length, ...headers } = request.headers;
    const answer = await fetch(target + request.url, {
      method: request.method, headers, body: parts.length ? Buffer.concat(parts) : undefined,
    });
    seen.push({ headers: request.headers, body: await answer.json() });
    if (seen.length <= n) return request.socket.destroy();
    response.writeHead(answer.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(seen.at(-1).body));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, seen, close: () => server.close() };
}

export async function retries(test, world) {
  const { client, OpenAI, options, base } = world;
  const file = await upload(world, rows(4));
  const body = (seed) => ({ model: base, training_file: file.id, seed, hyperparameters: { n_epochs: 1 } });

  await test('a retried creation finds the job that is there', async () => {
    const way = await lossy(world.daemon.url, 2);
    const other = new OpenAI({ ...options, baseURL: `${way.url}/v1` });
    const job = await other.fineTuning.jobs.create(body(11));
    way.close();
    assert.deepEqual(way.seen.map((s) => s.headers['x-stainless-retry-count']), ['0', '1', '2']);
    assert.deepEqual(way.seen.map((s) => s.body.id), [job.id, job.id, job.id]);
  });
  await test('the same body without a retry is another job', async () => {
    const [a, b] = [await client.fineTuning.jobs.create(body(12)), await client.fineTuning.jobs.create(body(12))];
    assert.notEqual(a.id, b.id);
  });
  await test('an Idempotency-Key is honoured', async () => {
    const headers = { 'Idempotency-Key': `key-${world.tenant.id}` };
    const a = await client.fineTuning.jobs.create(body(13), { headers });
    const b = await client.fineTuning.jobs.create(body(13), { headers });
    assert.equal(a.id, b.id);
  });
}
