#!/usr/bin/env python3
"""Golden cases of RED's options: a layer norm behind the edit, and edits after the residual, in float64.

    python3 make_options.py

Reads the models in roberta/ and gpt2/ beside it; writes pth/options-*.pth, adapters as torch.save leaves them,
and options.json: for each what the edited model gives, the loss and its gradient by every vector. The models
are written out here once more, so that nothing but torch is needed and nothing is shared with what is tested.
"""
import json
import math
import os
import struct

import numpy
import torch
from torch.nn.functional import cross_entropy, gelu, layer_norm, linear, log_softmax

HERE = os.path.dirname(os.path.abspath(__file__))
LABELS = 3
torch.manual_seed(20)
torch.set_default_dtype(torch.float64)


def load_model(family):
    with open(os.path.join(HERE, family, "model.safetensors"), "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    tensors = {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            array = numpy.frombuffer(data[begin:end], dtype="<f4").reshape(t["shape"])
            tensors[name] = torch.from_numpy(array.astype("f8"))
    with open(os.path.join(HERE, family, "config.json")) as f:
        return tensors, json.load(f)


def edit(adapter, module, h):
    """The authors' order: scale, bias, then the norm."""
    def part(name):
        return adapter.get("%s.delta_vector.activation_%s" % (module, name))

    if part("scaling") is not None:
        h = h * part("scaling")
    if part("bias") is not None:
        h = h + part("bias")
    if part("ln.weight") is not None:
        h = layer_norm(h, h.shape[-1:], part("ln.weight"), part("ln.bias"), 1e-5)
    return h


def attend(q, k, v, n_heads, causal):
    n, width = q.shape
    q, k, v = (x.view(n, n_heads, width // n_heads).transpose(0, 1) for x in (q, k, v))
    scores = q @ k.transpose(1, 2) / math.sqrt(width // n_heads)
    if causal:
        scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(n, width)


def roberta(w, c, adapter, ids):
    def dense(x, name):
        return linear(x, w[name + ".weight"], w[name + ".bias"])

    def norm(x, name):
        return layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], c["layer_norm_eps"])

    def joined(x, h, name):
        h = edit(adapter, name + ".dense", dense(h, name + ".dense"))
        return edit(adapter, name, norm(h + x, name + ".LayerNorm"))

    e = "embeddings."
    positions = torch.arange(len(ids)) + c["pad_token_id"] + 1
    x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][positions]
    x = norm(x + w[e + "token_type_embeddings.weight"][0], e + "LayerNorm")
    for i in range(c["num_hidden_layers"]):
        layer = "encoder.layer.%d." % i
        qkv = [dense(x, layer + "attention.self." + m) for m in ("query", "key", "value")]
        x = joined(x, attend(*qkv, c["num_attention_heads"], False), layer + "attention.output")
        x = joined(x, gelu(dense(x, layer + "intermediate.dense")), layer + "output")
    h = torch.tanh(linear(x[0], adapter["classifier.dense.weight"], adapter["classifier.dense.bias"]))
    return linear(h, adapter["classifier.out_proj.weight"], adapter["classifier.out_proj.bias"])


def gpt2(w, c, adapter, ids):
    w = {name.replace("transformer.", "", 1): t for name, t in w.items()}

    def dense(x, name):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    def norm(x, name):
        return layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], c["layer_norm_epsilon"])

    def joined(x, h, name, stream):
        return edit(adapter, "transformer." + stream, x + edit(adapter, "transformer." + name, dense(h, name)))

    x = w["wte.weight"][ids] + w["wpe.weight"][: len(ids)]
    for i in range(c["n_layer"]):
        layer = "h.%d" % i
        qkv = dense(norm(x, layer + ".ln_1"), layer + ".attn.c_attn").chunk(3, -1)
        x = joined(x, attend(*qkv, c["n_head"], True), layer + ".attn.c_proj", layer + ".attn_residual")
        h = dense(norm(x, layer + ".ln_2"), layer + ".mlp.c_fc")
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h ** 3)))
        x = joined(x, h, layer + ".mlp.c_proj", layer)
    return norm(x, "ln_f") @ w["wte.weight"].t()


def make_adapter(modules, width, parts, head):
    adapter = {}

    def add(name, shape, start, spread):
        adapter[name] = (start + spread * torch.randn(shape)).float()

    for m in modules:
        for part in parts:
            flat = part.startswith("ln.")
            add("%s.delta_vector.activation_%s" % (m, part), (width,) if flat else (1, width),
                1 if part in ("scaling", "ln.weight") else 0, 0.2)
    if head:
        for name, rows in (("dense", width), ("out_proj", LABELS)):
            add("classifier.%s.weight" % name, (rows, width), 0, 0.3)
            add("classifier.%s.bias" % name, (rows,), 0, 0.3)
    return adapter


def check_base(family, run):
    """The models written out here are transformers', as far as the goldens tell."""
    w, c = load_model(family)
    with open(os.path.join(HERE, family, "golden.json")) as f:
        golden = json.load(f)["forward"][0]
    if family == "gpt2":
        got = log_softmax(run(w, c, {}, golden["ids"]), -1)[-1][golden["last_top5"][0][0]]
        want = golden["last_top5"][0][1]
    else:
        tiny = 1e-5
        eye = torch.eye(c["hidden_size"])
        head = {"classifier.dense.weight": tiny * eye, "classifier.out_proj.weight": eye / tiny,
                "classifier.dense.bias": 0 * eye[0], "classifier.out_proj.bias": 0 * eye[0]}
        got = run(w, c, head, golden["ids"])[0]
        want = golden["hidden_cls_first8"][0]
    assert abs(got.item() - want) < 1e-5, (family, got.item(), want)


def make_case(name, family, modules, parts):
    run = {"roberta": roberta, "gpt2": gpt2}[family]
    w, c = load_model(family)
    with open(os.path.join(HERE, family, "golden.json")) as f:
        ids = [x["ids"] for x in json.load(f)["forward"]]
    stored = make_adapter(modules, c.get("hidden_size") or c["n_embd"], parts, family == "roberta")
    adapter = {k: v.double().requires_grad_() for k, v in stored.items()}
    loss, outputs = 0, []
    for i, row in enumerate(ids):
        y = run(w, c, adapter, row)
        if family == "roberta":
            loss = loss + cross_entropy(y[None], torch.tensor([i % LABELS]))
            outputs.append(y.tolist())
        else:
            loss = loss + cross_entropy(y[:-1], torch.tensor(row[1:]), reduction="sum")
            outputs.append([log_softmax(y, -1)[j, row[j + 1]].item() for j in range(len(row) - 1)])
    loss.backward()
    torch.save(stored, os.path.join(HERE, "pth", "options-%s.pth" % name))
    return {"name": name, "family": family, "ids": ids, "outputs": outputs, "loss": loss.item(),
            "grads": {k: [float("%.9g" % x) for x in v.grad.flatten()] for k, v in adapter.items()
                      if not k.startswith("classifier.")}}


def main():
    check_base("roberta", roberta)
    check_base("gpt2", gpt2)
    both, norm = ["scaling", "bias"], ["scaling", "bias", "ln.weight", "ln.bias"]
    encoder, decoder = "encoder.layer.%d.", "transformer.h.%d"
    cases = [
        make_case("roberta-ln", "roberta", [encoder % i + "output.dense" for i in range(3)], norm),
        make_case("roberta-res", "roberta", [encoder % i + "output" for i in (0, 2)], both),
        make_case("roberta-res-with-attn", "roberta",
                  [encoder % i + m for i in range(3) for m in ("attention.output", "output")], both),
        make_case("roberta-res-ln", "roberta", [encoder % i + "output" for i in range(3)], norm),
        make_case("gpt2-ln", "gpt2", [decoder % i + ".mlp.c_proj" for i in range(3)], norm),
        make_case("gpt2-res", "gpt2",
                  [decoder % i + m for i in range(3) for m in ("", ".attn_residual", ".mlp.c_proj")], both),
        make_case("gpt2-res-ln", "gpt2", [decoder % i for i in (1, 2)], norm),
    ]
    with open(os.path.join(HERE, "options.json"), "w") as f:
        json.dump(cases, f, indent=None, separators=(",", ":"))
        f.write("\n")


main()
