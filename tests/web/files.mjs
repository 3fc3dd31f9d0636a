// Files as a person would have them, and dropped as a person would drop them.
import fs from "node:fs";
import path from "node:path";

const demo = path.resolve(process.env.DEMO ?? "tests/demo");

export const pirate = fs.readFileSync(path.join(demo, "pirate.jsonl"), "utf8");

export function rows(n) {
  return pirate.split("\n").slice(0, n).join("\n") + "\n";
}

// Drag files {name: text} over the page and let them go.
export async function drop(page, files) {
  const transfer = await page.evaluateHandle((all) => {
    const t = new DataTransfer();
    for (const [name, text] of Object.entries(all))
      t.items.add(new File([text], name, {type: "application/jsonl"}));
    return t;
  }, files);
  for (const type of ["dragenter", "dragover", "drop"])
    await page.dispatchEvent(".drop", type, {dataTransfer: transfer});
}
