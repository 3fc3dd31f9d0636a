// What the admin does: keys that are revoked, tenants that are erased for good.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';

import { follow, rows, upload } from './rows.mjs';

export async function tenants(test, world) {
  const { daemon, OpenAI, options, base } = world;
  const name = `gone-${world.tenant.name}`;

  await test('a key works until it is revoked', async () => {
    const keys = `/admin/tenants/${world.tenant.id}/keys`;
    const made = [await daemon.admin('POST', keys), await daemon.admin('POST', keys)].map((a) => a.json);
    const clients = made.map((k) => new OpenAI({ ...options, apiKey: k.api_key }));
    for (const c of clients) assert.equal((await c.models.list()).data[0].id, base);
    assert.equal((await daemon.admin('GET', keys)).json.data.length, 3);
    await daemon.admin('DELETE', `${keys}/${made[0].id}`);
    await daemon.admin('DELETE', `${keys}?id=${made[1].id}`);
    for (const c of clients) await assert.rejects(c.models.list(), OpenAI.AuthenticationError);
    assert.equal((await world.client.models.list()).data[0].id, base);
  });
  await test('a session says whose key it is', async () => {
    const session = await world.client.get('/session');
    assert.deepEqual(session.tenant, { id: world.tenant.id, name: world.tenant.name });
    assert.equal(session.admin, false);
    assert.equal(session.base.id, base);
  });
  await test('a backup is the admin\'s alone, and holds the database', async () => {
    const ask = (key) => fetch(`${daemon.url}/admin/backup`, { headers: { authorization: `Bearer ${key}` } });
    assert.equal((await ask(options.apiKey)).status, 403);
    const answer = await ask(daemon.adminKey);
    assert.equal(answer.status, 200);
    assert.ok(Buffer.from(await answer.arrayBuffer()).includes('SQLite format 3'));
  });
  await test('an erased tenant leaves nothing behind', async () => {
    const marker = `zanzibar${Date.now()}`;
    const { json: tenant } = await daemon.admin('POST', '/admin/tenants', { name });
    const own = { ...world, options: { ...options, apiKey: tenant.api_key } };
    own.client = new OpenAI(own.options);
    const file = await upload(own, rows(4, marker), `${marker}.jsonl`);
    const job = async (n) => own.client.fineTuning.jobs.create({
      model: base, training_file: file.id, suffix: marker, metadata: { marker }, hyperparameters: { n_epochs: n, batch_size: 1 },
    });
    const first = await job(1);
    await follow(own, first.id);
    const { fine_tuned_model: model } = await own.client.fineTuning.jobs.retrieve(first.id);
    await own.client.completions.create({ model, prompt: marker, max_tokens: 4 });
    await own.client.put(`/aliases/${marker}`, { body: { model } });
    const running = await job(50);
    await follow(own, running.id, (e) => e.type === 'metrics');
    const found = () => {
      try {
        return execFileSync('grep', ['-r', '-l', '-a', '-F', '-e', marker, '-e', tenant.id, daemon.state]).toString();
      } catch (error) {
        if (error.status !== 1) throw error;
        return '';
      }
    };
    assert.notEqual(found(), '');
    assert.equal((await daemon.admin('GET', `/admin/tenants/${tenant.id}`)).json.name, name);
    assert.equal((await daemon.admin('DELETE', `/admin/tenants/${tenant.id}`)).status, 200);
    assert.equal(found(), '');
    await assert.rejects(own.client.models.list(), OpenAI.AuthenticationError);
    assert.ok(!(await daemon.admin('GET', '/admin/tenants')).json.data.some((t) => t.name === name));
    const { json: again } = await daemon.admin('POST', '/admin/tenants', { name });
    const fresh = new OpenAI({ ...options, apiKey: again.api_key });
    await assert.rejects(fresh.completions.create({ model, prompt: 'a' }), { status: 404 });
    await assert.rejects(fresh.completions.create({ model: `${model}:live`, prompt: 'a' }), { status: 404 });
    await daemon.admin('DELETE', `/admin/tenants/${again.id}`);
  });
}
