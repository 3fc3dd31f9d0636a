// Limits: what is left shows in headers, what is exceeded is the client's RateLimitError.
import assert from 'node:assert/strict';

import { rows, upload } from './rows.mjs';

export async function limits(test, world) {
  const { daemon, OpenAI, options, base, tenant } = world;
  const limit = async (limits) =>
    assert.equal((await daemon.admin('POST', `/admin/tenants/${tenant.id}`, { limits })).status, 200);
  const none = { requests_per_minute: -1, tokens_per_minute: -1, queued_jobs: 0, file_bytes: 0 };
  const hasty = new OpenAI({ ...options, maxRetries: 0 });
  const ask = (client = hasty, more = {}) =>
    client.completions.create({ model: base, prompt: 'a b', max_tokens: 4, ...more });

  await test('headers say what is left', async () => {
    await limit({ requests_per_minute: 600, tokens_per_minute: 6000 });
    const { data, response } = await ask(hasty, { max_tokens: 100, stop: ' ' }).withResponse();
    const header = (name) => response.headers.get(`x-ratelimit-${name}`);
    assert.equal(header('limit-requests'), '600');
    assert.equal(header('remaining-requests'), '599');
    assert.equal(header('reset-requests'), '100ms');
    assert.equal(header('limit-tokens'), '6000');
    assert.equal(Number(header('remaining-tokens')), 6000 - 100 - data.usage.prompt_tokens);
    assert.match(header('reset-tokens'), /^(\d+m)?\d+(s|ms)$/);
    // What was reserved and not used has come back.
    const next = (await ask().withResponse()).response.headers.get('x-ratelimit-remaining-tokens');
    assert.ok(Number(next) > 6000 - 100 - data.usage.prompt_tokens, next);
  });
  await test('too many requests are refused for a while', async () => {
    await limit({ requests_per_minute: 2, tokens_per_minute: -1 });
    await ask();
    await ask();
    const error = await ask().then(() => assert.fail('it succeeded'), (e) => e);
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.equal(error.code, 'rate_limit_exceeded');
    const after = Number(error.headers.get?.('retry-after') ?? error.headers['retry-after']);
    assert.ok(after > 0 && after <= 30, `Retry-After: ${after}`);
  });
  await test('the client waits as long as it is told, then succeeds', async () => {
    await limit({ requests_per_minute: 60 });
    for (;;) if (await ask().then(() => false, () => true)) break;
    assert.equal((await ask(world.client)).object, 'text_completion');
  });
  await test('too many tokens are refused, and a prompt beyond all limits is not retried', async () => {
    await limit({ requests_per_minute: -1, tokens_per_minute: 20 });
    const error = await ask(world.client, { prompt: 'one two three four '.repeat(10) })
      .then(() => assert.fail('it succeeded'), (e) => e);
    assert.equal(error.code, 'rate_limit_exceeded');
    assert.match(error.message, /too large/);
    assert.equal(error.headers.get?.('x-should-retry') ?? error.headers['x-should-retry'], 'false');
  });
  await test('a quota on files and jobs is insufficient_quota', async () => {
    const file = await upload(world, rows(4));
    await limit({ ...none, file_bytes: 10, queued_jobs: 1 });
    await assert.rejects(upload(world, rows(4)), { status: 429, code: 'insufficient_quota' });
    const { jobs } = world.client.fineTuning;
    const body = { model: base, training_file: file.id, hyperparameters: { n_epochs: 50, batch_size: 1 } };
    const first = await jobs.create(body);
    await assert.rejects(jobs.create(body), { status: 429, code: 'insufficient_quota' });
    await jobs.cancel(first.id);
    await limit(none);
  });
}
