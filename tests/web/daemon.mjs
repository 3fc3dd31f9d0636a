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
    child.once("exit", (code) =>
      reject(new Error(`redd ended with ${code}: ${fs.readFileSync(log, "utf8")}`)),
    );
    look();
  });
}

export async function startDaemon(...args) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "redd-web-"));
  const state = path.join(dir, "state");
  const log = path.join(dir, "log");
  const port = path.join(dir, "port");
  let child;

  async function start(listen) {
    const out = fs.openSync(log, "a");
    fs.rmSync(port, {force: true});
    child = spawn(program, ["--listen", listen, "--state", state, "--port-file", port, ...args], {
      stdio: ["ignore", out, out],
    });
    fs.closeSync(out);
    const address = await written(port, child, log);
    child.removeAllListeners("exit");
    return address;
  }

  async function end(signal) {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  const address = await start("127.0.0.1:0");
  const url = "http://" + address;
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
    url,
    adminKey,
    call,
    // The key of a new tenant.
    async tenant(name) {
      return (await call(adminKey, "POST", "/admin/tenants", {name})).json.api_key;
    },
    // As a power cut would: gone at once, and back at the same address.
    kill: () => end("SIGKILL"),
    again: () => start(address),
    async stop() {
      await end("SIGTERM");
      fs.rmSync(dir, {recursive: true, force: true});
    },
  };
}
