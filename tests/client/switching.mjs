// Two tenants under load while their names are switched: every answer is one that its name stood for meanwhile,
// and never another tenant's. SWITCH_SECONDS (3) says how long.
import assert from 'node:assert/strict';

const LAYERS = 8;
const WIDTH = 256;
const VERSIONS = 4;
const LOAD = 12;
const SWITCH_MS = 100;
const seconds = Number(process.env.SWITCH_SECONDS ?? 3);

// An adapter that gives itself away: biases of its own, large enough to change every word.
function adapterFile(seed) {
  const header = {};
  const data = new Float32Array(LAYERS * WIDTH);
  let state = seed * 2654435761 >>> 0;
  for (let i = 0; i < data.length; i++) {
    state = Math.imul(state ^ state >>> 15, 2246822519) + i >>> 0;
    data[i] = (state / 2 ** 32 - 0.5) * 0.5;
  }
  for (let layer = 0; layer < LAYERS; layer++)
    header[`model.layers.${layer}.mlp.down_proj.delta_vector.activation_bias`] = {
      dtype: 'F32', shape: [1, WIDTH], data_offsets: [layer * WIDTH * 4, (layer + 1) * WIDTH * 4],
    };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.from(data.buffer)]);
}

async function tenantOf(world, name, seed) {
  const { json } = await world.daemon.admin('POST', '/admin/tenants', { name });
  const client = new world.OpenAI({ ...world.options, apiKey: json.api_key });
  const ask = async (model) => (await client.completions.create({
    model, prompt: 'The sea', max_tokens: 12, temperature: 0,
  })).choices[0].text;
  const models = [];
  for (let i = 0; i < VERSIONS; i++) {
    const form = new FormData();
    form.append('file', new File([adapterFile(seed + i)], 'a.safetensors'));
    form.append('name', `v${i}`);
    const answer = await fetch(`${world.options.baseURL}/adapters`, {
      method: 'POST', body: form, headers: { authorization: `Bearer ${json.api_key}` },
    });
    const { id } = await answer.json();
    models.push({ id, says: await ask(id) });
  }
  // What the name has stood for, in order; `set` is when the switch was answered.
  const history = [];
  const point = async (i) => {
    history.push({ says: models[i].says, asked: performance.now(), set: Infinity });
    const entry = history.at(-1);
    await client.put('/aliases/ours', { body: { model: models[i].id } });
    entry.set = performance.now();
  };
  return { id: json.id, ask, models, history, point };
}

// What a name may have stood for between two moments: the last that was set before, and those asked for until then.
function allowed(history, from, to) {
  const first = history.findLastIndex((h) => h.set <= from);
  return history.slice(Math.max(first, 0)).filter((h) => h.asked <= to).map((h) => h.says);
}

export async function switching(test, world) {
  if (!world.client.webhooks?.create) return; // once is enough: with the latest client
  await test(`no answer is stale or foreign in ${seconds} s of switching`, async () => {
    const tenants = [await tenantOf(world, 'switch-a', 100), await tenantOf(world, 'switch-b', 200)];
    const says = tenants.flatMap((t) => t.models.map((m) => m.says));
    assert.equal(new Set(says).size, 2 * VERSIONS, 'each says something of its own');
    for (const t of tenants) await t.point(0);
    const end = performance.now() + 1000 * seconds;
    let answers = 0;
    let switches = 0;
    const asking = tenants.flatMap((t) => Array.from({ length: LOAD / 2 }, async (_, k) => {
      while (performance.now() < end) {
        const from = performance.now();
        const model = k % 3 ? null : t.models[k % VERSIONS];
        const got = await t.ask(model ? model.id : 'ours');
        const may = model ? [model.says] : allowed(t.history, from, performance.now());
        assert.ok(may.includes(got), `${JSON.stringify(got)} is none of ${JSON.stringify(may)}`);
        answers++;
      }
    }));
    const turning = tenants.map(async (t) => {
      for (let i = 1; performance.now() < end; i++) {
        await t.point(i % VERSIONS);
        switches++;
        await new Promise((resolve) => setTimeout(resolve, SWITCH_MS));
      }
    });
    await Promise.all([...asking, ...turning]);
    console.log(`# ${answers} answers, ${switches} switches`);
    assert.ok(answers > 3 && switches > 3);
    for (const t of tenants) await world.daemon.admin('DELETE', `/admin/tenants/${t.id}`);
  });
}
