// Failures arrive as the client's own classes, with a parameter and a code.
import assert from 'node:assert/strict';

export async function errors(test, world) {
  const { client, OpenAI, options, model } = world;
  const fails = async (promise, type, expected) => {
    const error = await promise.then(() => assert.fail('it succeeded'), (e) => e);
    assert.ok(error instanceof type, `${error.constructor.name}: ${error.message}`);
    for (const [key, value] of Object.entries(expected)) assert.equal(error[key], value, `${key}: ${error.message}`);
    assert.ok(error.requestID ?? error.request_id ?? error.headers?.['x-request-id']);
  };

  await test('a wrong key', () => fails(new OpenAI({ ...options, apiKey: 'sk-wrong' }).models.list(),
    OpenAI.AuthenticationError, { status: 401, code: 'invalid_api_key' }));
  await test('an unknown model', () => fails(client.completions.create({ model: 'ft:none', prompt: 'a' }),
    OpenAI.NotFoundError, { status: 404, code: 'model_not_found', param: 'model' }));
  await test('an unknown model by retrieve', () => fails(client.models.retrieve('ft:none'),
    OpenAI.NotFoundError, { status: 404, code: 'model_not_found' }));
  await test('an unknown job', () => fails(client.fineTuning.jobs.retrieve('ftjob-none'),
    OpenAI.NotFoundError, { status: 404 }));
  await test('a field out of range', () => fails(client.completions.create({ model, prompt: 'a', temperature: 9 }),
    OpenAI.BadRequestError, { status: 400, param: 'temperature', type: 'invalid_request_error' }));
  await test('what is not offered', () => fails(client.chat.completions.create({
    model, messages: [{ role: 'user', content: 'a' }], tools: [{ type: 'function', function: { name: 'f' } }],
  }), OpenAI.BadRequestError, { status: 400, param: 'tools' }));
  await test('a prompt that is too long', () => fails(client.completions.create({ model, prompt: 'word '.repeat(3000) }),
    OpenAI.BadRequestError, { status: 400, code: 'context_length_exceeded' }));
  await test('a missing training file', () => fails(client.fineTuning.jobs.create({
    model: world.base, training_file: 'file-none',
  }), OpenAI.BadRequestError, { status: 400, param: 'training_file' }));
  await test('a method that is not offered', () => fails(client.fineTuning.jobs.create({
    model: world.base, training_file: 'file-none', method: { type: 'dpo', dpo: {} },
  }), OpenAI.BadRequestError, { status: 400, param: 'method.type' }));
  await test('another tenant sees nothing', async () => {
    const other = await world.daemon.admin('POST', '/admin/tenants', { name: `other-${world.tenant.name}` });
    const stranger = new OpenAI({ ...options, apiKey: other.json.api_key });
    await fails(stranger.completions.create({ model, prompt: 'a' }), OpenAI.NotFoundError, { status: 404 });
    assert.deepEqual((await stranger.models.list()).data.map((m) => m.id), [world.base]);
    assert.equal((await stranger.fineTuning.jobs.list()).data.length, 0);
  });
}
