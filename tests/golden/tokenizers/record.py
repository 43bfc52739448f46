"""Records tokenizers/: two small vocabularies, and the ids that the peers give to the cases.

Run with `tokenizers` and `sentencepiece` of PyPI installed:
    python record.py [DATA]
DATA holds tokenizers/{gpt2,gpt-neox,llama}; without it only the small vocabularies are recorded.
"""
import io
import json
import os
import sys

import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

PHRASES = [
    "The sink is where attention goes when it has nothing to say.",
    "for (int i = 0; i < n; ++i) {\n    sum += x[i] * w[i];\n}\n",
    "def softmax(x):\n\te = exp(x - x.max())\n\treturn e / e.sum()\n",
    "In 1879 there were 1,234,567 of them; 3.14159 is near 22/7.",
    "It's what they've said: we'd go, I'm sure, she'll stay, you're right, don't.",
    "IT'S NOT 'S BUT 's, can’t, o'clock 'tis",
    "na\u00efve caf\u00e9 Z\u00fcrich \u0141\u00f3d\u017a \u00c5ngstr\u00f6m",
    "nai\u0308ve cafe\u0301 A\u030angstro\u0308m \u212b q\u0323\u0307 \u1112\u1161\u11ab",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440, \u03ba\u03cc\u03c3\u03bc\u03b5, \u05e9\u05dc\u05d5\u05dd, \u0645\u0631\u062d\u0628\u0627",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u3053\u3093\u306b\u3061\u306f \uc548\ub155\ud558\uc138\uc694",
    "\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \u2764\ufe0f",
    "  two leading, trailing two  ",
    "a  b   c    d" + " " * 24 + "e" + " " * 31 + "f",
    "tab\tnewline\nreturn\r\nvertical\x0bform\x0c nbsp\u00a0em\u2003ideographic\u3000vowel\u180eend",
    "\n\n\n   \n x\n\n",
    " ",
    "x",
    "\n",
    "<|endoftext|>a<|endoftext|> <|pad|> <|endoftext",
    "<s> </s> <0x41> \u2581under\u2581score \u2581\u2581",
    "abcabcabcabc" * 12,
    "-" * 70 + "=" * 33,
    "\u00bd \u00b2 \u0663\u0664 \u2167 \u2460 x\u2082",
    "null\x00byte and \x7f and \u0080\u009f",
    "\ufeffbom \ufffd \uffff \U0010ffff",
]
INVALID = [
    b"caf\xe9 latin-1",
    b"\xff\xfe\x00",
    b"cut \xe2\x82",
    b"cut \xf0\x9f\x98",
    b"overlong \xc0\x80 \xe0\x80\x80 surrogate \xed\xa0\x80 high \xf4\x90\x80\x80",
    b"\xe2\x82x \x80\x80 \xf0\x9fab",
]
CASES = [phrase.encode() for phrase in PHRASES] + INVALID


def small_bpe():
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(PHRASES * 3, trainer)
    tokenizer.add_tokens([tokenizers.AddedToken(" " * n, normalized=True) for n in (8, 4, 2)])
    return tokenizer


def small_sentencepiece():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in PHRASES[:7] * 5 for line in text.split("\n")),
        model_writer=model,
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def main():
    bpe = small_bpe()
    bpe.save(os.path.join(HERE, "small_bpe.json"), pretty=False)
    model = small_sentencepiece()
    with open(os.path.join(HERE, "small.model"), "wb") as file:
        file.write(model)
    small = sentencepiece.SentencePieceProcessor(model_proto=model)
    peers = {
        "small_bpe": lambda text: bpe.encode(text, add_special_tokens=False).ids,
        "small_sentencepiece": lambda text: small.encode(text),
    }
    if len(sys.argv) > 1:
        data = os.path.join(sys.argv[1], "tokenizers")
        gpt2 = tokenizers.Tokenizer(
            models.BPE.from_file(f"{data}/gpt2/vocab.json", f"{data}/gpt2/merges.txt"))
        gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        gpt2.add_special_tokens(["<|endoftext|>"])
        neox = tokenizers.Tokenizer.from_file(f"{data}/gpt-neox/tokenizer.json")
        llama = sentencepiece.SentencePieceProcessor(model_file=f"{data}/llama/tokenizer.model")
        peers["gpt2"] = lambda text: gpt2.encode(text, add_special_tokens=False).ids
        peers["gpt-neox"] = lambda text: neox.encode(text, add_special_tokens=False).ids
        peers["llama"] = lambda text: llama.encode(text)
    cases = []
    for case in CASES:
        text = case.decode("utf-8", "replace")
        cases.append({"hex": case.hex(), **{name: ids(text) for name, ids in peers.items()}})
    source = f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}"
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    with open(os.path.join(HERE, "cases.json"), "w") as file:
        file.write(f'{{"source": {json.dumps(source)}, "cases": [\n{lines}\n]}}\n')


main()
