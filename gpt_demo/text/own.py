"""The tokenizer of an imported model, computed by the `tokenizers` library as its file defines it.

It has the interface of a `tiktoken.Encoding`, so `Tokenizer` need not know which of the two it has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import tokenizers

from gpt_demo.errors import UserError, cut
from gpt_demo.text.symbols import byte_of_symbol

_ANCHOR = "x"


class OwnEncoding:
    """`definition` is a tokenizer.json of the library; the ids are its own, from 0 to n_vocab - 1 at most.

    Raises UserError if the library can't read it.
    """

    def __init__(self, definition: Mapping[str, Any], end_of_text: int, n_vocab: int) -> None:
        self.definition = {**definition, "truncation": None, "padding": None}
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(self.definition))
        except BaseException as error:  # of pyo3: some definitions make the library panic
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise UserError(f"The tokenizers library can't read this tokenizer ({cut(str(error))}).") from None
        self.eot_token = end_of_text
        self.n_vocab = n_vocab
        self._bytes = _bytes_of_tokens(self._tokenizer, self.definition, n_vocab)
        if end_of_text not in self._bytes:
            raise UserError(f"The model's end token, {end_of_text}, is not among its {n_vocab:,} tokens.")

    def encode(self, text: str, *, allowed_special: object = (), disallowed_special: object = ()) -> list[int]:
        """The ids of `text`, without the special tokens some models add; added tokens in it are one token each.

        Raises UserError if the text contains a token without an embedding in the model.
        """
        clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids: list[int] = self._tokenizer.encode(clean, add_special_tokens=False).ids
        beyond = next((id for id in ids if id >= self.n_vocab), None)
        if beyond is not None:
            token = self._tokenizer.id_to_token(beyond)
            raise UserError(f"The model has no embedding for {cut(repr(token))}, token {beyond}. Remove it.")
        return ids

    def to_dict(self) -> dict[str, Any]:
        """The record to rebuild it from."""
        return {"definition": self.definition, "end_of_text": self.eot_token, "n_vocab": self.n_vocab}

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The id of a token. Raises KeyError if there is none."""
        return self._bytes[token]


def _bytes_of_tokens(tokenizer: Any, definition: Mapping[str, Any], n_vocab: int) -> dict[int, bytes]:
    """What each token adds to a text between two others."""
    added = {token["id"]: token["content"].encode() for token in definition.get("added_tokens") or []}
    decoder = definition.get("decoder") or {}
    in_bytes = decoder.get("type") == "ByteLevel"
    one = _byte_level if in_bytes else _decoded_by(tokenizer.decoder, "ByteFallback" in json.dumps(decoder))
    found = {id: one(token) for token, id in tokenizer.get_vocab(with_added_tokens=True).items() if id < n_vocab}
    return {**found, **{id: content for id, content in added.items() if in_bytes and id < n_vocab}}


def _byte_level(token: str) -> bytes:
    byte_of = byte_of_symbol()
    return bytes(byte_of[symbol] for symbol in token) if all(map(byte_of.__contains__, token)) else token.encode()


def _decoded_by(decoder: Any, byte_fallback: bool) -> Any:
    """The bytes of a token by the library's decoder, between two anchors; without a decoder, tokens are separated."""
    if decoder is None:
        return lambda token: f" {token}".encode()
    before, after = decoder.decode([_ANCHOR]), decoder.decode([_ANCHOR, _ANCHOR])[1:]

    def one(token: str) -> bytes:
        if byte_fallback and len(token) == 6 and token.startswith("<0x"):
            return bytes.fromhex(token[3:5])
        text: str = decoder.decode([_ANCHOR, token, _ANCHOR])
        return text[len(before) : len(text) - len(after)].encode()

    return cache(one)
