"""This app's tokenizers as Hugging Face's files: tokenizer.json, and for GPT-2's kind vocab.json and merges.txt.

In them every byte of a token, and of the two tokens of a merge, is a printable character (see `byte_of_symbol`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from gpt_demo.errors import UserError
from gpt_demo.paths import ASSETS
from gpt_demo.text.own import OwnEncoding
from gpt_demo.text.symbols import byte_of_symbol
from gpt_demo.text.tokenizer import END_OF_TEXT, Tokenizer, byte_level, cl100k_base, gpt2

_MERGES = ASSETS / "gpt2" / "vocab.bpe"
# How cl100k_base cuts a text, without the possessive quantifiers that the library's regex engine reads otherwise.
_CL100K_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, which AutoTokenizer opens; where the tokenizer is of GPT-2's
    kind, vocab.json and merges.txt too."""
    definition = tokenizer_json(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(definition, ensure_ascii=False), encoding="utf-8")
    end = next((t["content"] for t in definition["added_tokens"] if t["id"] == tokenizer.end_of_text), None)
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if tokenizer.kind in ("gpt2", "bpe", "bytes"):
        settings["tokenizer_class"] = "GPT2Tokenizer"
        _save_vocabulary(tokenizer, folder)
    named = {"bos_token": end, "eos_token": end} if end is not None else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | named, indent=2), encoding="utf-8")


def _save_vocabulary(tokenizer: Tokenizer, folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(vocabulary(tokenizer)), encoding="utf-8")
    if tokenizer.kind == "gpt2":
        shutil.copy(_MERGES, folder / "merges.txt")
    else:
        lines = ["#version: 0.2", *tokenizer.merges]
        (folder / "merges.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The definition by which the `tokenizers` library gives the same ids."""
    if isinstance(tokenizer.encoding, OwnEncoding):
        return dict(tokenizer.encoding.definition)
    if tokenizer.kind == "cl100k_base":
        backend = _cl100k()
    else:
        merges = [pair_of(merge) for merge in merges_of(tokenizer)]
        backend = Backend(models.BPE(vocab=vocabulary(tokenizer), merges=merges, fuse_unk=False))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    definition: dict[str, Any] = json.loads(backend.to_str())
    return definition


def pair_of(merge: str | list[str]) -> tuple[str, str]:
    """The two tokens of a merge, "Ġ t" or ["Ġ", "t"]."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def merges_of(tokenizer: Tokenizer) -> Iterable[str]:
    """The merges of a tokenizer of GPT-2's kind, in order."""
    return _gpt2_merges() if tokenizer.kind == "gpt2" else tokenizer.merges


def _gpt2_merges() -> list[str]:
    return _MERGES.read_text(encoding="utf-8").splitlines()[1:]


def _cl100k() -> Backend:
    """tiktoken joins any two neighbours that together are a token, the lowest id first: as merges, every way to cut
    every token in two."""
    ranks = {cl100k_base().token_bytes(id): id for id in range(cl100k_base().end_of_text)}
    symbol_of = {byte: symbol for symbol, byte in byte_of_symbol().items()}
    written = {token: "".join(symbol_of[byte] for byte in token) for token in ranks}
    merges: list[tuple[str, str]] = []
    for token in ranks:
        cuts = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        merges += [(written[a], written[b]) for a, b in sorted(cuts, key=lambda cut: (ranks[cut[0]], ranks[cut[1]]))]
    vocab = {written[token]: id for token, id in ranks.items()}
    backend = Backend(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, ignore_merges=True))
    cut = pre_tokenizers.Split(Regex(_CL100K_PATTERN), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return backend


def vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    """Token, in printable characters -> id; <|endoftext|> is the last one."""
    symbol_of = {byte: symbol for symbol, byte in byte_of_symbol().items()}
    tokens = {"".join(symbol_of[b] for b in tokenizer.token_bytes(i)): i for i in range(tokenizer.n_vocab - 1)}
    return tokens | {END_OF_TEXT: tokenizer.end_of_text}


def plain_tokenizer(definition: Mapping[str, Any], end: int, kept: str | None) -> Tokenizer | None:
    """The tokenizer of this app that a tokenizer.json defines; None where it is another one.

    `kept`: the kind the model had when it was exported from here. Only for one of those, learned merges are known to
    be computed alike: any others stay with the library.
    """
    model = definition["model"]
    if kept == "cl100k_base":
        return _kept_cl100k(definition)
    if not _cuts_as_gpt2(definition):
        return None
    merges = [" ".join(merge) for merge in model.get("merges") or []]
    if merges == _gpt2_merges():
        tokenizer = gpt2()
    elif not merges:
        tokenizer = byte_level()
    elif kept == "bpe":
        tokenizer = Tokenizer.from_dict({"format": "gpt_demo", "kind": "bpe", "merges": merges})
    else:
        return None
    added = {token["content"]: token["id"] for token in definition["added_tokens"]}
    same = tokenizer.end_of_text == end and added.keys() == {END_OF_TEXT}
    return tokenizer if same and {**model["vocab"], **added} == vocabulary(tokenizer) else None


def _kept_cl100k(definition: Mapping[str, Any]) -> Tokenizer | None:
    """cl100k_base, if that is what the file still defines; None also where it can't be fetched to be compared."""
    with contextlib.suppress(UserError):
        return cl100k_base() if definition == tokenizer_json(cl100k_base()) else None
    return None


def _cuts_as_gpt2(definition: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json of the library cuts and merges as GPT-2 does."""
    model, cut = definition["model"], definition.get("pre_tokenizer") or {}
    changes = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
    bytewise = cut.get("type") == "ByteLevel" and cut["use_regex"] and not cut["add_prefix_space"]
    strips = any(token["lstrip"] or token["rstrip"] or token["single_word"] for token in definition["added_tokens"])
    plain = model["type"] == "BPE" and not any(model.get(name) for name in changes)
    return bool(plain and bytewise and not strips and not definition.get("normalizer"))
