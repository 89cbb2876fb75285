"""Tokenizers of others against transformers' AutoTokenizer: equal ids, or refused by the setting's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from gpt_demo.errors import UserError
from gpt_demo.exchange.huggingface_tokenizer import vocabulary
from gpt_demo.exchange.tokenizer_files import read_tokenizer
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import Tokenizer, train_bpe

TEXTS = [
    sample_story()[:1500],
    "It's 12 o'clock.\n\n  Ünïcödé, naïve Straße, 你好,世界 🎉,\t\ttabs   \n",
    "Привет, мир! مرحبا بالعالم. こんにちは世界。 한국어 हिन्दी ไทย",
    "A [PAD] b[PAD] c <|end|> d<|endoftext|>e  <mask>  f [MASK] </s>",
    " leading, trailing ",
    "",
]
TRAINED = train_bpe(sample_story()[:6000], 400)
VOCAB, MERGES = vocabulary(TRAINED), list(TRAINED.merges)
N = len(VOCAB)
LETTERS = sorted(set(sample_story()[:3000]) - {" ", "\n"})
Make = Callable[[Path], Any]


def write(folder: Path, name: str, record: Any) -> None:
    (folder / name).write_text(json.dumps(record), encoding="utf-8")


def config(folder: Path, **changes: Any) -> None:
    record = {"model_type": "gpt2", "vocab_size": 1000, "eos_token_id": N - 1, **changes}
    write(folder, "config.json", {key: value for key, value in record.items() if value != "absent"})


def slow(**settings: Any) -> Make:
    """vocab.json and merges.txt, and a tokenizer_config.json where something is set."""

    def make(folder: Path) -> None:
        write(folder, "vocab.json", VOCAB)
        (folder / "merges.txt").write_text("".join(f"{line}\n" for line in ["#version: 0.2", *MERGES]))
        if settings:
            write(folder, "tokenizer_config.json", settings)

    return make


def with_file(make: Make, name: str, record: Any) -> Make:
    def both(folder: Path) -> None:
        make(folder)
        write(folder, name, record)

    return both


def with_config(make: Make, **changes: Any) -> Make:
    def both(folder: Path) -> None:
        make(folder)
        config(folder, **changes)

    return both


def with_both(*makes: Make) -> Make:
    return lambda folder: [make(folder) for make in makes]


def byte_level_bpe(merges: list[str] = MERGES, **changes: Any) -> Backend:
    backend = Backend(models.BPE(vocab=VOCAB, merges=[tuple(m.split(" ")) for m in merges], **changes))  # type: ignore[misc]
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    return backend


def fast(
    backend: Backend | dict[str, Any], tokenizer_class: str | None = "PreTrainedTokenizerFast", **more: Any
) -> Make:
    """tokenizer.json, computed as it is or by a class that transformers knows."""

    def make(folder: Path) -> None:
        record = backend if isinstance(backend, dict) else json.loads(backend.to_str())
        write(folder, "tokenizer.json", record)
        named = {"tokenizer_class": tokenizer_class} if tokenizer_class else {}
        if named or more:
            write(folder, "tokenizer_config.json", {**named, **more})

    return make


def record_of(backend: Backend, **changes: Any) -> dict[str, Any]:
    """A tokenizer.json with parts of it, or of its model ("model.x"), set to something else."""
    record = json.loads(backend.to_str())
    for name, value in changes.items():
        (record["model"] if name in record["model"] else record)[name] = value
    return record  # type: ignore[no-any-return]


def lower_case() -> Backend:
    backend = byte_level_bpe()
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return backend


def without_cuts() -> Backend:
    backend = byte_level_bpe()
    backend.pre_tokenizer = None
    return backend


def words_with_ends() -> Backend:
    """Merges with an end-of-word suffix, as OpenAI's first GPT had."""
    vocab = {
        symbol: i for i, symbol in enumerate([*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "th", "the</w>"])
    }
    vocab["<unk>"] = len(vocab)
    merges = [("t", "h"), ("th", "e</w>")]
    backend = Backend(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    backend.add_special_tokens(["<unk>", "</s>"])
    return backend


def sentence_pieces() -> Backend:
    pieces = [
        ("<unk>", 0.0),
        ("\u2581", -2.0),
        *((letter, -4.0) for letter in LETTERS),
        ("\u2581the", -3.0),
        ("ing", -3.5),
    ]
    backend = Backend(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["</s>"])
    return backend


def strips() -> Backend:
    from tokenizers import AddedToken

    backend = byte_level_bpe()
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("[MASK]", rstrip=True)])
    backend.add_tokens([AddedToken("end", single_word=True)])
    return backend


def cut_and_padded() -> Backend:
    backend = byte_level_bpe()
    backend.enable_truncation(4)
    backend.enable_padding(length=4000)
    return backend


BERT = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    "the",
    "##ing",
    "你",
    "界",
]


def vocab_txt(folder: Path) -> None:
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in BERT), encoding="utf-8")


def saved_by_transformers(make: Make, **tokens: Any) -> Make:
    """What save_pretrained of the library writes for the folder of `make`, with tokens added before."""

    def both(folder: Path) -> None:
        config(folder)
        make(folder)
        theirs = AutoTokenizer.from_pretrained(folder)
        if tokens:
            theirs.add_special_tokens(tokens)
        for path in folder.iterdir():
            path.unlink()
        theirs.save_pretrained(folder)

    return both


UPSIDE_DOWN = {token: N - 2 - id if id < N - 1 else id for token, id in VOCAB.items()}
UNCUT = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
CHAT = {str(N - 1): {"content": "<|endoftext|>", "special": True}, str(N): {"content": "<|end|>", "special": True}}
BERT_CLASS = {"tokenizer_class": "BertTokenizer", "eos_token_id": 3}

RIGHT: dict[str, Make] = {
    "vocab.json and merges.txt": slow(),
    "a space before the text": slow(add_prefix_space=True),
    "added_tokens.json": with_file(slow(), "added_tokens.json", {"[PAD]": N, "<|end|>": N + 1}),
    "special_tokens_map.json": with_file(slow(), "special_tokens_map.json", {"pad_token": "[PAD]", "mask_token": {
        "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}}),
    "added_tokens_decoder and another end": with_config(
        slow(added_tokens_decoder=CHAT, eos_token="<|end|>"), eos_token_id=N),
    "additional_special_tokens": slow(additional_special_tokens=["<|end|>", "[MASK]"]),
    "a pad token without a row": with_config(slow(pad_token="[PAD]"), vocab_size=N),
    "saved by transformers": saved_by_transformers(slow()),
    "saved by transformers, tokens added": saved_by_transformers(slow(), pad_token="[PAD]", eos_token="<|end|>"),
    "tokenizer.json of GPT2Tokenizer": fast(byte_level_bpe(), "GPT2Tokenizer"),
    "tokenizer.json of no class": fast(byte_level_bpe(), None),
    "tokenizer.json as it is": fast(byte_level_bpe()),
    "ids in another order": fast(record_of(byte_level_bpe(), vocab=UPSIDE_DOWN)),
    "merges in another order": fast(byte_level_bpe(MERGES[::-1])),
    "merges as texts": fast(record_of(byte_level_bpe(), merges=MERGES)),
    "merges ignored where a word is a token": fast(byte_level_bpe(ignore_merges=True)),
    "lstrip, rstrip and single_word": fast(strips()),
    "lstrip, rstrip and single_word of GPT2Tokenizer": fast(strips(), "GPT2Tokenizer"),
    "normalizer": fast(lower_case()),
    "pre_tokenizer null": fast(without_cuts()),
    "end_of_word_suffix": with_config(fast(words_with_ends(), eos_token="</s>"), eos_token_id=None),
    "a unigram model": with_config(fast(sentence_pieces(), eos_token="</s>"), eos_token_id=None),
    "truncation and padding": fast(cut_and_padded()),
    "vocab.txt, named in config.json": with_config(vocab_txt, **BERT_CLASS),
    "vocab.txt, named in tokenizer_config.json": with_config(
        with_file(vocab_txt, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
        eos_token_id=3),
    "vocab.txt, a fast class": with_config(
        with_file(vocab_txt, "tokenizer_config.json", {"tokenizer_class": "BertTokenizerFast", "strip_accents": False}),
        eos_token_id=3),
    "BertTokenizer saved by transformers": with_config(
        saved_by_transformers(with_config(vocab_txt, **BERT_CLASS)), eos_token_id=3),
}  # fmt: skip

NULL = record_of(byte_level_bpe(), pre_tokenizer=None)
REFUSED: dict[str, tuple[Make, str]] = {
    "another class": (slow(tokenizer_class="T5Tokenizer"), "tokenizer_class is 'T5Tokenizer'"),
    "pre_tokenizer null of GPT2Tokenizer": (fast(NULL, "GPT2Tokenizer"), "gives pre_tokenizer as None"),
    "pre_tokenizer null of no class": (fast(NULL, None), "gives pre_tokenizer as None"),
    "use_regex": (
        fast(record_of(byte_level_bpe(), pre_tokenizer=UNCUT), None), "gives pre_tokenizer as .*'use_regex': False"),
    "normalizer of GPT2Tokenizer": (fast(lower_case(), None), "gives normalizer as"),
    "end_of_word_suffix of GPT2Tokenizer": (
        fast(record_of(byte_level_bpe(), end_of_word_suffix="</w>"), None), "gives end_of_word_suffix as '</w>'"),
    "dropout": (fast(record_of(byte_level_bpe(), dropout=0.1), None), "gives dropout as 0.1"),
    "ignore_merges of GPT2Tokenizer": (fast(byte_level_bpe(ignore_merges=True), None), "gives ignore_merges as True"),
    "another model of GPT2Tokenizer": (fast(sentence_pieces(), None), "damaged"),
    "split_special_tokens": (slow(split_special_tokens=True), "split_special_tokens is true"),
    "vocab.txt of no class": (vocab_txt, r"only file, vocab\.txt, is not that of a GPT2Tokenizer"),
    "SentencePiece": (lambda folder: (folder / "spiece.model").write_bytes(b"x"), r"only file, spiece\.model"),
    "merges.txt missing": (lambda folder: write(folder, "vocab.json", VOCAB), r"merges\.txt is missing"),
    "two ids the same": (
        with_file(slow(), "vocab.json", {**VOCAB, "!": 5}), "gives two tokens the same id"),
    "an added token behind a gap": (
        with_file(slow(), "added_tokens.json", {"[PAD]": N + 7}), f"'\\[PAD\\]' the id {N + 7}; transformers"),
    "two files that contradict each other": (
        fast(strips(), "GPT2Tokenizer", added_tokens_decoder=CHAT), "say different things of '<mask>'"),
    "two ends": (with_config(slow(), eos_token_id=[3, 4]), r"eos_token_id is \[3, 4\]"),
    "no end": (with_config(fast(words_with_ends()), eos_token_id=None), "needs an eos_token_id"),
    "no JSON": (with_both(slow(), lambda folder: (folder / "tokenizer.json").write_text("{")), "is damaged"),
    "a model the library does not know": (
        fast(record_of(byte_level_bpe(), model={"type": "Magic"})), "is damaged|can't read this tokenizer"),
}  # fmt: skip


def ids_of(theirs: Any, text: str) -> list[int]:
    ids: list[int] = theirs.encode(text, add_special_tokens=False, truncation=False, padding=False)
    return ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", RIGHT)
def test_ids_are_those_of_transformers(name: str, folder: Path) -> None:
    RIGHT[name](folder)
    if not (folder / "config.json").exists():
        config(folder)
    theirs, ours = AutoTokenizer.from_pretrained(folder), read_tokenizer(folder)
    assert ours is not None
    again = Tokenizer.from_dict(json.loads(json.dumps(ours.to_dict())))
    without_row = name == "a pad token without a row"
    for text in TEXTS:
        if without_row and "[PAD]" in text:
            with pytest.raises(UserError, match=rf"no embedding for '\[PAD\]', token {N}\. Remove it"):
                ours.encode(text)
            continue
        expected = ids_of(theirs, text)
        assert ours.encode(text) == expected == again.encode(text)
        assert all(0 <= id < ours.n_vocab for id in expected)
        decoded = theirs.decode(expected, clean_up_tokenization_spaces=False)
        assert ours.decode(expected).strip() == decoded.strip()
        stream = ours.stream_decoder()
        assert "".join(map(stream.decode, expected)) + stream.finish() == ours.decode(expected)


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_computed_is_refused_by_its_name(name: str, folder: Path) -> None:
    make, sentence = REFUSED[name]
    make(folder)
    with pytest.raises(UserError, match=f"^The tokenizer in .*({sentence})"):
        read_tokenizer(folder)


@pytest.mark.parametrize(
    ("files", "end"),
    [
        ({"config.json": {"eos_token_id": 7}}, 7),
        ({"config.json": {"eos_token_id": [7]}}, 7),
        ({"config.json": {"eos_token_id": 7}, "generation_config.json": {"eos_token_id": 9}}, 9),
        ({"config.json": {"eos_token_id": None}}, N - 1),
        ({"config.json": {"eos_token_id": "absent"}}, N - 1),  # 50256, which this vocabulary does not have
        ({"config.json": {"eos_token_id": 99_999}}, N - 1),
        ({"tokenizer_config.json": {"eos_token": "!"}, "config.json": {"eos_token_id": None}}, VOCAB["!"]),
    ],
    ids=str,
)
def test_the_end_is_the_models_own(files: dict[str, Any], end: int, folder: Path) -> None:
    slow()(folder)
    for name, record in files.items():
        config(folder, **record) if name == "config.json" else write(folder, name, record)
    tokenizer = read_tokenizer(folder)
    assert tokenizer is not None
    assert tokenizer.end_of_text == end
