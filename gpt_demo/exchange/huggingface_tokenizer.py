"""Tokenizers in Hugging Face's files: vocab.json and merges.txt, or tokenizer.json.

In them every byte of a token, and of the two tokens of a merge, is a printable character (see `byte_of_symbol`).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from gpt_demo.errors import UserError
from gpt_demo.paths import ASSETS
from gpt_demo.text.tokenizer import END_OF_TEXT, Tokenizer, byte_level, byte_of_symbol, gpt2

_MERGES = ASSETS / "gpt2" / "vocab.bpe"


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write vocab.json and merges.txt, which GPT2Tokenizer.from_pretrained opens. Not for cl100k_base."""
    (folder / "vocab.json").write_text(json.dumps(vocabulary(tokenizer)), encoding="utf-8")
    if tokenizer.kind == "gpt2":
        shutil.copy(_MERGES, folder / "merges.txt")
    else:
        lines = ["#version: 0.2", *tokenizer.merges]
        (folder / "merges.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    """Token, in printable characters -> id; <|endoftext|> is the last one."""
    symbol_of = {byte: symbol for symbol, byte in byte_of_symbol().items()}
    tokens = {"".join(symbol_of[b] for b in tokenizer.token_bytes(i)): i for i in range(tokenizer.n_vocab - 1)}
    return tokens | {END_OF_TEXT: tokenizer.end_of_text}


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder in Hugging Face's layout or this app's; None where it has no such files.

    Raises UserError where the files can't be read, or number or cut tokens in another way than this app does.
    """
    try:
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return _matching(_read_json(folder / "vocab.json"), _read_merges(folder / "merges.txt"))
        if not (folder / "tokenizer.json").is_file():
            return None
        record = _read_json(folder / "tokenizer.json")
        return Tokenizer.from_dict(record) if record.get("format") == "gpt_demo" else _from_tokenizer_json(record)
    except UserError as error:
        raise UserError(f"The tokenizer in {folder} can't be used. {error}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"The tokenizer in {folder} is damaged ({error}). Download or export the model again."
        ) from error


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_merges(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines[lines[:1] != [] and lines[0].startswith("#version") :] if line]


def _from_tokenizer_json(record: Any) -> Tokenizer:
    model, cut = record["model"], record.get("pre_tokenizer") or {"type": "ByteLevel"}
    if model.get("type", "BPE") != "BPE" or cut.get("type") != "ByteLevel":
        raise UserError("It is no byte-level BPE as GPT-2's. Import a model that was trained with GPT-2's tokenizer.")
    if record.get("normalizer") or cut.get("add_prefix_space") or not cut.get("use_regex", True):
        raise UserError("It changes or cuts texts in another way than GPT-2's, so the model would see other tokens.")
    added = {token["content"]: token["id"] for token in record.get("added_tokens") or []}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return _matching({**model["vocab"], **added}, merges)


def _matching(tokens: dict[str, int], merges: list[str]) -> Tokenizer:
    """The tokenizer of these merges if it gives the same ids."""
    if merges == _MERGES.read_text(encoding="utf-8").splitlines()[1:]:
        tokenizer = gpt2()
    elif not merges and all(tokens.get(symbol) == byte for symbol, byte in byte_of_symbol().items()):
        tokenizer = byte_level()
    else:
        tokenizer = Tokenizer.from_dict({"format": "gpt_demo", "kind": "bpe", "merges": merges})
    expected = vocabulary(tokenizer)
    wrong = [token for token in {**expected, **tokens} if expected.get(token) != tokens.get(token)]
    if wrong:
        raise UserError(
            f"It numbers {len(wrong):,} tokens in another way than this app does (256 bytes, the merges in order, "
            f"{END_OF_TEXT} last), {wrong[0][:20]!r} for one. Import a model with GPT-2's own tokenizer."
        )
    return tokenizer
