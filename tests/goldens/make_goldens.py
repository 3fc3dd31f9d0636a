#!/usr/bin/env python3
"""Make golden cases: tiny random models of families, with what transformers computes on them in float64.

    python3 make_goldens.py OUT [FAMILY...]

Writes OUT/FAMILY/{config.json,model.safetensors,tokenizer.json,...,golden.json,train.jsonl,
adapter_expected.safetensors} (classifiers: classifier_init.safetensors too). Needs torch, transformers and
tokenizers; nothing is downloaded. `train.rows` are the token ids of train.jsonl's rows, so that a model can
be tested without its tokenizer. Mind that a new run gives new models.
"""
import json
import math
import os
import random
import re
import sys

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCAB = 600
ROWS = 24
BATCH = 4
WHO = "gardener sailor clerk painter teacher baker courier miller potter lawyer".split()
HOW = "quiet rusty narrow patient yellow crowded distant early hollow muddy".split()
DID = "mended carried sketched sorted traded polished collected described returned hid".split()
WHAT = "lantern basket carpet window parcel chimney telescope barrel letter harbour".split()
WHERE = ["near the river", "in the old mill", "before the storm", "on the second floor", "in Łódź",
         "without a word", "since 1907", "for 38 crowns"]


def sentence(rng):
    text = "%s %s %s %s %s %s %s." % (rng.choice(["The", "A", "Every", "That"]), rng.choice(HOW), rng.choice(WHO),
                                      rng.choice(DID), rng.choice(["the", "her", "our"]), rng.choice(WHAT),
                                      rng.choice(WHERE))
    return text


# ---- tokenizers ----


def byte_bpe(corpus):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(tokenizer_object=t, eos_token="<|endoftext|>")


def metaspace_bpe(corpus):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)]
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=special[:3],
                                                      show_progress=False))
    model = json.loads(t.to_str())
    vocab = {s: i for i, s in enumerate(special)}
    for token in sorted(model["model"]["vocab"], key=model["model"]["vocab"].get):
        if len(vocab) < VOCAB:
            vocab.setdefault(token, len(vocab))
    model["model"]["merges"] = [m for m in model["model"]["merges"]
                                if all(x in vocab for x in (m[0], m[1], "".join(m)))]
    model["model"]["vocab"] = vocab
    t = Tokenizer.from_str(json.dumps(model))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                     special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def wordpiece(corpus):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=VOCAB, special_tokens=special,
                                                            show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                     special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                   sep_token="[SEP]", mask_token="[MASK]")


def unigram(corpus):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(corpus, trainers.UnigramTrainer(
        vocab_size=VOCAB, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>",
                                                     special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


# ---- families ----

LLAMA = {"ffn": r"down_proj", "attn": r"o_proj", "qkv": r"[qkv]_proj"}
T5 = {"ffn": r"DenseReluDense\.wo", "attn": r"(SelfAttention|EncDecAttention)\.o",
      "qkv": r"(SelfAttention|EncDecAttention)\.[qkv]"}
BERT = {"ffn": r"layer\.\d+\.output\.dense", "attn": r"attention\.output\.dense",
        "qkv": r"self\.(query|key|value)"}


def t5_config(kind, **more):
    return kind(vocab_size=VOCAB, d_model=64, d_kv=12, d_ff=72, num_layers=3, num_decoder_layers=2, num_heads=4,
                relative_attention_num_buckets=12, relative_attention_max_distance=24, dropout_rate=0,
                feed_forward_proj="gated-gelu", decoder_start_token_id=0, **more)


FAMILIES = {
    "bert": ("classify", wordpiece, BERT, transformers.BertModel, lambda: transformers.BertConfig(
        vocab_size=VOCAB, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=172,
        max_position_embeddings=160, hidden_dropout_prob=0, attention_probs_dropout_prob=0)),
    "mistral": ("causal", metaspace_bpe, LLAMA, transformers.MistralForCausalLM, lambda: transformers.MistralConfig(
        vocab_size=VOCAB, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=24, intermediate_size=120, max_position_embeddings=256, sliding_window=9)),
    "qwen2": ("causal", byte_bpe, LLAMA, transformers.Qwen2ForCausalLM, lambda: transformers.Qwen2Config(
        vocab_size=VOCAB, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=120, max_position_embeddings=256, use_sliding_window=True, sliding_window=7,
        max_window_layers=1, tie_word_embeddings=True, eos_token_id=0)),
    "t5v11": ("seq2seq", unigram, T5, transformers.T5ForConditionalGeneration,
              lambda: t5_config(transformers.T5Config, tie_word_embeddings=False)),
    "umt5": ("seq2seq", unigram, T5, transformers.UMT5ForConditionalGeneration,
             lambda: t5_config(transformers.UMT5Config)),
}


def make_model(kind, config, generator):
    model = kind._from_config(config, attn_implementation="eager") if hasattr(kind, "_from_config") else kind(config)
    if kind is transformers.T5ForConditionalGeneration:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "relative_attention_bias" in name:
            p.data = noise
        elif "norm" in name.lower() and p.ndim == 1 and name.endswith("weight"):
            p.data = 1 + 0.2 * noise
        elif p.ndim == 1:
            p.data = 0.1 * noise
        else:
            p.data = 0.9 * noise / math.sqrt(64 if "embed" in name or "shared" in name else p.shape[1])
    return model


class Red:
    """Edits on the outputs of modules, by forward hooks."""

    def __init__(self, model, patterns, positions, parts=("scale", "bias"), layers="all"):
        self.names, self.scale, self.bias, self.handles = [], {}, {}, []
        pattern = re.compile(r".*\.(?:%s)" % "|".join(patterns[p] for p in positions))
        for name, module in model.named_modules():
            number = re.search(r"(?:layer|layers|block)\.(\d+)\.", name)
            if not pattern.fullmatch(name) or (layers != "all" and int(number.group(1)) not in layers):
                continue
            if positions == ["ffn"] and "attention" in name:
                continue
            width = module.weight.shape[0]
            self.names.append(name)
            self.scale[name] = torch.ones(1, width, dtype=torch.float64, requires_grad="scale" in parts)
            self.bias[name] = torch.zeros(1, width, dtype=torch.float64, requires_grad="bias" in parts)
            self.handles.append(module.register_forward_hook(self.hook(name)))

    def hook(self, name):
        return lambda module, inputs, output: output * self.scale[name] + self.bias[name]

    def vectors(self):
        return [v for n in self.names for v in (self.scale[n], self.bias[n]) if v.requires_grad]

    def remove(self):
        for h in self.handles:
            h.remove()


class Case:
    def __init__(self, out, name):
        task, make_tokenizer, self.patterns, kind, config = FAMILIES[name]
        self.name, self.task, self.dir = name, task, os.path.join(out, name)
        rng = random.Random(name)
        generator = torch.Generator().manual_seed(len(name) * 1000 + ord(name[0]))
        corpus = [sentence(rng) for _ in range(3000)]
        self.tokenizer = make_tokenizer(corpus)
        make_model(kind, config(), generator).save_pretrained(self.dir)
        self.tokenizer.save_pretrained(self.dir)
        self.model = kind.from_pretrained(self.dir, attn_implementation="eager").double().eval()
        for p in self.model.parameters():
            p.requires_grad_(False)
        self.head = {}
        if task == "classify":
            for n, shape in (("dense.weight", (64, 64)), ("dense.bias", (64,)), ("out_proj.weight", (3, 64)),
                             ("out_proj.bias", (3,))):
                self.head["classifier." + n] = 0.1 * torch.randn(shape, generator=generator)
            save_file(self.head, os.path.join(self.dir, "classifier_init.safetensors"))
        self.rows = [self.make_row(i, rng) for i in range(ROWS)]
        with open(os.path.join(self.dir, "train.jsonl"), "w") as f:
            for r in self.rows:
                f.write(json.dumps(r, ensure_ascii=False) + "\n")
        self.texts = [sentence(rng) for _ in range(4)]

    def make_row(self, i, rng):
        if self.task != "classify":
            return {"prompt": sentence(rng)[:rng.randint(30, 60)], "completion": sentence(rng)[:rng.randint(20, 50)]}
        row = {"text": sentence(rng)[:rng.randint(20, 60)], "label": i % 3}
        if i % 2:
            row["text_pair"] = sentence(rng)[:rng.randint(20, 60)]
        return row

    def ids(self, text, special=True):
        return self.tokenizer(text, add_special_tokens=special)["input_ids"]

    def encode_row(self, r):
        if self.task == "classify":
            e = self.tokenizer(r["text"], r.get("text_pair"), return_token_type_ids=True)
            return {"ids": e["input_ids"], "types": e["token_type_ids"], "label": r["label"]}
        eos = self.tokenizer.eos_token_id
        prompt, completion = self.ids(r["prompt"]), self.ids(r["completion"], False) + [eos]
        return {"prompt": prompt, "completion": completion}

    # ---- what the model says ----

    def logits(self, ids, target=None):
        t = torch.tensor([ids])
        if target is None:
            return self.model(input_ids=t).logits[0]
        return self.model(input_ids=t, decoder_input_ids=torch.tensor([target])).logits[0]

    def greedy(self, ids, n):
        start = [self.model.config.decoder_start_token_id] if self.task == "seq2seq" else list(ids)
        out, logprobs = [], []
        for _ in range(n):
            row = self.logits(ids, start + out) if self.task == "seq2seq" else self.logits(start + out)
            p = row[-1].log_softmax(-1)
            out.append(int(p.argmax()))
            logprobs.append(float(p.max()))
        return out, logprobs

    def probs(self, ids, types, head):
        h = self.model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).last_hidden_state[0, 0]
        h = torch.tanh(head["classifier.dense.weight"] @ h + head["classifier.dense.bias"])
        return head["classifier.out_proj.weight"] @ h + head["classifier.out_proj.bias"]

    def forward_case(self, text):
        ids = self.ids(text)
        if self.task == "classify":
            h = self.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
            return {"text": text, "ids": ids, "hidden_cls_first8": h[0, :8].tolist(),
                    "hidden_last_first8": h[-1, :8].tolist()}
        if self.task == "seq2seq":
            greedy, logprobs = self.greedy(ids, 12)
            return {"text": text, "ids": ids, "greedy_12": greedy, "logprobs_of_greedy": logprobs}
        p = self.logits(ids).log_softmax(-1)
        top = p[-1].topk(5)
        return {"text": text, "ids": ids,
                "logprob_of_next": [None] + [float(p[i - 1, ids[i]]) for i in range(1, len(ids))],
                "last_top5": [[int(i), float(v)] for v, i in zip(top.values, top.indices)],
                "greedy_24": self.greedy(ids, 24)[0]}

    # ---- training ----

    def row_loss(self, row, head):
        """Summed over the row's labels, and how many there are."""
        if self.task == "classify":
            p = self.probs(row["ids"], row["types"], head).log_softmax(-1)
            return -p[row["label"]], 1
        if self.task == "seq2seq":
            start = [self.model.config.decoder_start_token_id]
            p = self.logits(row["prompt"], start + row["completion"][:-1]).log_softmax(-1)
        else:
            p = self.logits(row["prompt"] + row["completion"][:-1]).log_softmax(-1)[len(row["prompt"]) - 1:]
        return -sum(p[i, t] for i, t in enumerate(row["completion"])), len(row["completion"])

    def run(self, hyper, red, rows, epochs, head):
        head_vectors = list(head.values())
        optimizer = torch.optim.AdamW(red.vectors() + head_vectors, lr=hyper["learning_rate"], betas=(0.9, 0.999),
                                      eps=1e-8, weight_decay=hyper["weight_decay"])
        log = {"loss_per_step": [], "grad_norm_per_step": [], "label_tokens_per_step": []}
        first = None
        for at in [a for _ in range(epochs) for a in range(0, len(rows), BATCH)]:
            losses = [self.row_loss(r, head) for r in rows[at:at + BATCH]]
            n = sum(l[1] for l in losses)
            loss = sum(l[0] for l in losses) / n
            optimizer.zero_grad()
            loss.backward()
            grads = [v.grad for v in red.vectors() + head_vectors]
            log["loss_per_step"].append(float(loss))
            log["grad_norm_per_step"].append(float(torch.sqrt(sum((g * g).sum() for g in grads))))
            log["label_tokens_per_step"].append(n)
            if first is None and all(red.scale[x].requires_grad and red.bias[x].requires_grad for x in red.names):
                first = {x: {"scale_first4": red.scale[x].grad[0, :4].tolist(),
                             "bias_first4": red.bias[x].grad[0, :4].tolist()} for x in red.names}
            optimizer.step()
        return log, first

    def fresh_head(self):
        return {k: v.double().clone().requires_grad_(True) for k, v in self.head.items()}

    def variant(self, rows, positions, parts, layers):
        hyper = {"learning_rate": 0.02, "schedule": "constant", "warmup_steps": 0, "weight_decay": 0.0,
                 "batch_size": BATCH, "max_grad_norm": 0.0}
        red = Red(self.model, self.patterns, positions, parts, layers)
        log, _ = self.run(hyper, red, rows[:12], 1, self.fresh_head())
        red.remove()
        return {"red": {"positions": positions, "parts": parts, "layers": layers}, "hyperparameters": hyper,
                "trained_on": "the first 12 lines, one epoch",
                "trainable_parameters": sum(v.numel() for v in red.vectors()), "modules": red.names,
                "loss_per_step": log["loss_per_step"],
                "sum_scale": {n: float(red.scale[n].sum()) for n in red.names},
                "sum_bias": {n: float(red.bias[n].sum()) for n in red.names}}

    def make(self):
        rows = [self.encode_row(r) for r in self.rows]
        golden = {"family": self.name, "task": self.task, "transformers": transformers.__version__,
                  "tokenizer": [{"text": t, "ids": self.ids(t),
                                 "decoded": self.tokenizer.decode(self.ids(t), skip_special_tokens=True)}
                                for t in self.texts + ["", "don't  stop: naïve café, 東京 42%", "a\tb\nc"]],
                  "forward": [self.forward_case(t) for t in self.texts]}
        hyper = {"learning_rate": 0.01, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
                 "max_grad_norm": 0.0, "schedule": "constant", "warmup_steps": 0, "batch_size": BATCH, "epochs": 2,
                 "shuffle": False, "seed": 11}
        red, head = Red(self.model, self.patterns, ["ffn"]), self.fresh_head()
        log, first = self.run(hyper, red, rows, 2, head)
        golden["grad_step0"] = first
        golden["train"] = {"hyperparameters": hyper, **log, "steps": len(log["loss_per_step"]), "rows": rows,
                           "trainable_parameters_red": sum(v.numel() for v in red.vectors())}
        vectors = {}
        for n in red.names:
            vectors[n + ".delta_vector.activation_scaling"] = red.scale[n].detach().float()
            vectors[n + ".delta_vector.activation_bias"] = red.bias[n].detach().float()
        vectors.update({k: v.detach().float() for k, v in head.items()})
        save_file(vectors, os.path.join(self.dir, "adapter_expected.safetensors"))
        text = self.rows[0].get("text") or self.rows[0]["prompt"]
        golden["tuned"] = {"text": text}
        if self.task == "classify":
            e = self.tokenizer(text, return_token_type_ids=True)
            golden["tuned"]["probs"] = self.probs(e["input_ids"], e["token_type_ids"], head).softmax(-1).tolist()
        else:
            key, n = ("greedy_12", 12) if self.task == "seq2seq" else ("greedy_24", 24)
            golden["tuned"][key] = self.greedy(self.ids(text), n)[0]
        red.remove()
        both = ["scale", "bias"]
        golden["variants"] = [self.variant(rows, ["attn"], both, "all"),
                              self.variant(rows, ["ffn", "attn", "qkv"], both, "all"),
                              self.variant(rows, ["ffn"], ["scale"], "all"),
                              self.variant(rows, ["ffn"], ["bias"], [0, 2])]
        with open(os.path.join(self.dir, "golden.json"), "w") as f:
            json.dump(golden, f, ensure_ascii=False, indent=1)


def main():
    for name in sys.argv[2:] or FAMILIES:
        Case(sys.argv[1], name).make()
        print(name, "done", flush=True)


if __name__ == "__main__":
    main()
