// Adapters as versions: export and import, stable names, deletion; and the tokenizer.
import assert from 'node:assert/strict';

export async function models(test, world) {
  const { client, model, base } = world;
  const ask = (name) => client.completions.create({
    model: name, prompt: 'Where is place 3?\n', max_tokens: 8, temperature: 0, logprobs: 0,
  });
  let copy;

  await test('what is exported can be imported, and answers the same', async () => {
    const answer = await fetch(`${world.options.baseURL}/adapters/${encodeURIComponent(model)}/content`, {
      headers: { authorization: `Bearer ${world.options.apiKey}` },
    });
    const form = new FormData();
    form.append('file', new File([await answer.arrayBuffer()], 'a.safetensors'));
    form.append('name', 'copy');
    const imported = await fetch(`${world.options.baseURL}/adapters`, {
      method: 'POST', body: form, headers: { authorization: `Bearer ${world.options.apiKey}` },
    });
    assert.equal(imported.status, 200);
    copy = (await imported.json()).id;
    assert.deepEqual((await ask(copy)).choices, (await ask(model)).choices);
  });
  await test('an alias is switched, and goes with what it points at', async () => {
    const set = (to) => client.put('/aliases/ours', { body: { model: to } });
    await set(model);
    assert.deepEqual((await ask('ours')).choices, (await ask(model)).choices);
    assert.equal((await set(copy)).model, copy);
    assert.equal((await client.get('/aliases/ours')).model, copy);
    assert.deepEqual((await client.get('/aliases')).data.map((a) => a.id), ['ours']);
    assert.deepEqual((await ask('ours')).choices, (await ask(copy)).choices);
    const remove = client.models.delete ?? client.models.del;
    assert.deepEqual(await remove.call(client.models, copy), { id: copy, object: 'model', deleted: true });
    await assert.rejects(ask('ours'), { status: 404, code: 'model_not_found' });
    await assert.rejects(ask(copy), { status: 404, code: 'model_not_found' });
    await set(model);
    assert.equal((await client.delete('/aliases/ours')).deleted, true);
    await assert.rejects(ask('ours'), { status: 404, code: 'model_not_found' });
  });
  await test('edits say how far each module is edited', async () => {
    const { data } = await client.get(`/adapters/${encodeURIComponent(model)}/edits`);
    assert.equal(data.length, 8);
    assert.deepEqual(data.map((e) => e.layer), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.ok(data.every((e) => e.position === 'ffn' && e.scale.max >= e.scale.rms && e.bias.max > 0));
  });
  await test('the base cannot be deleted', () => assert.rejects(
    (client.models.delete ?? client.models.del).call(client.models, base), { status: 403 }));
  await test('tokens and text', async () => {
    const { tokens, count } = await client.post('/tokenize', { body: { model: base, prompt: 'Beyond the sea' } });
    assert.equal(count, tokens.length);
    assert.equal((await client.post('/detokenize', { body: { model: base, tokens } })).prompt, 'Beyond the sea');
  });
}
