// Drives redd with the official openai clients. TAP on stdout, "N passed, N failed" at the end.
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { startDaemon } from './daemon.mjs';
import { errors } from './errors.mjs';
import { files } from './files.mjs';
import { inference } from './inference.mjs';
import { jobs } from './jobs.mjs';
import { limits } from './limits.mjs';
import { models } from './models.mjs';
import { retries } from './retries.mjs';
import { describe } from './schema.mjs';
import { switching } from './switching.mjs';
import { tenants } from './tenants.mjs';
import { webhooks } from './webhooks.mjs';

const clients = process.env.CLIENTS?.split(' ') ?? ['openai4', 'openai5', 'openai'];
const suites = { files, jobs, inference, models, errors, limits, retries, webhooks, switching, tenants };
let passed = 0;
let failed = 0;

async function test(name, run) {
  try {
    await run();
    passed++;
    console.log(`ok ${passed + failed} - ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${passed + failed} - ${name}`);
    console.log(String(error?.stack ?? error).replace(/^/gm, '    '));
  }
}

const daemon = await startDaemon('--limit-running-jobs', '2', '--webhook-private');
const document = await describe(daemon.url);
globalThis.fetch = document.fetch;
try {
  for (const name of clients) {
    const { default: OpenAI, ...module } = await import(name);
    const { version } = JSON.parse(fs.readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url)));
    const tenant = await daemon.admin('POST', '/admin/tenants', { name: `npm-${name}` });
    assert.equal(tenant.status, 200);
    const options = { apiKey: tenant.json.api_key, baseURL: `${daemon.url}/v1` };
    if (!version.startsWith('4.')) options.fetch = document.fetch; // the oldest sends its forms by another fetch alone
    const world = {
      daemon,
      OpenAI,
      module,
      tenant: tenant.json,
      options,
      client: new OpenAI(options),
      base: (await new OpenAI(options).models.list()).data[0].id,
    };
    for (const [subject, suite] of Object.entries(suites))
      await suite((what, run) => test(`${version} ${subject}: ${what}`, run), world);
  }
  await test('every answer was as /openapi.json describes it, and nearly all there is was asked for', async () => {
    await Promise.all(['/healthz', '/readyz', '/metrics', '/openapi.json', '/'].map((p) => fetch(daemon.url + p)));
    await document.settled();
    assert.deepEqual([...document.findings], []);
    assert.deepEqual(document.unseen(), ['classify']); // it needs a base of another kind
  });
} finally {
  const log = fs.readFileSync(daemon.log, 'utf8');
  await test('the daemon ends cleanly', async () => assert.equal(await daemon.stop(), 0));
  if (failed) console.log(log.replace(/^/gm, '# '));
}
console.log(`1..${passed + failed}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0); // a test that failed may have left a server open
