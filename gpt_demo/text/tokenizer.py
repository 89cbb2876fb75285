"""Text to token ids and back: four kinds of byte-level tokenizer, each one `tiktoken.Encoding`, and a model's own.

gpt2         50,257 tokens: GPT-2's own merges, from assets/gpt2/vocab.bpe
cl100k_base  100,277 ids: GPT-4's encoding, fetched by tiktoken when first used
bpe          merges learned from a text (Sennrich et al. 2016, on bytes as in GPT-2)
bytes        257 tokens: no merges at all
own          the tokenizer of an imported model (own.py)

All but the last cover every byte, so any text is encoded and decoded unchanged; "<|endoftext|>" is one token.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tiktoken
from tokenizers import Tokenizer as Trainee
from tokenizers import models, pre_tokenizers, trainers

from gpt_demo.errors import UserError
from gpt_demo.paths import ASSETS
from gpt_demo.text.own import OwnEncoding
from gpt_demo.text.symbols import byte_of_symbol

Kind = Literal["gpt2", "cl100k_base", "bpe", "bytes", "own"]
KINDS: tuple[Kind, ...] = ("gpt2", "cl100k_base", "bpe", "bytes")  # those that can be made

END_OF_TEXT = "<|endoftext|>"
MIN_VOCAB = 257  # 256 bytes and <|endoftext|>
MAX_VOCAB = 50257  # GPT-2's

# How a text is split before merging, as tiktoken defines its "gpt2": the pattern of OpenAI's release
# ('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+), written so that it seldom backtracks.
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

_MERGES_FILE = ASSETS / "gpt2" / "vocab.bpe"
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
_FETCH_SECONDS = 8.0  # tiktoken itself has no timeout


class Piece(NamedTuple):
    """One token of a text, as `Tokenizer.boundaries` shows it."""

    data: bytes
    id: int

    @property
    def text(self) -> str:
        r"""The token's text; bytes that are not a whole character are written \xe2."""
        return self.data.decode("utf-8", errors="backslashreplace")


class StreamDecoder:
    """Decodes token by token: a character of several tokens comes with the last of them.

    The strings of all `decode` calls and of `finish`, joined, are exactly `Tokenizer.decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def decode(self, token: int) -> str:
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """The incomplete rest, as replacement characters. Resets the decoder."""
        return self._decoder.decode(b"", final=True)


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """One encoding. Ids run from 0 to n_vocab - 1; cl100k_base and some of kind "own" leave a few of them unused."""

    kind: Kind
    encoding: tiktoken.Encoding | OwnEncoding
    merges: tuple[str, ...] = field(default=(), repr=False)  # kind "bpe" only: "Ġ t", in the order learned

    @property
    def n_vocab(self) -> int:
        return self.encoding.n_vocab

    @property
    def end_of_text(self) -> int:
        """The id of <|endoftext|>; for kind "own", the id with which the model ends a text."""
        return self.encoding.eot_token

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; <|endoftext|> in it becomes one token. A lone surrogate is read as U+FFFD."""
        try:
            return self._encode(text)
        except ValueError:  # tiktoken's regex engine fails on a run of 999,999 blanks
            return [token for part in _cut_long_blanks(text) for token in self._encode(part)]

    def _encode(self, text: str) -> list[int]:
        return self.encoding.encode(text, allowed_special={END_OF_TEXT}, disallowed_special=())

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the tokens; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token, which may be part of a character; b"" for an unused id."""
        try:
            return self.encoding.decode_single_token_bytes(token)
        except (KeyError, OverflowError):
            return b""

    def boundaries(self, text: str) -> list[Piece]:
        """The tokens of `text` with their bytes, in order."""
        return [Piece(self.token_bytes(token), token) for token in self.encode(text)]

    def stream_decoder(self) -> StreamDecoder:
        return StreamDecoder(self)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serializable record for `from_dict`."""
        more = self.encoding.to_dict() if isinstance(self.encoding, OwnEncoding) else {}
        more |= {"merges": list(self.merges)} if self.kind == "bpe" else {}
        return {"format": "gpt_demo", "kind": self.kind, **more}

    def same_ids(self, other: Tokenizer) -> bool:
        """Whether an id means the same to both."""
        return self is other or self.to_dict() == other.to_dict()

    @staticmethod
    def from_dict(record: Any) -> Tokenizer:
        """The tokenizer of `to_dict`. Raises UserError on anything else."""
        if not isinstance(record, dict) or record.get("format") != "gpt_demo":
            raise UserError('This is not a tokenizer of gpt_demo: it lacks "format": "gpt_demo".')
        if record.get("kind") == "own":
            return _own(record)
        if record.get("kind") != "bpe":
            return make(str(record.get("kind")))
        merges = record.get("merges")
        if not isinstance(merges, list) or not all(isinstance(merge, str) for merge in merges):
            raise UserError('This tokenizer of kind "bpe" lacks its list of merges. Train or export the model again.')
        return _bpe(merges)

    def save(self, path: Path) -> None:
        """Write the file that `load` reads, a model folder's tokenizer.json."""
        path.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=0), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Tokenizer:
        """Read a file from `save`. Raises UserError if it is missing or not a tokenizer."""
        try:
            return Tokenizer.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except UserError as error:
            raise UserError(f"{path} can't be used. {error}") from error
        except OSError as error:
            raise UserError(f"{path} can't be read ({error.strerror}). A model needs its tokenizer.") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is not valid JSON. Restore it, or train or export the model again.") from error


def make(kind: str, text: str | None = None, n_vocab: int | None = None) -> Tokenizer:
    """A tokenizer of this kind; "bpe" is trained on `text`, the others ignore text and n_vocab.

    Raises UserError on an unknown kind, or if "bpe" has no text to learn from.
    """
    if kind == "gpt2":
        return gpt2()
    if kind == "cl100k_base":
        return cl100k_base()
    if kind == "bytes":
        return byte_level()
    if kind != "bpe":
        raise UserError(f"There is no tokenizer named {kind[:80]!r}. Available: {', '.join(KINDS)}.")
    if text is None or n_vocab is None:
        raise UserError("The tokenizer bpe is learned from a text: give the text and n_vocab, its size.")
    return train_bpe(text, n_vocab)


@cache
def gpt2() -> Tokenizer:
    """GPT-2's encoding (50,257 tokens). Raises UserError if its merge table is not the released one."""
    data = _MERGES_FILE.read_bytes() if _MERGES_FILE.is_file() else b""
    if hashlib.sha256(data).hexdigest() != MERGES_SHA256:
        raise UserError(
            f"{_MERGES_FILE} is missing or was changed. Restore it from the repository, "
            "without converting its line endings."
        )
    _version, *merges = data.decode("utf-8").splitlines()
    return Tokenizer("gpt2", _encoding("gpt2", _ranks(merges)))


@cache
def byte_level() -> Tokenizer:
    """256 bytes, where a byte's value is its id, and <|endoftext|> (257 tokens)."""
    return Tokenizer("bytes", _encoding("bytes", {bytes([value]): value for value in range(256)}))


@cache
def cl100k_base() -> Tokenizer:
    """GPT-4's encoding (n_vocab 100,277). tiktoken fetches it once (1.7 MB) and keeps it in TIKTOKEN_CACHE_DIR.

    Raises UserError within _FETCH_SECONDS if that fails; a slow transfer continues, so a later call may succeed.
    """
    results: list[tiktoken.Encoding | Exception] = []

    def fetch() -> None:
        try:
            results.append(tiktoken.get_encoding("cl100k_base"))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=fetch, name="fetch-cl100k_base", daemon=True)
    thread.start()
    thread.join(_FETCH_SECONDS)
    result = results[0] if results else TimeoutError(f"no answer within {_FETCH_SECONDS:g} seconds")
    if isinstance(result, tiktoken.Encoding):
        return Tokenizer("cl100k_base", result)
    reason = str(result) if isinstance(result, TimeoutError) else type(result).__name__
    raise UserError(
        f"The tokenizer cl100k_base could not be fetched ({reason}): it needs the network once. "
        "Try again, or choose gpt2, bpe or bytes, which need no network."
    ) from result


def train_bpe(text: str, n_vocab: int) -> Tokenizer:
    """Byte-level BPE learned from `text` as in GPT-2: the most frequent pair of tokens is merged, repeatedly.

    `n_vocab` includes the 256 bytes and <|endoftext|>, which is the last id. If no pair occurs twice, the result has
    fewer tokens. The same text always gives the same tokenizer. Raises UserError on an impossible n_vocab.
    """
    if not MIN_VOCAB <= n_vocab <= MAX_VOCAB:
        raise UserError(f"n_vocab is {n_vocab}; it must be from {MIN_VOCAB} (bytes only) to {MAX_VOCAB} (as GPT-2).")
    trainee = Trainee(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab - 1,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trainee.train_from_iterator(_chunks(text), trainer)
    merges = json.loads(trainee.to_str())["model"]["merges"]
    return _bpe(f"{left} {right}" for left, right in merges)


_CHUNK = re.compile(r"[\s\S]{1,1024}(?<!\s)(?=\s)|[\s\S]{1,1024}")


def _chunks(text: str) -> Iterator[str]:
    """`text` without <|endoftext|>, in chunks cut where GPT-2's pattern cuts too: before a blank after a non-blank.

    A longer word is cut anywhere, because the trainer needs time quadratic in a word's length.
    """
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for part in text.split(END_OF_TEXT):
        for match in _CHUNK.finditer(part):
            yield match.group()


_BLANKS = re.compile(r"[^\S\x1c-\x1f]+")  # what \s means in tiktoken's engine


def _cut_long_blanks(text: str) -> Iterator[str]:
    """`text` in parts, cut before the last of many blanks. GPT-2's pattern cuts there too, so the tokens are the same;
    cl100k_base may mark off line ends within these blanks differently."""
    start = 0
    for match in _BLANKS.finditer(text):
        if len(match.group()) > 10_000:
            yield text[start : match.end() - 1]
            start = match.end() - 1
    yield text[start:]


def _ranks(merges: Iterable[str]) -> dict[bytes, int]:
    """token -> id: the 256 bytes, then one token per merge ("Ġ t"), in order. Raises KeyError or ValueError else."""
    byte_of = byte_of_symbol()
    ranks = {bytes([value]): i for i, value in enumerate(byte_of.values())}
    for merge in merges:
        left, right = (bytes(byte_of[symbol] for symbol in token) for token in merge.split(" "))
        if left not in ranks or right not in ranks:
            raise ValueError(f"{merge!r} merges an unknown token")
        ranks.setdefault(left + right, len(ranks))
    return ranks


def _bpe(merges: Iterable[str]) -> Tokenizer:
    """The tokenizer for learned merges. Raises UserError if they are invalid."""
    merges = tuple(merges)
    try:
        ranks = _ranks(merges)
    except (KeyError, ValueError) as error:
        raise UserError("The merges of this tokenizer are damaged. Train or export the model again.") from error
    if len(ranks) >= MAX_VOCAB:
        raise UserError(f"This tokenizer has more than {MAX_VOCAB} tokens, the most supported. Use a smaller one.")
    return Tokenizer("bpe", _encoding("bpe", ranks), merges)


def _own(record: Mapping[str, Any]) -> Tokenizer:
    """A model's own tokenizer. Raises UserError on an invalid record."""
    definition, end, size = (record.get(key) for key in ("definition", "end_of_text", "n_vocab"))
    if not isinstance(definition, dict) or type(end) is not int or type(size) is not int:
        raise UserError('This tokenizer of kind "own" is incomplete. Import the model again.')
    return Tokenizer("own", OwnEncoding(definition, end, size))


def _encoding(name: str, ranks: dict[bytes, int]) -> tiktoken.Encoding:
    """tiktoken's encoding of these tokens, with GPT-2's pattern and <|endoftext|> as the last id."""
    size = len(ranks) + 1
    return tiktoken.Encoding(
        name,
        pat_str=GPT2_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: size - 1},
        explicit_n_vocab=size,
    )
