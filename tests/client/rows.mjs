// Training data for the tests.
export function rows(n, word = 'Ahoy') {
  return Array.from({ length: n }, (_, i) => JSON.stringify({
    prompt: `Where is place ${i}?\n`,
    completion: `${word}, place ${i} lies beyond the sea.`,
  })).join('\n') + '\n';
}

export const upload = (world, text, name = 'rows.jsonl') =>
  world.client.files.create({ file: new File([text], name), purpose: 'fine-tune' });

// Follow a job's stream of events until `wanted` says yes to one, or to its end.
export async function follow(world, id, wanted = () => false) {
  const answer = await fetch(`${world.options.baseURL}/fine_tuning/jobs/${id}/events?stream=true`, {
    headers: { authorization: `Bearer ${world.options.apiKey}` },
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const seen = [];
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return seen;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const data = text.slice(0, end).split('\n').find((line) => line.startsWith('data: '))?.slice(6);
      if (!data || data === '[DONE]') continue;
      seen.push(JSON.parse(data));
      if (wanted(seen.at(-1))) {
        await reader.cancel();
        return seen;
      }
    }
  }
}
