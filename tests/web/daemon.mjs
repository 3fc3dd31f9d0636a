// A redd of our own: a free loopback port, a state directory that goes away with it, keys.
import {spawn} from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const program = path.resolve(process.env.OUT ?? "build/release", "redd");

// The first line of a file that the daemon writes once it is ready.
function written(file, child, log) {
  return new Promise((resolve, reject) => {
    const look = () => {
      const line = fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n")[0] : "";
      if (!line) return;
      watcher.close();
      resolve(line);
    };
    const watcher = fs.watch(path.dirname(file), look);
    child.once("exit", (code) => reject(new Error(`redd ended with ${code}: ${fs.readFileSync(log, "utf8")}`)));
    look();
  });
}

export async function startDaemon(...args) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "redd-web-"));
  const state = path.join(dir, "state");
  const log = path.join(dir, "log");
  const port = path.join(dir, "port");
  const out = fs.openSync(log, "a");
  const child = spawn(program, ["--listen", "127.0.0.1:0", "--state", state, "--port-file", port, ...args], {
    stdio: ["ignore", out, out],
  });
  const url = `http://${await written(port, child, log)}`;
  const adminKey = fs.readFileSync(path.join(state, "admin.key"), "utf8").trim();

  async function call(key, method, route, body) {
    const json = body && !(body instanceof FormData);
    const answer = await fetch(url + route, {
      method,
      headers: {authorization: `Bearer ${key}`, ...(json ? {"content-type": "application/json"} : {})},
      body: json ? JSON.stringify(body) : body,
    });
    return {status: answer.status, json: await answer.json()};
  }

  return {
    url, adminKey, call,
    // The key of a new tenant.
    async tenant(name) {
      return (await call(adminKey, "POST", "/admin/tenants", {name})).json.api_key;
    },
    async stop() {
      child.removeAllListeners("exit");
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
      fs.rmSync(dir, {recursive: true, force: true});
    },
  };
}
