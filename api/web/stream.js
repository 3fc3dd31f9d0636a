// Server-sent events out of a fetch body: EventSource cannot send a key. Pure.

function parseOne(text) {
  const event = {id: "", data: ""};
  for (const line of text.split("\n")) {
    if (line.startsWith("data:")) event.data += (event.data && "\n") + line.slice(5).trimStart();
    else if (line.startsWith("id:")) event.id = line.slice(3).trim();
  }
  return event;
}

export async function* parseEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      pending += value;
      const parts = pending.split("\n\n");
      pending = parts.pop();
      for (const part of parts) {
        const event = parseOne(part);
        if (event.data) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
