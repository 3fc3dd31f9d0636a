#!/usr/bin/env python3
"""What transformers' generate() answers with beams, over the models of this folder: beam.json beside it.

    python3 make_beam.py GOLDENS_DIR > beam.json

Every setting is run in float32 and in float64; cases in which the two differ hang on rounding and are left out.
"""
import itertools
import json
import sys

import torch
import transformers

FAMILIES = ("gpt2", "llama2", "llama3")
BEAMS = (1, 2, 4, 10)
LENGTH_PENALTIES = (0.5, 0.9, 1.0, 2.0)
NO_REPEAT = (0, 2, 4)
REPETITION = (1.0, 1.2)
# Taken in turn, so that each meets all of the above without multiplying their number.
PROMPT_LENGTHS = (9, 23, 4, 40, 17)
# Above what lifts the end to the likeliest token after the prompt: from always ending to hardly ever. None: no bias.
EOS_LIFTS = (-1.5, None, -3.0, -0.5, -5.0, -2.0, -4.0)
EARLY_STOPPING = (False, False, True, "never")
MAX_TOKENS = (24, 20, 7)


def settings():
    turn = 0
    for beams, length_penalty, no_repeat, repetition in itertools.product(
        BEAMS, LENGTH_PENALTIES, NO_REPEAT, REPETITION
    ):
        if beams == 1 and length_penalty != 1.0:
            continue
        yield turn, {
            "num_beams": beams,
            "num_return": 1 + turn % min(beams, 3),
            "length_penalty": length_penalty,
            "early_stopping": EARLY_STOPPING[turn % len(EARLY_STOPPING)] if beams > 1 else False,
            "no_repeat_ngram_size": no_repeat,
            "repetition_penalty": repetition,
            "max_tokens": MAX_TOKENS[turn % len(MAX_TOKENS)],
        }
        turn += 1


def eos_bias(model, prompt, lift):
    if lift is None:
        return 0.0
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1]
    return round(float(logits.max() - logits[model.generation_config.eos_token_id]) + lift, 3)


def generate(model, prompt, case):
    eos = model.generation_config.eos_token_id
    ids = torch.tensor([prompt])
    more = {}
    if case["num_beams"] > 1:
        more = {"length_penalty": case["length_penalty"], "early_stopping": case["early_stopping"]}
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_beams=case["num_beams"],
        num_return_sequences=case["num_return"],
        no_repeat_ngram_size=case["no_repeat_ngram_size"],
        repetition_penalty=case["repetition_penalty"],
        sequence_bias={(eos,): case["eos_bias"]} if case["eos_bias"] else None,
        max_new_tokens=case["max_tokens"],
        pad_token_id=eos,
        return_dict_in_generate=True,
        **more,
    )
    answers = []
    for row in out.sequences[:, len(prompt) :].tolist():
        answers.append(row[: row.index(eos) + 1] if eos in row else row)
    return answers


def cases(root, family):
    with open(f"{root}/{family}/golden.json", encoding="utf-8") as f:
        texts = [c["ids"] for c in json.load(f)["forward"]]
    single, double = (
        transformers.AutoModelForCausalLM.from_pretrained(f"{root}/{family}", dtype=dtype).eval()
        for dtype in (torch.float32, torch.float64)
    )
    for turn, case in settings():
        prompt = texts[turn % len(texts)][: PROMPT_LENGTHS[turn % len(PROMPT_LENGTHS)]]
        case["eos_bias"] = eos_bias(double, prompt, EOS_LIFTS[turn % len(EOS_LIFTS)])
        answers = generate(double, prompt, case)
        if generate(single, prompt, case) == answers:
            yield {"family": family, "prompt": prompt, **case, "answers": answers}
        else:
            print(f"{family} {turn}: rounding decides, left out", file=sys.stderr)


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(json.dumps({"transformers": transformers.__version__})[:-1] + ', "cases": [')
    lines = [json.dumps(c, separators=(",", ":")) for f in FAMILIES for c in cases(sys.argv[1], f)]
    print(",\n".join(lines) + "\n]}")


if __name__ == "__main__":
    main()
