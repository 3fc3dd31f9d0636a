"""Makes the files beside it with Hugging Face's tokenizers, sentencepiece and transformers: small tokenizers,
trained here on our own sentences, and what those libraries make of difficult texts.

    python3 tests/goldens/tokenizers/make.py DIRECTORY

The tests read the results only; nothing of this runs in a build. Written against tokenizers 0.23,
sentencepiece 0.2.2 and transformers 5.17.
"""

import io
import json
import os
import random
import sys

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = """
The ferry leaves the harbour at seven, and whoever is late waits for the next one.
Nobody had told the baker's daughter that the mill was closed; she'd walked three miles for nothing.
In 1998 the bridge cost 12,500,000 crowns; in 2021 its repair cost 3.75 times as much!
"Where's the lantern?" he asked. "It's where you've left it, isn't it?" they'd answered, laughing.
We tokenise, retokenise and detokenise: the tokeniser's tokens are tokenised text.
A well-known, old-fashioned, hand-made clock ticked on the whitewashed wall.
for (i = 0; i < n; i++) { total += prices[i] * amount; } // not tested
if x != None and y >= 10: return {"name": x, "value": y / 2}
Über den Dächern von Köln fließt süßer Nebel; die Mädchen hören Glockenläuten.
Où est la bibliothèque ? Là-bas, à côté de l'hôtel où naquit le célèbre écrivain.
El niño comió piñas mañana y tarde; ¿cuándo volverá la cigüeña?
Зимой дни короткие, а ночи длинные, и снег лежит до самого апреля.
Το πλοίο φεύγει το πρωί και γυρίζει το βράδυ.
東京の冬は寒いですが、空はとても青いです。 我们明天去北京。 春天到了,花都开了。
내일은 비가 오고 모레는 맑겠습니다.
हम कल नदी के किनारे मिलेंगे।
السفينة تغادر الميناء في الصباح
The weather was fine 😀 and then it was not 🌧️; the family 👨‍👩‍👧 went home.
""".strip().split("\n")

TEXTS = SENTENCES + [
    "", " ", "  ", "   \n", "\n\n\n", "\t", "a", " a", "a ", "  a  b   c    ", "a\u00a0b\u2003c\u3000d\u200be\ufefff",
    "\r\n line\r\n\r\nline \r x", "trailing spaces   ", "   leading", "UPPER lower MiXeD ÀÉÎ İstanbul ΣΟΦΟΣ straße",
    "don't I'll you're WE'VE he'D can't've 'tis ''", "1 12 123 1234 12345 123456 3.14 1,000 ٣٤٥ ½ Ⅷ ²",
    "a.b,c;d:e!f?g-h_i(j)k[l]m{n}o/p\\q|r@s#t$u%v^w&x*y+z=~`<>\"'", "...!!!???---___", "。、「」『』・〜—–…“”‘’«»¿¡",
    "e\u0301 e\u0301\u0301 \u00e9 a\u0308\u0323 \u1e9b\u0323 ﬁ ﬀ ㎏ ① Ａｂ１ ｶﾞ \u212b \u2126 가 \u1100\u1161\u11a8 q\u0307\u0323",
    "\u0001\u0002x\u0007y\u007fz\u0085w\u00adv", "a\u0000b", "\ufffd \ufffdx", "\u2581 \u2581\u2581a b\u2581c \u2581", "<unk> </s> <s> <pad> a<unk>b",
    "<mask> <mask>x x<mask>y [CLS] [SEP] [MASK]. [UNK]", "<|endoftext|> a<|endoftext|>b  <|endoftext|>  c", "<0x41> <0xE2><0x82><0xAC>",
    "zzzzqqqqxxxx Ŧħŋ ꙮ 𝕳𝖊𝖑𝖑𝖔 🏴\U000e0067\U000e0062\U000e007f 🇩🇪🇫🇷 👍🏽 ☃ ❤️", "ตัวอย่าง ភាសា ქართული ‏עברית‎ ‍x‌y",
    "word" * 30, "ab" * 60, "x " * 20, "supercalifragilisticexpialidocious-antidisestablishmentarianism",
    "a" * 101 + " " + "b" * 100, "##ing ##a b##c", "do not can not . , ! ? ' n't 's we ' re", "…  …\u00a0 \u00a0", "\u0130\u0131\u017f\u1e9e",
]
ALPHABET = (
    [" "] * 12 + list("eeaattoinsrhldu") * 2 + list("BTX019.,!?'-_#<>/\n\t\r") + ["\u2581", "\u00a0", "\u3000", "é", "e\u0301", "\u0301", "ß", "ü",
    "й", "東", "京", "。", "가", "\u1100\u1161", "ﬁ", "Ａ", "①", "½", "ا", "ي", "क", "\u094d", "\u093f", "😀", "\u200d", "👍🏽", "\ufe0f", "🇩", "\u200b", "\u00ad", "\u0000", "\u0001",
    "\ufffd", "İ", "Σ", "ｶ", "ﾞ", " the", "ing", "'s", "'ll", "tok", "<s>", "</s>", "<unk>", "<mask>", "##", "\r\n", "  ", "12", "n't"]
)


def nasty(seed, n):
    r = random.Random(seed)
    return ["".join(r.choice(ALPHABET) for _ in range(r.randint(1, 24))) for _ in range(n)]


def corpus():
    out = list(SENTENCES)
    for family in ("gpt2", "llama2", "t5", "roberta"):
        path = f"tests/goldens/{family}/train.jsonl"
        if os.path.exists(path):
            for line in open(path, encoding="utf-8"):
                out += [v for v in json.loads(line).values() if isinstance(v, str)]
    return out * 3


def cases(tok, texts, seed=1, n_decode=40):
    """What a tokenizers.Tokenizer makes of texts, and of random ids."""
    out = {"cases": [], "decode": []}
    for text in texts:
        ids = tok.encode(text).ids
        out["cases"].append({"text": text, "ids": ids, "plain": tok.encode(text, add_special_tokens=False).ids,
                             "decoded": tok.decode(ids), "all": tok.decode(ids, skip_special_tokens=False)})
    r = random.Random(seed)
    size = tok.get_vocab_size()
    for _ in range(n_decode):
        ids = [r.randrange(size) for _ in range(r.randint(1, 12))]
        out["decode"].append({"ids": ids, "decoded": tok.decode(ids), "all": tok.decode(ids, skip_special_tokens=False)})
    return out


def write(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    print(path, os.path.getsize(path))


# ---- components by themselves ----


def component_list():
    n, p, d = normalizers, pre_tokenizers, decoders
    norm = [n.BertNormalizer(), n.BertNormalizer(lowercase=False), n.BertNormalizer(lowercase=True, strip_accents=False),
            n.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False), n.NFC(), n.NFD(), n.NFKC(), n.NFKD(),
            n.Lowercase(), n.StripAccents(), n.Nmt(), n.Strip(), n.Strip(left=False, right=True), n.Prepend("_"), n.Replace("e", "é!"),
            n.Replace(Regex(" {2,}"), "\u2581"), n.Replace(Regex("[a-c]+|\\s"), "<$0>"), n.ByteLevel(),
            n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase()])]
    pre = [p.BertPreTokenizer(), p.Whitespace(), p.WhitespaceSplit(), p.Digits(), p.Digits(individual_digits=True), p.ByteLevel(), p.ByteLevel(add_prefix_space=False),
           p.ByteLevel(add_prefix_space=False, use_regex=False), p.Metaspace(), p.Metaspace(prepend_scheme="never"), p.Metaspace(prepend_scheme="first"),
           p.Metaspace(split=False), p.Metaspace(replacement="_", prepend_scheme="always"), p.CharDelimiterSplit("e"),
           p.Sequence([p.WhitespaceSplit(), p.Metaspace()]), p.Sequence([p.WhitespaceSplit(), p.Metaspace(prepend_scheme="first")]), p.Sequence([p.WhitespaceSplit(), p.Digits(), p.ByteLevel(use_regex=False)])]
    for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        pre.append(p.Punctuation(behavior=b))
        for invert in (False, True):
            pre.append(p.Split(Regex("[ae ]|\\d+"), behavior=b, invert=invert))
        pre.append(p.Split("e", behavior=b))
    pre.append(p.Split(Regex(LLAMA3), "isolated"))
    pre.append(p.Split(Regex(QWEN2), "isolated"))
    dec = [d.ByteLevel(), d.WordPiece(), d.WordPiece(cleanup=False), d.WordPiece(prefix="@@"), d.Metaspace(), d.Metaspace(prepend_scheme="never"), d.ByteFallback(), d.Fuse(),
           d.Strip(" ", 1, 0), d.Strip("a", 2, 0), d.Replace("\u2581", " "), d.Replace(Regex("a+"), "A"), d.BPEDecoder(), d.BPEDecoder(suffix="@"),
           d.Sequence([d.Replace("\u2581", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])]
    return norm, pre, dec


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

DECODER_TOKENS = [
    ["Hello", "##world", "a", "##b", ".", "!", "n't", "'s", "do", "not", "'", "x"], ["\u2581Hello", "\u2581wor", "ld", "\u2581", "\u2581\u2581x"],
    ["<0xE2>", "<0x82>", "<0xAC>", "a"], ["<0xE2>", "<0x82>", "a"], ["x", "<0xFF>", "<0x41>", "y"], ["<0x61>"], ["<0xe2>", "<0x8G>", "<0x1>"],
    ["aaa", "baab", "", "aa"], ["Ġhello", "Ġworld", "Ċ", "Ã©", "Ãx", "é", "東"], ["Ã", "©", "ð", "Ł", "ĺ"], ["lo</w>", "we", "st</w>", "er</w>"], ["x@", "y@"],
    [" ", "  a", " b"], ["a"], ["▁", "▁a"], ["##x"], ["##", "##", "a ##b"], ["@@x", "y", "@@z", " ."], ["\ufffd", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0xF0>"],
]


def components(texts):
    norm, pre, dec = component_list()
    out = {"texts": texts, "normalizers": [], "pre_tokenizers": [], "decoder_tokens": DECODER_TOKENS, "decoders": []}
    state = lambda c: json.loads(c.__getstate__())
    for c in norm:
        out["normalizers"].append({"json": state(c), "texts": [c.normalize_str(t) for t in texts]})
    for c in pre:
        out["pre_tokenizers"].append({"json": state(c), "pieces": [[s for s, _ in c.pre_tokenize_str(t)] for t in texts]})
    for c in dec:
        out["decoders"].append({"json": state(c), "texts": [c.decode(t) for t in DECODER_TOKENS]})
    return out


# ---- tokenizers with everything about them written here ----


def added_tokens():
    """Flags of added tokens, over a model of characters."""
    chars = ["<unk>"] + [chr(c) for c in range(33, 127)] + ["\u2581", "é"]
    texts = ["a<m>b", "a <m> b", "  <m>  ", "<m>", "x<w>y", "x <w> y", "<w>", "<w>.", ".<w>,", "é<w>", " <w>\u00a0<w>", "a <l>b <l>", "<l> <r> <b>", "\n<b>\n x", "<r>\t\ny", "a  <l>  <r>  b",
             "<b>  <b>", "<m><m>", "NORM norm Norm", "a norm b", "an Orm", "<mm>", "<m>m>", "  <l><l>", "<w><w>", "<w> <w>", "_<w>", "1<w>", "'<w>'", "<S> <s>", "x<s>", "say norm-norm",
             "İ <M>", "raw RAW Raw", "<r> <l>", "<l> <l>", "<r> <r> ", " <b> <b> ", "\u3000<b>\u2003<w>", "<m\u0301>", "norm\u0301"]
    flags = {"<m>": {}, "<mm>": {}, "<w>": {"single_word": True}, "<l>": {"lstrip": True}, "<r>": {"rstrip": True}, "<b>": {"lstrip": True, "rstrip": True},
             "Norm": {"normalized": True}, "Raw": {"normalized": False}, "<S>": {"special": True}}
    out = []
    for lower in (None, normalizers.Lowercase(), normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])):
        for pre in (None, pre_tokenizers.Metaspace(), pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Whitespace()):
            for normalized in (False, True):
                tok = Tokenizer(models.BPE({c: i for i, c in enumerate(chars)}, [], unk_token="<unk>", fuse_unk=True))
                if lower:
                    tok.normalizer = lower
                if pre:
                    tok.pre_tokenizer = pre
                for text, f in flags.items():
                    f = dict({"normalized": normalized and text != "<S>"}, **f)
                    special = f.pop("special", False)
                    (tok.add_special_tokens if special else tok.add_tokens)([AddedToken(text, special=special, **f)])
                out.append({"tokenizer": json.loads(tok.to_str()), **cases(tok, texts, n_decode=4)})
    return out


def trained():
    """(name, tokenizer) of each kind of model, trained on the corpus."""
    lines = corpus()
    n, p, d = normalizers, pre_tokenizers, decoders

    def uni(norm, byte_fallback=False, pre=None):
        tok = Tokenizer(models.Unigram())
        tok.normalizer = norm
        tok.pre_tokenizer = pre or p.Metaspace()
        extra = [f"<0x{b:02X}>" for b in range(256)] if byte_fallback else []
        tok.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=500, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
        if byte_fallback:
            state = json.loads(tok.to_str())
            state["model"]["vocab"] += [[b, 0.0] for b in extra]
            state["model"]["byte_fallback"] = True
            tok = Tokenizer.from_str(json.dumps(state))
            tok.decoder = d.Sequence([d.Replace("\u2581", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
        else:
            tok.decoder = d.Metaspace()
        tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
        return tok

    def wordpiece(lowercase):
        tok = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tok.normalizer = n.BertNormalizer(lowercase=lowercase)
        tok.pre_tokenizer = p.BertPreTokenizer()
        tok.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=600, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
        tok.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
        tok.decoder = d.WordPiece()
        return tok

    def bpe(pattern, norm=None, **model):
        tok = Tokenizer(models.BPE(**model))
        if norm:
            tok.normalizer = norm
        tok.pre_tokenizer = p.Sequence([p.Split(Regex(pattern), "isolated"), p.ByteLevel(add_prefix_space=False, use_regex=False)])
        tok.decoder = d.ByteLevel()
        tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=600, special_tokens=["<|endoftext|>"], initial_alphabet=p.ByteLevel.alphabet(), show_progress=False))
        return tok

    def old_bpe():
        tok = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        tok.normalizer = n.BertNormalizer()
        tok.pre_tokenizer = p.BertPreTokenizer()
        tok.decoder = d.BPEDecoder(suffix="</w>")
        tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>"], end_of_word_suffix="</w>", limit_alphabet=60, show_progress=False))
        return tok

    yield "unigram", uni(n.Sequence([n.NFKC(), n.Replace(Regex(" {2,}"), " ")]))
    yield "unigram_bytes", uni(n.Sequence([n.Nmt(), n.NFKC()]), byte_fallback=True, pre=p.Sequence([p.WhitespaceSplit(), p.Metaspace()]))
    yield "wordpiece_uncased", wordpiece(True)
    yield "wordpiece_cased", wordpiece(False)
    yield "bpe_llama3", bpe(LLAMA3, ignore_merges=True)
    yield "bpe_qwen2", bpe(QWEN2, n.NFC())
    yield "bpe_old", old_bpe()


# ---- sentencepiece models ----

RULES = [("\u00a0", " "), ("\u3000", " "), ("\t", " "), ("\n", " "), ("\r", " "), ("\u200b", " "), ("\u00ad", ""), ("\u0001", ""), ("ﬁ", "fi"), ("ﬀ", "ff"), ("①", "1"), ("½", "1/2"),
         ("e\u0301", "é"), ("E\u0301", "É"), ("a\u0308", "ä"), ("\u212b", "Å"), ("…", "..."), ("ｶ", "カ"), ("ｶﾞ", "ガ"), ("\u2581", " "), ("\uff21", "A"), ("\uff42", "b"), ("\uff11", "1"), ("\u1100\u1161", "가"), ("\r\n", " ")]


def sentencepiece_models(directory):
    rules = os.path.join(directory, "rules.tsv")
    with open(rules, "w", encoding="utf-8") as f:
        for source, target in RULES:
            f.write(" ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n")
    lines = [line.replace("\n", " ") for line in corpus()]

    def train(name, config, **options):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, minloglevel=2, **options)
        folder = os.path.join(directory, name)
        os.makedirs(folder, exist_ok=True)
        open(os.path.join(folder, "tokenizer.model"), "wb").write(model.getvalue())
        write(os.path.join(folder, "tokenizer_config.json"), config)
        return folder

    llama = dict(model_type="bpe", vocab_size=620, byte_fallback=True, character_coverage=0.995, normalization_rule_name="identity", remove_extra_whitespaces=False,
                 allow_whitespace_only_pieces=True, split_digits=True, user_defined_symbols=["<user>", "<|sep|>"], control_symbols=["<ctrl>"])
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False}
    yield train("spm_llama", dict(config, legacy=True), **llama)
    yield train("spm_llama_new", dict(config, legacy=False, add_eos_token=True), **llama)
    yield train("spm_llama_bare", {"tokenizer_class": "LlamaTokenizer"}, **dict(llama, user_defined_symbols=[], control_symbols=[]))
    t5 = dict(model_type="unigram", vocab_size=500, character_coverage=0.998, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    yield train("spm_t5", {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 4},
                normalization_rule_tsv=rules, **t5)
    os.remove(rules)


# ---- vocab.json and merges.txt ----


def vocab_and_merges(directory):
    base = dict(trained())["bpe_llama3"]
    for name, config in (("bpe_gpt2", {"tokenizer_class": "GPT2Tokenizer", "unk_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}),
                         ("bpe_roberta", {"tokenizer_class": "RobertaTokenizer"}), ("bpe_qwen2_files", {"tokenizer_class": "Qwen2Tokenizer"})):
        model = json.loads(base.to_str())["model"]
        vocab = {t: i for t, i in model["vocab"].items() if t != "<|endoftext|>"}
        specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if name == "bpe_roberta" else ["<|endoftext|>"]
        vocab = {t: i for i, t in enumerate(specials + sorted(vocab, key=vocab.get))}
        folder = os.path.join(directory, name)
        write(os.path.join(folder, "vocab.json"), vocab)
        with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
            f.write("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in model["merges"]))
        write(os.path.join(folder, "tokenizer_config.json"), config)
        yield folder


def main(directory):
    from transformers import AutoTokenizer

    texts = TEXTS + nasty(7, 60)
    write(os.path.join(directory, "components.json"), components(TEXTS[:4] + TEXTS[18:] + nasty(8, 12)))
    write(os.path.join(directory, "added_tokens.json"), added_tokens())
    for name, tok in trained():
        write(os.path.join(directory, name, "tokenizer.json"), json.loads(tok.to_str()))
        write(os.path.join(directory, name, "expected.json"), cases(tok, texts))
    for folder in list(sentencepiece_models(directory)) + list(vocab_and_merges(directory)):
        tok = AutoTokenizer.from_pretrained(folder)
        write(os.path.join(folder, "expected.json"), cases(tok.backend_tokenizer, texts))


if __name__ == "__main__":
    main(sys.argv[1])
