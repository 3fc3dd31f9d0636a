// A second adapter blended into the one that is asked, by its share of both.
import {field, h, select, setText} from "./dom.js";

export class Blend {
  // changed() is called when another answer is due.
  constructor(changed) {
    this.other = select([["", "none"]], "");
    this.share = h("input", {type: "range", min: "0", max: "1", step: "0.05", value: "0.5"});
    this.said = h("output", {class: "said"});
    this.slider = field("Its share", this.share);
    this.slider.classList.add("strength");
    this.slider.append(this.said);
    this.slider.hidden = true;
    this.elements = [field("Blended with", this.other), this.slider];
    this.share.addEventListener("input", () => this.words());
    this.share.addEventListener("change", changed);
    this.other.addEventListener("change", () => {
      this.slider.hidden = !this.other.value;
      changed();
    });
    this.words();
  }

  words() {
    const text = `${Math.round(100 * this.share.value)} %`;
    setText(this.said, text);
    this.share.setAttribute("aria-valuetext", text);
  }

  // Those that `model` may be blended with, of its options.
  offer(options, model) {
    const now = this.other.value;
    const rest = [...options].filter((o) => o.value !== model);
    this.other.replaceChildren(
      h("option", {value: ""}, "none"),
      ...rest.map((o) => h("option", {value: o.value}, o.textContent)),
    );
    this.other.value = rest.some((o) => o.value === now) ? now : "";
    this.elements[0].hidden = !rest.length;
    this.slider.hidden = !this.other.value;
  }

  // Of a request to `model`.
  fields(model) {
    if (!this.other.value) return {};
    const share = Number(this.share.value);
    return {
      adapters: [
        {model, weight: 1 - share},
        {model: this.other.value, weight: share},
      ],
    };
  }

  // "pirate" with what it is blended with.
  name(own) {
    return this.other.value ? `${own} and ${this.other.selectedOptions[0].textContent}` : own;
  }
}
