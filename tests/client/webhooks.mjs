// Webhooks: endpoints by the client's own calls where it has them, deliveries checked by its unwrap().
import assert from 'node:assert/strict';
import http from 'node:http';

import { follow, rows, upload } from './rows.mjs';

// A receiver that fails the first time it hears of something when told to.
async function receiver(fails = false) {
  const known = new Set();
  const seen = [];
  const waiting = [];
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const one = { headers: request.headers, body: Buffer.concat(parts).toString() };
    response.writeHead(fails && !known.has(one.body) ? 500 : 200);
    response.end();
    known.add(one.body);
    if (waiting.length) waiting.shift()(one);
    else seen.push(one);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/hook`,
    // The next delivery about this job: jobs of other tests end meanwhile.
    async next(id) {
      for (;;) {
        const one = seen.shift() ?? await new Promise((resolve) => waiting.push(resolve));
        if (JSON.parse(one.body).data.id === id) return one;
      }
    },
    close: () => server.close(),
  };
}

export async function webhooks(test, world) {
  const { client, base } = world;
  const { jobs } = client.fineTuning;
  const types = ['fine_tuning.job.succeeded', 'fine_tuning.job.failed', 'fine_tuning.job.cancelled'];
  const file = await upload(world, rows(4));
  const create = async (body) => client.webhooks?.create
    ? client.webhooks.create(body) : client.post('/webhook_endpoints', { body });
  const end = async () => {
    const job = await jobs.create({ model: base, training_file: file.id, hyperparameters: { n_epochs: 1 } });
    await follow(world, job.id);
    return job.id;
  };

  await test('a job that succeeds is told, signed for unwrap()', async () => {
    const there = await receiver();
    const hook = await create({ name: 'all', url: there.url, event_types: types });
    const id = await end();
    const { headers, body } = await there.next(id);
    if (client.webhooks) {
      const event = await client.webhooks.unwrap(body, headers, hook.signing_secret);
      assert.equal(event.object, 'event');
      assert.equal(event.type, 'fine_tuning.job.succeeded');
      assert.equal(event.data.id, id);
      await assert.rejects(client.webhooks.unwrap(`${body} `, headers, hook.signing_secret));
    } else {
      assert.equal(JSON.parse(body).data.id, id);
    }
    there.close();
    await client.delete(`/webhook_endpoints/${hook.id}`);
  });
  await test('what failed is told again', async () => {
    const there = await receiver(true);
    const hook = await create({ name: 'all', url: there.url, event_types: types });
    const id = await end();
    const [first, second] = [await there.next(id), await there.next(id)];
    assert.equal(first.headers['webhook-id'], second.headers['webhook-id']);
    assert.equal(first.body, second.body);
    there.close();
    await client.delete(`/webhook_endpoints/${hook.id}`);
  });
  await test('a test event is signed for unwrap()', async () => {
    const there = await receiver();
    const hook = await create({ name: 'all', url: there.url, event_types: types });
    const sent = await client.post(`/webhook_endpoints/${hook.id}/test`, { body: { event_type: types[1] } });
    const { headers, body } = await there.next('ftjob-test');
    assert.equal(headers['webhook-id'], sent.id);
    if (client.webhooks) {
      assert.deepEqual(await client.webhooks.unwrap(body, headers, hook.signing_secret), sent);
      assert.equal(sent.type, types[1]);
    }
    there.close();
    await client.delete(`/webhook_endpoints/${hook.id}`);
  });
  if (!client.webhooks?.create) return;
  await test("the client's own calls manage endpoints", async () => {
    const hook = await client.webhooks.create({ name: 'a', url: 'https://example.org/', event_types: types });
    assert.equal((await client.webhooks.update(hook.id, { name: 'b' })).name, 'b');
    const fresh = await client.webhooks.rotateSecret(hook.id, { keep_old_secret_active_for_24_hours: true });
    assert.notEqual(fresh.signing_secret, hook.signing_secret);
    const { signing_secret: secret, ...shown } = fresh;
    assert.deepEqual(await client.webhooks.retrieve(hook.id), shown);
    const all = [];
    for await (const w of client.webhooks.list({ limit: 1 })) all.push(w.id);
    assert.ok(all.includes(hook.id));
    assert.deepEqual((await client.webhooks.eventTypes.list()).data, types);
    assert.equal((await client.webhooks.delete(hook.id)).deleted, true);
    await assert.rejects(client.webhooks.retrieve(hook.id), { status: 404 });
  });
}
