"""The tokenizer of a folder in Hugging Face's layout: ids as transformers' AutoTokenizer gives them, or a refusal.

A tokenizer.json is a definition that the `tokenizers` library computes; but transformers builds the tokenizer of a
class it knows (GPT2Tokenizer, BertTokenizer) from the vocabulary alone: version 5 always, version 4 where there is no
tokenizer.json. Where the two would differ, the file is refused with the name of the setting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from gpt_demo.errors import UserError, cut, quoted
from gpt_demo.exchange.huggingface_tokenizer import pair_of, plain_tokenizer
from gpt_demo.text.tokenizer import END_OF_TEXT, Tokenizer

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_GPT2 = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
_BERT = {
    "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
}  # fmt: skip
_DEFAULTS: dict[str, dict[str, str]] = {
    "GPT2Tokenizer": _GPT2,
    "BertTokenizer": _BERT,
    "PreTrainedTokenizer": {},
    "TokenizersBackend": {},
}
_OTHER_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "vocab.txt")
_DEFAULT_END = 50256  # what transformers takes where config.json gives no eos_token_id
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


@dataclass(frozen=True)
class _Files:
    """What a folder says of its tokenizer; empty where it says nothing."""

    folder: Path
    definition: Mapping[str, Any]  # tokenizer.json
    settings: Mapping[str, Any]  # tokenizer_config.json
    config: Mapping[str, Any]  # config.json

    @property
    def kind(self) -> str:
        name = self.settings.get("tokenizer_class") or self.config.get("tokenizer_class") or "GPT2Tokenizer"
        return str(name).removesuffix("Fast")

    def read(self, name: str) -> dict[str, Any]:
        return _read_object(self.folder / name)


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder in Hugging Face's layout or this app's; None where it has no such files.

    Raises UserError where the files can't be read, or where what they define can't be computed here.
    """
    try:
        definition = _read_object(folder / "tokenizer.json")
        if definition.get("format") == "gpt_demo":
            return Tokenizer.from_dict(definition)
        files = _Files(
            folder, definition, _read_object(folder / "tokenizer_config.json"), _read_object(folder / "config.json")
        )
        backend = _backend(files)
        return None if backend is None else _tokenizer(files, backend)
    except UserError as error:
        raise UserError(f"The tokenizer in {folder} can't be used. {error}") from error
    except Exception as error:  # of the library, whose own errors have no class
        raise UserError(
            f"The tokenizer in {folder} is damaged ({cut(str(error))}). Download or export the model again."
        ) from error


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file, empty where there is no file."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no JSON object")
    return found


# The library's tokenizer ----------------------------------------------------------------------------------------------


def _backend(files: _Files) -> Backend | None:
    """The tokenizer without its added tokens, as transformers makes it; None where there are no files for it."""
    if files.kind not in _DEFAULTS:
        raise UserError(
            f"Its tokenizer_class is {quoted(files.kind)}; GPT2Tokenizer, BertTokenizer and PreTrainedTokenizerFast "
            "can be read. Save it with transformers as PreTrainedTokenizerFast."
        )
    if files.settings.get("split_special_tokens"):
        raise UserError("Its split_special_tokens is true; here a special token is always one token.")
    if files.kind == "GPT2Tokenizer":
        backend = _gpt2(files)
    elif files.kind == "BertTokenizer":
        backend = _bert(files)
    else:
        backend = Backend.from_str(json.dumps(files.definition)) if files.definition else None
    other = next((name for name in _OTHER_FILES if (files.folder / name).is_file()), None)
    if backend is None and other is not None:
        advice = 'Give "tokenizer_class": "BertTokenizer" in config.json' if other == "vocab.txt" else "Save it again"
        raise UserError(
            f"Its only file, {other}, is not that of a {files.kind}. {advice}, or with transformers as tokenizer.json."
        )
    if backend is not None and files.definition and files.kind in ("GPT2Tokenizer", "BertTokenizer"):
        _check_agreement(files, json.loads(backend.to_str()))
    return backend


def _gpt2(files: _Files) -> Backend | None:
    folder, model = files.folder, files.definition.get("model")
    if model is not None:
        vocabulary, merges = model["vocab"], [pair_of(merge) for merge in model["merges"]]
    else:
        here = {name: (folder / name).is_file() for name in ("vocab.json", "merges.txt")}
        if not any(here.values()):
            return None
        missing = next((name for name, found in here.items() if not found), None)
        if missing:
            raise UserError(f"Its {missing} is missing. Download or export the model again.")
        vocabulary, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    backend = Backend(
        models.BPE(vocab=vocabulary, merges=merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    )
    before = files.settings.get("add_prefix_space", False) is True
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=before)
    backend.decoder = decoders.ByteLevel()
    return backend


def _bert(files: _Files) -> Backend | None:
    path, model = files.folder / "vocab.txt", files.definition.get("model")
    if model is None and not path.is_file():
        return None
    vocabulary = models.WordPiece.read_file(str(path)) if model is None else model["vocab"]
    backend = Backend(models.WordPiece(vocabulary, unk_token=_content(files.settings.get("unk_token", "[UNK]"))))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=files.settings.get("tokenize_chinese_chars", True),
        strip_accents=files.settings.get("strip_accents"),
        lowercase=files.settings.get("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _check_agreement(files: _Files, built: Mapping[str, Any]) -> None:
    """UserError where tokenizer.json defines another tokenizer than its class has."""
    for name in ("normalizer", "pre_tokenizer", "decoder", "model"):
        theirs, ours = _parts(name, files.definition.get(name)), _parts(name, built.get(name))
        if name == "pre_tokenizer" and files.kind == "GPT2Tokenizer":  # the class sets it by tokenizer_config.json
            theirs = {**theirs, "add_prefix_space": ours["add_prefix_space"]} if "type" in theirs else theirs
        if theirs != ours:
            which = name if name != "model" else next(key for key in ours if theirs.get(key) != ours[key])
            said = files.definition.get(name) if name != "model" else theirs.get(which)
            raise UserError(
                f"Its tokenizer.json gives {which} as {quoted(said)}, which a {files.kind} has differently: versions 4 "
                "and 5 of transformers read this file in two ways. If the file is right, give "
                '"tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json.'
            )


_MATTERS: dict[str, dict[str, Any]] = {
    "ByteLevel": {"add_prefix_space": True, "use_regex": True},  # the library's defaults
    "BertNormalizer": {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
}
_OF_A_MODEL = ("type", "dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")


def _parts(name: str, record: Any) -> dict[str, Any]:
    """What of a part of a tokenizer.json changes ids, in one spelling."""
    record = record or {}
    if record.get("type") == "Sequence" and len(record.get("pretokenizers", ())) == 1:
        record = record["pretokenizers"][0]
    if name == "model":
        kind = record.get("type", "BPE" if "merges" in record else "WordPiece")
        return {key: record.get(key) or None for key in _OF_A_MODEL} | {"type": kind}
    if name == "decoder":
        return {"type": record["type"]} if record else {}
    matters = _MATTERS.get(record.get("type", ""))
    if matters is None:
        return dict(record)
    return {"type": record["type"], **{key: record.get(key, default) for key, default in matters.items()}}


# Added tokens ---------------------------------------------------------------------------------------------------------


def _add_tokens(files: _Files, backend: Backend) -> dict[str, str]:
    """Add what transformers adds, in its order; the named tokens. Raises UserError where an id would not be the file's.

    (transformers 5.24, tokenization_utils_base.py and tokenization_utils_tokenizers.py)
    """
    settings = dict(files.settings)
    by_id: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in settings:
        decoder: dict[str, Any] = settings["added_tokens_decoder"]
        by_id = {int(id): _added(token) for id, token in decoder.items()}
    else:
        settings |= files.read("special_tokens_map.json")
        special = {_content(settings[name]) for name in NAMED if settings.get(name)} | set(_extra(settings))
        for content, id in files.read("added_tokens.json").items():
            by_id[id] = AddedToken(content, normalized=content not in special, special=content in special)
        for token in files.definition.get("added_tokens") or []:
            by_id[token["id"]] = _added(token)
    if files.definition.get("padding"):
        settings.setdefault("pad_token", files.definition["padding"]["pad_token"])
    named = {name: settings.get(name, _DEFAULTS[files.kind].get(name)) for name in NAMED}
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    new = [token for _, token in sorted(by_id.items()) if token.content not in known]
    known |= {token.content for token in new}
    for value in (*named.values(), *_extra(settings)):
        if value and _content(value) not in known:
            new.append(_added(value, special=True))
            known.add(_content(value))
    backend.add_tokens(new)
    for id, token in by_id.items():
        _check_id(backend, token.content, id)
    return {name: _content(value) for name, value in named.items() if value}


def _check_id(backend: Backend, content: str, id: int) -> None:
    if backend.token_to_id(content) != id:
        raise UserError(
            f"Its files give the added token {quoted(content)} the id {id}; transformers gives it "
            f"{backend.token_to_id(content)}. Save the tokenizer with transformers again."
        )


def _check_added(files: _Files, backend: Backend) -> None:
    """UserError where tokenizer.json has an added token that transformers 5 leaves out or cuts in another way."""
    ours = {id: _flags(token) for id, token in backend.get_added_tokens_decoder().items()}
    for token in files.definition.get("added_tokens") or []:
        if ours.get(token["id"]) != _flags(_added(token)):
            raise UserError(
                f"Its tokenizer.json and tokenizer_config.json say different things of {quoted(token['content'])}. "
                "Save the tokenizer with transformers again."
            )


def _flags(token: AddedToken) -> tuple[Any, ...]:
    return token.content, *(getattr(token, flag) for flag in _FLAGS)


def _content(value: Any) -> str:
    return str(value["content"] if isinstance(value, dict) else value)


def _added(value: Any, *, special: bool = False) -> AddedToken:
    if not isinstance(value, dict):
        return AddedToken(str(value), special=True)
    flags = {flag: value[flag] for flag in _FLAGS if flag in value}
    return AddedToken(value["content"], special=special or bool(value.get("special")), **flags)


def _extra(settings: Mapping[str, Any]) -> list[str]:
    found: Any = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    others = [value for key, value in settings.items() if key.endswith("_token") and key not in NAMED]
    values: list[Any] = list(found.values() if isinstance(found, dict) else found)
    return [_content(value) for value in (*values, *(value for value in others if isinstance(value, str)))]


# Ours -----------------------------------------------------------------------------------------------------------------


def _tokenizer(files: _Files, backend: Backend) -> Tokenizer:
    base = backend.get_vocab(with_added_tokens=False)
    if len(set(base.values())) < len(base):
        raise UserError("It gives two tokens the same id. Download or export the model again.")
    named = _add_tokens(files, backend)
    _check_added(files, backend)
    rows = files.config.get("vocab_size")
    ids = backend.get_vocab(with_added_tokens=True).values()
    size = max(ids, default=-1) + 1
    if isinstance(rows, int) and max(base.values(), default=0) < rows:
        size = min(size, rows)  # added tokens that the model has no row for: a text that holds one is refused
    end = _end(files, backend, named, size)
    definition = json.loads(backend.to_str())
    ours = files.config.get("gpt_demo")
    kept = ours.get("tokenizer") if isinstance(ours, dict) else None
    own = {"format": "gpt_demo", "kind": "own", "end_of_text": end, "n_vocab": size, "definition": definition}
    return plain_tokenizer(definition, end, kept) or Tokenizer.from_dict(own)


def _end(files: _Files, backend: Backend, named: Mapping[str, str], size: int) -> int:
    """The id at which the model ends a text: transformers' generate() takes it from these files, in this order."""
    said = files.read("generation_config.json").get("eos_token_id")
    if said is None:
        said = files.config.get("eos_token_id", _DEFAULT_END) if files.config else None
    if isinstance(said, list):
        if len(said) > 1:
            raise UserError(f"Its eos_token_id is {quoted(said)}; here a text ends at one token.")
        said = said[0] if said else None
    known = {id for id in backend.get_vocab(with_added_tokens=True).values() if id < size}
    for id in (said, backend.token_to_id(named.get("eos_token", "")), backend.token_to_id(END_OF_TEXT)):
        if type(id) is int and id in known:
            return id
    raise UserError("No token is its end: config.json needs an eos_token_id that is one of the model's tokens.")
