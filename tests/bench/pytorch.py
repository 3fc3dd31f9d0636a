#!/usr/bin/python3
"""How fast PyTorch trains on this machine: GPT-2 with 124 million random weights, a shape that `make bench`
measures redd on, by RED, by LoRA and in full, as a table and as JSON.

    apt-get install python3-torch libopenblas0-openmp libjemalloc2
    /usr/bin/python3 tests/bench/pytorch.py [--list] [--rows NAME...] [--rounds N] [--seconds S] [--threads N]

A row is named ENVIRONMENT/METHOD/BATCH/TYPE. ENVIRONMENT is `installed`, PyTorch as Debian's package leaves
it, or `tuned`: the widest kernels of the processor in ATen, an OpenBLAS whose threads are OpenMP's as
PyTorch's are (Debian's default one has a pool of its own, which fights with them), a thread per core, and
jemalloc that keeps its pages. Neither inherits what the caller's environment says of these. METHOD is `red`
(scale and bias behind each layer's FFN), `lora` (rank 16 on queries and values) or `full`. BATCH is rows x
tokens, with `-30` behind it 30 % of the tokens are labelled. TYPE is `float32`, or `bf16`: autocast, frozen
matrices cast once (without AVX-512 PyTorch has no fast products for it). --rows takes names and globs of
them; a name may have any batch.

Each row is a process of its own, so that its peak of resident memory is its own. A step is forward,
backward and AdamW. Nothing is computed that a method does not need: what is frozen asks for no gradient,
embeddings of a frozen base stay out of the graph. The loss takes the logits of all positions, as is usual.
"""
import argparse
import ctypes
import fnmatch
import glob
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time

WIDTH, LAYERS, HEADS, FFN, VOCABULARY, POSITIONS = 768, 12, 12, 3072, 50257, 1024
RANK, LORA_SCALE = 16, 2.0
UNLABELLED = -100

ENVIRONMENTS = ("installed", "tuned")
METHODS = ("red", "lora", "full")
BATCHES = ("8x128", "4x512", "8x128-30")
TYPES = ("float32", "bf16")
BATCH_FORM = r"([1-9]\d*)x([1-9]\d*)(?:-([1-9]\d?))?"
DEFAULT_ROWS = ("installed/red/8x128/float32", "tuned/*/8x128/*", "tuned/red/4x512/float32",
                "tuned/red/8x128-30/float32")
PACKAGES = "apt-get install python3-torch libopenblas0-openmp libjemalloc2"


# ---- one row, in its own process ----

class GPT2:
    """Weights by name, as linear and layer_norm want them; what is trained beyond them in `extra`."""

    def __init__(self, method: str, half: bool):
        self.method = method
        self.frozen_type = torch.bfloat16 if half and method != "full" else torch.float32
        self.w = {"wte": self.matrix(VOCABULARY, WIDTH), "wpe": self.matrix(POSITIONS, WIDTH)}
        self.extra = {}
        self.add_norm("ln_f")
        for i in range(LAYERS):
            self.add_norm("ln_1.%d" % i)
            self.add_norm("ln_2.%d" % i)
            for name, rows, cols in (("qkv", 3 * WIDTH, WIDTH), ("proj", WIDTH, WIDTH),
                                     ("fc", FFN, WIDTH), ("out", WIDTH, FFN)):
                self.w["%s.%d" % (name, i)] = self.matrix(rows, cols)
                self.w["%s_bias.%d" % (name, i)] = torch.zeros(rows, dtype=self.frozen_type)
            if method == "red":
                self.extra["scale.%d" % i] = torch.ones(WIDTH)
                self.extra["bias.%d" % i] = torch.zeros(WIDTH)
            elif method == "lora":
                self.extra["down.%d" % i] = torch.empty(2 * RANK, WIDTH).normal_(0, 1 / RANK)
                self.extra["up_q.%d" % i] = torch.zeros(RANK, WIDTH)
                self.extra["up_v.%d" % i] = torch.zeros(RANK, WIDTH)
        self.trained = list((self.w if method == "full" else self.extra).values())
        for p in self.trained:
            p.requires_grad_(True)

    def matrix(self, rows: int, cols: int):
        return torch.empty(rows, cols, dtype=self.frozen_type).normal_(0, 0.02)

    def add_norm(self, name: str):
        self.w[name] = torch.ones(WIDTH)
        self.w[name + "_bias"] = torch.zeros(WIDTH)

    def norm(self, x, name: str):
        return F.layer_norm(x, (WIDTH,), self.w[name], self.w[name + "_bias"], 1e-5)

    def dense(self, x, name: str, i: int):
        return F.linear(x, self.w["%s.%d" % (name, i)], self.w["%s_bias.%d" % (name, i)])

    def attend(self, x, i: int, n_rows: int, mask):
        """x (B T, C) -> (B T, C): products of B H matrices each."""
        q, k, v = self.dense(x, "qkv", i).chunk(3, -1)
        if self.method == "lora":
            down_q, down_v = F.linear(x, self.extra["down.%d" % i]).chunk(2, -1)
            q = torch.addmm(q, down_q, self.extra["up_q.%d" % i], alpha=LORA_SCALE)
            v = torch.addmm(v, down_v, self.extra["up_v.%d" % i], alpha=LORA_SCALE)
        q, k, v = (t.view(n_rows, -1, HEADS, WIDTH // HEADS).transpose(1, 2).flatten(0, 1) for t in (q, k, v))
        scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=1 / math.sqrt(WIDTH // HEADS))
        mixed = torch.bmm(scores.softmax(-1), v)
        mixed = mixed.view(n_rows, HEADS, -1, WIDTH // HEADS).transpose(1, 2).reshape(-1, WIDTH)
        return self.dense(mixed, "proj", i)

    def loss(self, tokens, labels):
        n_rows, length = tokens.shape
        mask = torch.full((length, length), -math.inf).triu(1)
        x = F.embedding(tokens, self.w["wte"]).float() + self.w["wpe"][:length].float()
        x = x.view(-1, WIDTH)
        for i in range(LAYERS):
            x = x + self.attend(self.norm(x, "ln_1.%d" % i), i, n_rows, mask)
            h = self.dense(self.norm(x, "ln_2.%d" % i), "fc", i)
            h = self.dense(F.gelu(h, approximate="tanh"), "out", i)
            if self.method == "red":
                h = torch.addcmul(self.extra["bias.%d" % i], h, self.extra["scale.%d" % i])
            x = x + h
        return F.cross_entropy(F.linear(self.norm(x, "ln_f"), self.w["wte"]), labels.view(-1),
                               ignore_index=UNLABELLED)


def parse_batch(batch: str):
    """8x128-30 -> 8, 128, 0.3"""
    rows, length, percent = re.fullmatch(BATCH_FORM, batch).groups()
    return int(rows), int(length), int(percent or 100) / 100


def peak_resident() -> int:
    with open("/proc/self/status") as f:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1))


def measure(row: str):
    """Tokens a second, the median of rounds of whole steps, and what that took."""
    _, method, batch, number_type = row.split("/")
    n_rows, length, labelled = parse_batch(batch)
    torch.manual_seed(7)
    model = GPT2(method, number_type == "bf16")
    optimizer = torch.optim.AdamW(model.trained, lr=1e-5 if method == "full" else 1e-3, weight_decay=0)
    tokens = torch.randint(VOCABULARY, (n_rows, length))
    labels = torch.randint(VOCABULARY, (n_rows, length))
    labels[torch.rand(n_rows, length) >= labelled] = UNLABELLED

    def step() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=number_type == "bf16"):
            loss = model.loss(tokens, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    began = time.perf_counter()
    first_loss = step()
    rates = []
    while not rates or len(rates) < options.rounds and time.perf_counter() - began < options.limit:
        start, steps = time.perf_counter(), 0
        while steps == 0 or time.perf_counter() - start < options.seconds:
            step()
            steps += 1
        rates.append(steps * tokens.numel() / (time.perf_counter() - start))
    return {"tokens_per_second": statistics.median(rates), "rounds": rates,
            "peak_resident_bytes": peak_resident(),
            "trained": sum(p.numel() for p in model.trained), "first_loss": first_loss}


def describe():
    """What this process runs on, asked of the libraries that are loaded."""
    with open("/proc/self/maps") as f:
        libraries = sorted(set(re.findall(r"/\S+\.so\S*", f.read())))
    blas = [path for path in libraries if "libopenblas" in path]
    found = {"torch": torch.__version__, "threads": torch.get_num_threads(),
             "aten": re.search(r"CPU capability usage: (\S+)", torch.__config__.show()).group(1),
             "malloc": next((path for path in libraries if "jemalloc" in path), "glibc's")}
    found["blas"] = blas[0] if blas else next((path for path in libraries if "blas" in path), "none")
    if blas:
        openblas = ctypes.CDLL(blas[0])
        openblas.openblas_get_corename.restype = ctypes.c_char_p
        found["blas_kernels"] = openblas.openblas_get_corename().decode()
        found["blas_threads"] = ("none", "its own", "OpenMP's")[openblas.openblas_get_parallel()]
    return found


# ---- all rows ----

def environment(name: str):
    """The variables of an environment, and what it should have but this machine lacks."""
    swept = ("OMP_", "GOMP_", "OPENBLAS_", "GOTO_", "MKL_", "DNNL_", "ATEN_", "MALLOC_", "LD_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(swept)}
    missing = []
    if options.threads:
        env["OMP_NUM_THREADS"] = str(options.threads)
    if name == "installed":
        return env, missing
    with open("/proc/cpuinfo") as f:
        flags = set(re.search(r"^flags\s*:(.*)", f.read(), re.M).group(1).split())
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags:
        env["ATEN_CPU_CAPABILITY"] = "avx512"
    elif {"avx2", "fma"} <= flags:
        env["ATEN_CPU_CAPABILITY"] = "avx2"
    else:
        missing.append("AVX2")
    openblas = glob.glob(os.path.join(options.libraries, "openblas-openmp"))
    jemalloc = glob.glob(os.path.join(options.libraries, "libjemalloc.so.2"))
    if openblas:
        env["LD_LIBRARY_PATH"] = openblas[0]
        env.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    else:
        missing.append("OpenBLAS on OpenMP (libopenblas0-openmp)")
    if jemalloc:
        env["LD_PRELOAD"] = jemalloc[0]
        env["MALLOC_CONF"] = options.malloc_conf
    else:
        missing.append("jemalloc (libjemalloc2)")
    return env, missing


def run_child(task: str, env):
    """What a process of this script has to say, or {"error": why not}."""
    command = [sys.executable, os.path.abspath(__file__), "--child", task, "--rounds", str(options.rounds),
               "--seconds", str(options.seconds), "--limit", str(options.limit)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return {"error": (done.stderr.splitlines() or ["ended with %d" % done.returncode])[-1]}


def choose_rows():
    every = ["/".join((e, m, b, t)) for e in ENVIRONMENTS for b in BATCHES for t in TYPES for m in METHODS]
    chosen = []
    for pattern in options.rows or DEFAULT_ROWS:
        matching = fnmatch.filter(every, pattern)
        if not matching and re.fullmatch("(%s)/(%s)/%s/(%s)" % (
                "|".join(ENVIRONMENTS), "|".join(METHODS), BATCH_FORM, "|".join(TYPES)), pattern):
            matching = [pattern]
        if not matching:
            sys.exit("no row is named %s; --list shows those there are" % pattern)
        chosen += [row for row in matching if row not in chosen]
    return every, chosen


def main():
    every, rows = choose_rows()
    if options.list:
        print("\n".join(every))
        return 0
    result = {"environments": {}, "rows": []}
    envs = {}
    print("PyTorch trains GPT-2, 124 M random weights; medians of %d rounds of %g s or a step\n"
          % (options.rounds, options.seconds))
    for name in dict.fromkeys(row.split("/")[0] for row in rows):
        envs[name], missing = environment(name)
        found = run_child("describe", envs[name])
        if "error" in found:
            sys.exit("%s\nneeded: %s" % (found["error"], PACKAGES))
        result["environments"][name] = {**found, "not_found": missing}
        print("- %s: PyTorch %s, %d of its threads, ATen %s; OpenBLAS %s, threads %s, %s; malloc %s" % (
            name, found["torch"], found["threads"], found["aten"], found.get("blas_kernels", "missing"),
            found.get("blas_threads", "none"), found["blas"], found["malloc"]))
        for what in missing:
            print("  NOT FOUND, done without: %s. %s" % (what, PACKAGES))
    print("\n| environment | method | batch | type | trained | tokens/s | peak resident MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for row in rows:
        found = run_child(row, envs[row.split("/")[0]])
        result["rows"].append({"row": row, **found})
        cells = ("-", found["error"], "-") if "error" in found else (
            found["trained"], "%.1f" % found["tokens_per_second"],
            "%.0f" % (found["peak_resident_bytes"] / 1e6))
        print("| %s | %s |" % (row.replace("/", " | "), " | ".join(map(str, cells))), flush=True)
    os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
    with open(options.json, "w") as f:
        json.dump(result, f, indent=1)
    return 1 if any("error" in row for row in result["rows"]) else 0


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", nargs="+", metavar="NAME", help="default: " + " ".join(DEFAULT_ROWS))
parser.add_argument("--list", action="store_true", help="name the rows there are, and end")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--seconds", type=float, default=4, help="a round's least duration")
parser.add_argument("--threads", type=int, help="default: installed, what PyTorch takes; tuned, one per core")
parser.add_argument("--limit", type=float, default=120, help="seconds after which no round begins")
parser.add_argument("--malloc-conf", default="oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1",
                    help="jemalloc's settings; empty: its own, less memory, slower")
parser.add_argument("--libraries", default="/usr/lib/*-linux-gnu", help="where Debian's libraries lie")
parser.add_argument("--json", default="build/bench-pytorch.json")
parser.add_argument("--child", help=argparse.SUPPRESS)

if __name__ == "__main__":
    options = parser.parse_args()
    if options.child:
        import torch
        import torch.nn.functional as F
        print(json.dumps(describe() if options.child == "describe"
                         else measure(options.child)))
        sys.exit(0)
    sys.exit(main())
