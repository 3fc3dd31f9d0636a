// Fine-tuning jobs from creation to the model they make, and every move in between.
import assert from 'node:assert/strict';

import { follow, rows, upload } from './rows.mjs';

export async function jobs(test, world) {
  const { client, base } = world;
  const { jobs: api } = client.fineTuning;
  const checkpoints = (id) => (client.fineTuning.jobs.checkpoints).list(id);
  let file, job;

  await test('a job is created, trains and succeeds', async () => {
    file = await upload(world, rows(16));
    const created = await api.create({
      model: base,
      training_file: file.id,
      validation_file: file.id,
      suffix: 'npm',
      seed: 7,
      metadata: { team: 'a b', 'ö': 'ü' },
      method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 2, batch_size: 4 } } },
    });
    assert.match(created.id, /^ftjob-/);
    assert.equal(created.object, 'fine_tuning.job');
    assert.ok(['validating_files', 'queued', 'running'].includes(created.status));
    await follow(world, created.id);
    job = await api.retrieve(created.id);
    assert.equal(job.status, 'succeeded');
    assert.match(job.fine_tuned_model, new RegExp(`^ft:${base}:${world.tenant.name}:npm:`));
    assert.equal(job.hyperparameters.n_epochs, 2);
    assert.equal(job.method.supervised.hyperparameters.batch_size, 4);
    assert.equal(job.seed, 7);
    assert.deepEqual(job.metadata, { team: 'a b', 'ö': 'ü' });
    assert.ok(job.trained_tokens > 0);
    assert.ok(job.finished_at >= job.created_at);
    assert.equal(job.error, null);
    assert.equal(job.organization_id, world.tenant.id);
  });
  await test('the older form of hyperparameters does the same', async () => {
    const other = await api.create({
      model: base, training_file: file.id, validation_file: file.id, suffix: 'npm', seed: 7,
      hyperparameters: { n_epochs: 2, batch_size: 4 },
    });
    await follow(world, other.id);
    const done = await api.retrieve(other.id);
    assert.equal(done.adapter_sha256, job.adapter_sha256);
  });
  await test('events page through all, each step leaves its metrics', async () => {
    const events = [];
    for await (const e of api.listEvents(job.id, { limit: 3 })) events.push(e);
    const steps = events.filter((e) => e.type === 'metrics' && e.data.train_loss !== undefined);
    assert.deepEqual(steps.map((e) => e.data.step).reverse(), [1, 2, 3, 4, 5, 6, 7, 8]);
    for (const e of steps)
      for (const key of ['step', 'total_steps', 'epoch', 'train_loss', 'learning_rate', 'grad_norm', 'label_tokens'])
        assert.equal(typeof e.data[key], 'number', key);
    assert.ok(events.every((e) => e.object === 'fine_tuning.job.event' && /^ftevent-/.test(e.id)));
    assert.ok(events.some((e) => e.data?.valid_loss !== undefined));
  });
  await test('the stream of events replays from an id', async () => {
    const all = await follow(world, job.id);
    assert.ok(all.length > 8);
    const raw = await fetch(`${world.options.baseURL}/fine_tuning/jobs/${job.id}/events?stream=true`, {
      headers: { authorization: `Bearer ${world.options.apiKey}` },
    });
    const ids = [...(await raw.text()).matchAll(/^id: (.*)$/gm)].map((m) => m[1]);
    const rest = await fetch(`${world.options.baseURL}/fine_tuning/jobs/${job.id}/events?stream=true`, {
      headers: { authorization: `Bearer ${world.options.apiKey}`, 'last-event-id': ids[4] },
    });
    assert.deepEqual([...(await rest.text()).matchAll(/^id: (.*)$/gm)].map((m) => m[1]), ids.slice(5));
  });
  await test('checkpoints are listed and served', async () => {
    const list = await checkpoints(job.id);
    const one = list.data[0];
    assert.equal(one.object, 'fine_tuning.job.checkpoint');
    assert.equal(one.fine_tuning_job_id, job.id);
    assert.equal(typeof one.step_number, 'number');
    assert.equal(typeof one.metrics.valid_loss, 'number');
    const answer = await client.completions.create({
      model: one.fine_tuned_model_checkpoint, prompt: 'Where is place 3?\n', max_tokens: 4,
    });
    assert.equal(answer.model, one.fine_tuned_model_checkpoint);
  });
  await test('the result file is a table of the steps', async () => {
    assert.equal(job.result_files.length, 1);
    const csv = await (await client.files.content(job.result_files[0])).text();
    const lines = csv.trim().split('\n');
    assert.equal(lines[0], 'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy');
    assert.equal(lines.length, 9);
    assert.equal((await client.files.retrieve(job.result_files[0])).purpose, 'fine-tune-results');
  });
  await test('training goes on from a fine-tuned model', async () => {
    const next = await api.create({
      model: job.fine_tuned_model, training_file: file.id, seed: 1,
      hyperparameters: { n_epochs: 1, batch_size: 8 },
    });
    await follow(world, next.id);
    const done = await api.retrieve(next.id);
    assert.equal(done.status, 'succeeded');
    assert.equal((await client.models.retrieve(done.fine_tuned_model)).parent, job.fine_tuned_model);
  });
  await test('lists page and filter by metadata', async () => {
    const ids = [];
    for await (const j of api.list({ limit: 1 })) ids.push(j.id);
    assert.equal(ids.length, 3);
    assert.equal(ids.at(-1), job.id);
    const found = await client.get('/fine_tuning/jobs', { query: { metadata: { team: 'a b' } } });
    assert.deepEqual(found.data.map((j) => j.id), [job.id]);
    assert.equal(found.has_more, false);
  });
  await test('a running job pauses, resumes and is cancelled', async () => {
    const long = await api.create({
      model: base, training_file: file.id, hyperparameters: { n_epochs: 40, batch_size: 1 },
    });
    await follow(world, long.id, (e) => e.type === 'metrics');
    assert.equal((await api.retrieve(long.id)).status, 'running');
    assert.equal((await api.pause(long.id)).status, 'paused');
    assert.ok(['queued', 'running'].includes((await api.resume(long.id)).status));
    assert.equal((await api.cancel(long.id)).status, 'cancelled');
    await assert.rejects(api.cancel(long.id), { status: 400 });
    await assert.rejects(api.resume(long.id), { status: 400 });
    assert.equal((await api.retrieve(long.id)).status, 'cancelled');
  });
  await test('what trains answers as it stands, then as its last checkpoint or its end', async () => {
    const ask = async (model) => (await client.completions.create({
      model, prompt: 'Where is place 3?\nAhoy, place 3 lies beyond the sea.', max_tokens: 0, echo: true, logprobs: 0,
    })).choices[0].logprobs.token_logprobs.slice(1).reduce((a, b) => a + b, 0);
    const long = await api.create({
      model: base, training_file: file.id, hyperparameters: { n_epochs: 50, batch_size: 1 },
    });
    assert.equal(long.live_model, null);
    await follow(world, long.id, (e) => e.data?.step === 3);
    const live = (await api.retrieve(long.id)).live_model;
    assert.match(live, /^ft:.*:live$/);
    const early = await ask(live);
    await follow(world, long.id, (e) => e.data?.step >= 40);
    assert.ok(await ask(live) > early, 'it learns');
    assert.ok(early > await ask(base), 'it has learnt from the first steps on');
    await api.cancel(long.id);
    const last = (await checkpoints(long.id)).data[0].fine_tuned_model_checkpoint;
    await follow(world, long.id);
    assert.equal((await api.retrieve(long.id)).live_model, null);
    assert.equal(await ask(job.fine_tuned_model), await ask(`${job.fine_tuned_model}:live`));
    for (let i = 0; i < 1000 && await ask(live) !== await ask(last); i++) continue; // until its seat is left
    assert.equal(await ask(live), await ask(last));
    await assert.rejects(ask(`${base}:live`), { status: 404, code: 'model_not_found' });
  });
  await test('preflight says what a job would do', async () => {
    const bad = await upload(world, '{"prompt":"a","completion":"b"}\nnonsense\n{"prompt":1}\n');
    const body = { model: base, training_file: bad.id };
    const report = await client.post('/fine_tuning/jobs/preflight', { body });
    assert.equal(report.valid, false);
    assert.deepEqual(report.training_file.faults.map((f) => f.line), [2, 3]);
    const good = await client.post('/fine_tuning/jobs/preflight', { body: { ...body, training_file: file.id } });
    assert.equal(good.valid, true);
    assert.equal(good.rows, 16);
    assert.ok(good.tokens > good.trained_tokens && good.trained_tokens > 0);
    assert.equal(typeof good.estimated_seconds, 'number');
  });
  await test('models are the base and what the jobs made, until deleted', async () => {
    const ids = [];
    for await (const m of client.models.list()) ids.push(m.id);
    assert.ok(ids.includes(base) && ids.includes(job.fine_tuned_model));
    const model = await client.models.retrieve(job.fine_tuned_model);
    assert.equal(model.object, 'model');
    assert.equal(model.parent, base);
    assert.equal(model.adapter.sha256, job.adapter_sha256);
    world.model = job.fine_tuned_model;
  });
}
