// Holds every answer that the tests get to /openapi.json: statuses, content types and schemas, on the wire.
export async function describe(url) {
  const doc = await (await fetch(`${url}/openapi.json`)).json();
  const paths = Object.entries(doc.paths).map(([path, item]) => ({
    item, pattern: new RegExp(`^${path.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
    literal: !path.includes('{'),
  })).sort((a, b) => b.literal - a.literal);
  const resolve = (x) => x.$ref ? x.$ref.split('/').slice(1).reduce((at, key) => at[key], doc) : x;
  const kind = (v) => v === null ? 'null' : Array.isArray(v) ? 'array' : typeof v;
  const fits = (v, type) => type === 'integer' ? Number.isInteger(v) : kind(v) === type;

  // What is wrong with v, or null.
  function wrong(v, given, at) {
    const schema = resolve(given);
    if (schema.anyOf) {
      const all = schema.anyOf.map((s) => wrong(v, s, at));
      return all.includes(null) ? null : all.join('; or ');
    }
    if (schema.type && ![schema.type].flat().some((type) => fits(v, type)))
      return `${at} is ${kind(v)}, not ${schema.type}`;
    if ('const' in schema && v !== schema.const) return `${at} is ${JSON.stringify(v)}`;
    if (schema.enum && !schema.enum.includes(v)) return `${at} is ${JSON.stringify(v)}`;
    if (kind(v) === 'object') {
      for (const key of schema.required ?? []) if (!(key in v)) return `${at}.${key} is missing`;
      for (const [key, s] of Object.entries(schema.properties ?? {})) {
        const found = key in v ? wrong(v[key], s, `${at}.${key}`) : null;
        if (found) return found;
      }
    }
    if (kind(v) === 'array' && schema.items)
      for (let i = 0; i < v.length; i++) {
        const found = wrong(v[i], schema.items, `${at}[${i}]`);
        if (found) return found;
      }
    return null;
  }

  const seen = new Set();
  const findings = new Set();
  async function check(method, address, answer) {
    const path = new URL(address).pathname.replace(/^\/v1\/admin/, '/admin');
    const found = paths.find((p) => p.pattern.test(path) && p.item[method.toLowerCase()]);
    const operation = found?.item[method.toLowerCase()];
    if (!operation) return void findings.add(`${method} ${path} is not described`);
    const response = resolve(answer.status === 200 ? operation.responses['200'] : operation.responses.default);
    const type = (answer.headers.get('content-type') ?? '').split(';')[0];
    if (!(type in response.content)) return void findings.add(`${operation.operationId}: ${answer.status} is ${type}`);
    if (answer.status === 200) seen.add(operation.operationId);
    if (type !== 'application/json') return;
    const body = await answer.json().catch(() => null); // the test has aborted it
    const what = body && wrong(body, response.content[type].schema, operation.operationId);
    if (what) findings.add(what);
  }

  return {
    findings,
    unseen: () => paths.flatMap((p) => Object.entries(p.item).filter(([m]) => m !== 'parameters'))
      .map(([, operation]) => operation.operationId).filter((id) => !seen.has(id)),
    // fetch(), with a look at a copy of every answer of the daemon's.
    async fetch(input, init) {
      const answer = await globalFetch(input, init);
      const address = String(input?.url ?? input);
      // A stream is not copied: a copy that nobody reads would keep it open.
      const copy = answer.headers.get('content-type') === 'application/json' ? answer.clone() : answer;
      if (address.startsWith(url)) pending.push(check(init?.method ?? 'GET', address, copy));
      return answer;
    },
    settled: () => Promise.all(pending),
  };
}

const globalFetch = globalThis.fetch;
const pending = [];
