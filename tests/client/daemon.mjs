// A redd of our own for the tests: a free loopback port, a state directory that goes away with it, keys.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const program = path.resolve(process.env.OUT ?? 'build/release', 'redd');

// The first line of a file that the daemon writes once it is ready.
function written(file, child, log) {
  return new Promise((resolve, reject) => {
    const look = () => {
      const line = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n')[0] : '';
      if (line) {
        watcher.close();
        resolve(line);
      }
    };
    const watcher = fs.watch(path.dirname(file), look);
    child.once('exit', (code) => reject(new Error(`redd ended with ${code}: ${fs.readFileSync(log, 'utf8')}`)));
    look();
  });
}

export async function startDaemon(...args) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'redd-client-'));
  const state = path.join(dir, 'state');
  const log = path.join(dir, 'log');
  const port = path.join(dir, 'port');
  const child = spawn(program, ['--listen', '127.0.0.1:0', '--state', state, '--port-file', port, ...args], {
    stdio: ['ignore', fs.openSync(log, 'w'), fs.openSync(log, 'a')],
  });
  const url = `http://${await written(port, child, log)}`;
  const adminKey = fs.readFileSync(path.join(state, 'admin.key'), 'utf8').trim();

  async function call(key, method, route, body) {
    const answer = await fetch(url + route, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: answer.status, headers: answer.headers, json: await answer.json() };
  }

  return {
    url,
    state,
    log,
    adminKey,
    call,
    admin: (method, route, body) => call(adminKey, method, route, body),
    // The exit code.
    async stop() {
      const code = await new Promise((resolve) => {
        if (child.exitCode !== null) resolve(child.exitCode);
        child.removeAllListeners('exit');
        child.once('exit', resolve);
        child.kill('SIGTERM');
      });
      fs.rmSync(dir, { recursive: true, force: true });
      return code;
    },
  };
}
