// Chat and completions, whole and streamed.
import assert from 'node:assert/strict';

export async function inference(test, world) {
  const { client, base, model } = world;
  const prompt = 'Where is place 3?\n';
  const messages = [{ role: 'user', content: 'Where is place 3?' }];

  await test('a completion has text, finish and usage', async () => {
    const c = await client.completions.create({ model, prompt, max_tokens: 5, temperature: 0 });
    assert.match(c.id, /^cmpl-/);
    assert.equal(c.object, 'text_completion');
    assert.equal(c.choices[0].finish_reason, 'length');
    assert.equal(c.usage.completion_tokens, 5);
    assert.equal(c.usage.total_tokens, c.usage.prompt_tokens + 5);
  });
  await test('lists of prompts, n, logprobs and echo', async () => {
    const c = await client.completions.create({
      model, prompt: [prompt, 'Hello'], n: 2, max_tokens: 3, logprobs: 2, echo: true, seed: 1,
    });
    assert.deepEqual(c.choices.map((x) => x.index), [0, 1, 2, 3]);
    assert.ok(c.choices[2].text.startsWith('Hello'));
    assert.equal(c.choices[0].logprobs.token_logprobs[0], null);
    assert.equal(c.choices[0].logprobs.tokens.length, c.choices[0].logprobs.text_offset.length);
  });
  await test('a streamed completion is the whole one in pieces', async () => {
    const body = { model, prompt, max_tokens: 24, temperature: 0 };
    const whole = await client.completions.create(body);
    let text = '';
    let finish = null;
    for await (const chunk of await client.completions.create({ ...body, stream: true })) {
      text += chunk.choices[0].text;
      finish = chunk.choices[0].finish_reason ?? finish;
    }
    assert.equal(text, whole.choices[0].text);
    assert.equal(finish, whole.choices[0].finish_reason);
  });
  await test('chat answers', async () => {
    const c = await client.chat.completions.create({ model, messages, max_completion_tokens: 6, temperature: 0 });
    assert.match(c.id, /^chatcmpl-/);
    assert.equal(c.object, 'chat.completion');
    assert.equal(c.choices[0].message.role, 'assistant');
    assert.equal(typeof c.choices[0].message.content, 'string');
    assert.ok(c.choices[0].message.refusal === null || c.choices[0].message.refusal === undefined);
  });
  await test('a streamed chat has the role first, the usage last', async () => {
    const body = { model, messages, max_tokens: 12, temperature: 0 };
    const whole = await client.chat.completions.create(body);
    const chunks = [];
    const stream = await client.chat.completions.create({
      ...body, stream: true, stream_options: { include_usage: true },
    });
    for await (const chunk of stream) chunks.push(chunk);
    assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
    assert.equal(chunks.map((c) => c.choices[0]?.delta.content ?? '').join(''), whole.choices[0].message.content);
    assert.deepEqual(chunks.at(-2).choices[0].delta, {});
    assert.equal(chunks.at(-2).choices[0].finish_reason, whole.choices[0].finish_reason);
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.deepEqual(chunks.at(-1).usage.total_tokens, whole.usage.total_tokens);
  });
  await test("the client's stream helper gathers the same message", async () => {
    const helper = (client.chat.completions.stream ? client.chat : client.beta.chat).completions;
    const body = { model, messages, max_tokens: 12, temperature: 0 };
    const whole = await client.chat.completions.create(body);
    assert.equal(await helper.stream(body).finalContent(), whole.choices[0].message.content);
  });
  await test('a stream that is left ends', async () => {
    const stream = await client.completions.create({
      model, prompt, max_tokens: 400, ignore_eos: true, stream: true,
    });
    for await (const chunk of stream) {
      assert.ok(chunk.choices.length);
      break;
    }
    assert.ok(stream.controller.signal.aborted);
  });
  await test('a blend of one is that one, and half of it is half its strength', async () => {
    const body = { prompt, max_tokens: 16, temperature: 0, logprobs: 0, echo: true };
    const alone = await client.completions.create({ model, ...body });
    const one = await client.completions.create({ model: base, ...body, adapters: [{ model, weight: 1 }] });
    assert.deepEqual(one.choices[0].logprobs, alone.choices[0].logprobs);
    const half = await client.completions.create({ model, ...body, adapter_strength: 0.5 });
    const blend = await client.completions.create({
      model: base, ...body, adapters: [{ model, weight: 0.75 }, { model: base }, { model, weight: -0.25 }],
    });
    half.choices[0].logprobs.token_logprobs.forEach((x, i) =>
      assert.ok(x === null || Math.abs(x - blend.choices[0].logprobs.token_logprobs[i]) < 1e-4));
    await assert.rejects(client.completions.create({ model, ...body, adapters: [{ model: 'ft:none' }] }),
      { status: 404, code: 'model_not_found' });
  });
  await test('strength 0 is the base, token for token', async () => {
    const body = { prompt, max_tokens: 16, temperature: 0 };
    const plain = await client.completions.create({ model: base, ...body });
    const none = await client.completions.create({ model, ...body, adapter_strength: 0 });
    assert.equal(none.choices[0].text, plain.choices[0].text);
  });
}
