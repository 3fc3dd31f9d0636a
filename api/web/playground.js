// One prompt, two answers side by side as they are made: the base's and an adapter's, at any strength.
import {complete} from "./api.js";
import {Blend} from "./blend.js";
import {choices, strengthSlider} from "./choose.js";
import {showClassify} from "./classify.js";
import {announce, field, h, notice, select, setText} from "./dom.js";
import {examplesOf} from "./example.js";
import {plural} from "./format.js";
import {session} from "./session.js";

// One answer as it comes in.
class Answer {
  constructor(title) {
    this.title = h("h2", {}, title);
    this.text = h("p", {class: "output", tabindex: "0", role: "region", aria: {label: "Answer of " + title}});
    this.foot = h("p", {class: "meta muted"}, "Nothing asked yet.");
    this.element = h("section", {class: "card answer"}, this.title, this.text, this.foot);
    this.stop = new AbortController();
  }

  name(title) {
    setText(this.title, title);
    this.text.setAttribute("aria-label", "Answer of " + title);
  }

  async run(path, body, signal) {
    this.stop.abort();
    this.stop = new AbortController();
    const began = performance.now();
    let first = 0;
    let tokens = 0;
    this.content = "";
    this.text.replaceChildren();
    this.text.ariaBusy = "true";
    setText(this.foot, "…");
    try {
      for await (const chunk of complete(path, body, AbortSignal.any([signal, this.stop.signal]))) {
        const choice = chunk.choices[0];
        const piece = choice ? (choice.text ?? choice.delta?.content ?? "") : "";
        if (piece && !first) first = performance.now();
        if (chunk.usage) tokens = chunk.usage.completion_tokens;
        this.content += piece;
        this.text.append(piece);
      }
      const seconds = (performance.now() - (first || began)) / 1000;
      const rate = tokens > 1 && seconds > 0 ? ` · ${((tokens - 1) / seconds).toFixed(0)} a second` : "";
      setText(
        this.foot,
        `${plural(tokens, "token")}${rate}${first ? ` · first after ${(first - began).toFixed(0)} ms` : ""}`,
      );
      return true;
    } catch (e) {
      if (e.name === "AbortError") setText(this.foot, "stopped");
      else this.foot.replaceChildren(h("span", {class: "error", role: "alert"}, e.message));
      return false;
    } finally {
      this.text.ariaBusy = "false";
    }
  }

  // Fade what the base said too.
  compare(base) {
    if (!this.content) return;
    if (this.content === base) {
      this.foot.append(" · the same as the base");
      return;
    }
    let n = 0;
    while (n < base.length && base[n] === this.content[n]) n++;
    this.text.replaceChildren(h("span", {class: "same"}, this.content.slice(0, n)), this.content.slice(n));
  }
}

function sampling() {
  const number = (value, props) => h("input", {type: "number", value, min: "0", step: "any", ...props});
  const tokens = number("128", {step: "1", min: "1"});
  const temperature = number("0", {max: "2"});
  const topP = number("1", {max: "1"});
  const seed = number("1", {step: "1"});
  return {
    element: h(
      "details",
      {},
      h("summary", {}, "Sampling"),
      h(
        "div",
        {class: "fields"},
        field("Most tokens", tokens),
        field("Temperature", temperature, "0: always the likeliest token."),
        field("Top p", topP),
        field("Seed", seed),
      ),
    ),
    values: () => ({
      max_tokens: Number(tokens.value),
      temperature: Number(temperature.value),
      top_p: Number(topP.value),
      seed: Number(seed.value),
    }),
  };
}

class Playground {
  constructor(wanted, signal) {
    this.signal = signal;
    this.wanted = wanted;
    this.prompt = h("textarea", {rows: "4", spellcheck: "false", placeholder: "Ask something"});
    this.model = select([], "");
    this.mode = select(
      [
        ["text", "Text"],
        ["chat", "Chat"],
      ],
      "text",
    );
    this.strength = strengthSlider();
    this.blend = new Blend(() => this.blended());
    this.sampling = sampling();
    this.hint = h("p", {class: "hint", aria: {live: "polite"}});
    this.base = new Answer(session.base ? session.base.id : "base");
    this.tuned = new Answer("adapter");
    this.examples = [];
    this.example = h(
      "button",
      {type: "button", class: "small", hidden: true, onclick: () => this.useExample()},
      "Another example",
    );
    this.go = h("button", {class: "primary"}, "Run");
    this.halt = h("button", {type: "button", hidden: true, onclick: () => this.stop()}, "Stop");
    this.form = h(
      "form",
      {class: "card"},
      field("Prompt", this.prompt),
      this.hint,
      h(
        "div",
        {class: "fields"},
        field("Adapter", this.model),
        session.base?.kind === "causal" ? field("As", this.mode) : null,
        this.strength.element,
        this.blend.elements,
      ),
      this.sampling.element,
      h(
        "div",
        {class: "buttons"},
        this.go,
        this.halt,
        this.example,
        h("span", {class: "muted keys"}, "Ctrl + Enter"),
      ),
    );
    this.element = h(
      "div",
      {class: "stack"},
      this.form,
      h("div", {class: "pair"}, this.base.element, this.tuned.element),
    );
    this.listen();
    this.fill().catch((e) => e.name !== "AbortError" && notice(e.message, true));
  }

  listen() {
    this.form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.run();
    });
    this.prompt.addEventListener("keydown", (e) => {
      if (e.key !== "Enter" || !(e.ctrlKey || e.metaKey)) return;
      e.preventDefault();
      this.run();
    });
    this.prompt.addEventListener("input", () => this.checkShape());
    this.model.addEventListener("change", () => this.chosen());
    this.strength.input.addEventListener("change", () => this.ran && this.runTuned());
    this.signal.addEventListener("abort", () => this.stop());
  }

  async fill() {
    const options = await choices(this.wanted, this.signal);
    this.model.append(...options);
    if (!options.length) {
      this.tuned.element.hidden = this.strength.element.hidden = true;
      this.blend.offer([], "");
      setText(this.hint, "There is no adapter yet; only the base answers.");
      return;
    }
    this.model.value = this.wanted || options[0].value;
    await this.chosen();
  }

  async chosen() {
    const option = this.model.selectedOptions[0];
    this.blend.offer(this.model.options, option.value);
    this.tuned.name(this.blend.name(option.textContent));
    this.examples = await examplesOf(option.dataset.model, this.signal).catch(() => []);
    this.example.hidden = !this.examples.length;
    if (this.examples.length) this.mode.value = this.examples[0].mode;
    if (this.examples.length && !this.prompt.value) this.useExample(0);
    this.checkShape();
  }

  blended() {
    this.tuned.name(this.blend.name(this.model.selectedOptions[0].textContent));
    if (this.ran) this.runTuned();
  }

  useExample(i = Math.floor(Math.random() * this.examples.length)) {
    this.prompt.value = this.examples[i].prompt;
    this.checkShape();
  }

  // Adapters mind the shape they were trained on, down to the last line break.
  checkShape() {
    const texts = this.examples.filter((e) => e.mode === "text");
    const broken =
      texts.length &&
      this.mode.value === "text" &&
      this.prompt.value &&
      texts.every((e) => e.prompt.endsWith("\n")) &&
      !this.prompt.value.endsWith("\n");
    setText(
      this.hint,
      broken ? "This adapter was trained on prompts that end with a line break; yours does not." : "",
    );
  }

  request(model) {
    const body = {model, ...this.sampling.values(), stream_options: {include_usage: true}};
    if (this.mode.value === "chat")
      return ["/v1/chat/completions", {...body, messages: [{role: "user", content: this.prompt.value}]}];
    return ["/v1/completions", {...body, prompt: this.prompt.value}];
  }

  async busy(work) {
    this.halt.hidden = false;
    await work;
    this.halt.hidden = true;
  }

  async run() {
    this.ran = true;
    this.baseDone = this.base.run(...this.request(session.base.id), this.signal);
    if (this.model.value) await this.runTuned();
    else await this.busy(this.baseDone);
  }

  async runTuned() {
    const [path, body] = this.request(this.model.value);
    const both = Promise.all([
      this.baseDone,
      this.tuned.run(
        path,
        {...body, ...this.blend.fields(body.model), adapter_strength: this.strength.value()},
        this.signal,
      ),
    ]);
    await this.busy(both);
    const [base, tuned] = await both;
    if (base && tuned) {
      this.tuned.compare(this.base.content);
      announce("Both answers are there.");
    }
  }

  stop() {
    this.base.stop.abort();
    this.tuned.stop.abort();
  }
}

export function showPlayground(main, [wanted], signal) {
  main.append(h("h1", {tabindex: "-1"}, "Playground"));
  main.append(
    session.base?.kind === "encoder" ? showClassify(wanted, signal) : new Playground(wanted, signal).element,
  );
}
