// Files: upload, page, read, delete.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { rows, upload } from './rows.mjs';

export async function files(test, world) {
  const { client } = world;
  const text = rows(8);
  let file;

  await test('an upload gives a file object', async () => {
    file = await upload(world, text);
    assert.match(file.id, /^file-/);
    assert.equal(file.object, 'file');
    assert.equal(file.bytes, text.length);
    assert.equal(file.filename, 'rows.jsonl');
    assert.equal(file.purpose, 'fine-tune');
    assert.equal(file.status, 'processed');
  });
  await test('a stream from disk is the same', async () => {
    const name = path.join(os.tmpdir(), `redd-client-${process.pid}.jsonl`);
    fs.writeFileSync(name, text);
    const other = await client.files.create({ file: fs.createReadStream(name), purpose: 'fine-tune' });
    fs.rmSync(name);
    assert.equal(other.bytes, text.length);
    assert.equal(await (await client.files.content(other.id)).text(), text);
    await (client.files.delete ?? client.files.del).call(client.files, other.id);
  });
  await test('it is retrieved, and its content is what was sent', async () => {
    assert.deepEqual(await client.files.retrieve(file.id), file);
    assert.equal(await (await client.files.content(file.id)).text(), text);
  });
  await test('the client waits for its processing', async () => {
    const done = await client.files.waitForProcessing(file.id, { pollInterval: 10, maxWait: 1000 });
    assert.equal(done.status, 'processed');
  });
  await test('lists page through all, newest first', async () => {
    for (let i = 0; i < 4; i++) await upload(world, text, `page-${i}.jsonl`);
    const names = [];
    for await (const f of client.files.list({ limit: 2, purpose: 'fine-tune' })) names.push(f.filename);
    assert.deepEqual(names, ['page-3.jsonl', 'page-2.jsonl', 'page-1.jsonl', 'page-0.jsonl', 'rows.jsonl']);
    for await (const f of client.files.list()) if (f.id !== file.id)
      await (client.files.delete ?? client.files.del).call(client.files, f.id);
  });
  await test('an expiry is kept', async () => {
    const f = await client.files.create({
      file: new File([text], 'short.jsonl'),
      purpose: 'fine-tune',
      expires_after: { anchor: 'created_at', seconds: 3600 },
    });
    assert.equal(f.expires_at - f.created_at, 3600);
    const gone = await (client.files.delete ?? client.files.del).call(client.files, f.id);
    assert.deepEqual(gone, { id: f.id, object: 'file', deleted: true });
  });
  await test('a deleted file is gone', async () => {
    await (client.files.delete ?? client.files.del).call(client.files, file.id);
    await assert.rejects(client.files.retrieve(file.id), { status: 404 });
    await assert.rejects(client.files.content(file.id), { status: 404 });
  });
}
