"""Save the golden adapters as PyTorch does, for the tests of the reader of torch.save's files.

    python3 tests/goldens/pth/make.py SOURCE OUT

SOURCE holds gpt2/, llama2/, ... with adapter_expected.safetensors each; needs torch and safetensors. Each file
is another way in which such a file comes about; the numbers of NAME-KIND.pth are those of NAME's adapter, rounded
to the type that KIND names.
"""
import collections
import os
import sys

import torch
from safetensors.torch import load_file

source, out = sys.argv[1], sys.argv[2]


def load(name):
    return load_file(os.path.join(source, name, "adapter_expected.safetensors"))


def save(name, value, **options):
    torch.save(value, os.path.join(out, name + ".pth"), **options)


def module(tensors):
    """A module whose parameters bear these names: state_dict() gives an OrderedDict with attributes."""
    root = torch.nn.Module()
    for name, value in tensors.items():
        at = root
        *path, leaf = name.split(".")
        for step in path:
            if step not in dict(at.named_children()):
                at.add_module(step, torch.nn.Module())
            at = dict(at.named_children())[step]
        at.register_parameter(leaf, torch.nn.Parameter(value))
    return root


def views(tensors):
    """All in one storage, as columns of one matrix: offsets, and strides that are not 1."""
    width = max(t.numel() for t in tensors.values())
    store = torch.full((width, len(tensors)), float("nan"), dtype=torch.float64)
    result = {}
    for i, (name, t) in enumerate(tensors.items()):
        store[: t.numel(), i] = t.flatten().double()
        result[name] = store[: t.numel(), i : i + 1].t()
    return result


gpt2, llama2, llama3, roberta = (load(n) for n in ("gpt2", "llama2", "llama3", "roberta"))

save("gpt2-f32", gpt2)
save("gpt2-f32-module", module(gpt2).state_dict())
save("gpt2-f32-protocol4", gpt2, pickle_protocol=4)
save("gpt2-f32-protocol5", gpt2, pickle_protocol=5)
save("gpt2-f32-legacy", gpt2, _use_new_zipfile_serialization=False)
save("llama2-f64-views", views(llama2))
save("llama2-f64-views-legacy", views(llama2), _use_new_zipfile_serialization=False)
save("llama2-f16", {n: t.half() for n, t in llama2.items()})
parameters = ((n, torch.nn.Parameter(t.bfloat16())) for n, t in llama3.items())
save("llama3-bf16-parameters", collections.OrderedDict(parameters))
edits = {n: t for n, t in roberta.items() if not n.startswith("classifier.")}
head = {n.removeprefix("classifier."): t for n, t in roberta.items() if n.startswith("classifier.")}
save("roberta-f32", edits)
save("roberta-f32-classifier", head)
