"""From a text to batches: the train/validation split, windows and batches of token ids.

Shapes: N tokens or windows, B batch, T time (tokens of a window). Batches are int64; so are ids, except those in a file
(large.py), which have as few bytes as they need. A target is the token that follows its input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gpt_demo.errors import UserError
from gpt_demo.text.tokenizer import END_OF_TEXT, Tokenizer

# Splitting ------------------------------------------------------------------------------------------------------------

SplitBy = Literal["characters", "tokens"]
ValFrom = Literal["end", "each"]  # the end of the whole text, or of each of its files (each text between END_OF_TEXT)


@dataclass(frozen=True, eq=False)
class Split:
    """A text as token ids."""

    train: Tensor  # (N,)
    val: Tensor  # (M,), empty if nothing is held out


@dataclass(frozen=True)
class Preview:
    """A text at a glance."""

    head: str  # its first lines
    characters: int
    tokens: int  # of the whole text; a split by characters may cut one in two
    train_tokens: int
    val_tokens: int


def split_text(text: str, tokenizer: Tokenizer, val_fraction: float, by: SplitBy, val_from: ValFrom = "end") -> Split:
    """The first int((1 - val_fraction) * length) characters or tokens train, the rest validate; with `val_from` "each"
    of each file, that is of each text between END_OF_TEXT.

    By characters, each part is tokenized separately. Raises UserError if val_fraction is not in [0, 0.5].
    """
    if not 0 <= val_fraction <= 0.5:
        raise UserError(f"val_fraction is {val_fraction}; it must be from 0 (no validation) to 0.5.")
    for name, value, kind in (("split", by, SplitBy), ("val_from", val_from, ValFrom)):
        if value not in get_args(kind):
            raise UserError(f"{name} is {value!r}; it must be one of {', '.join(get_args(kind))}.")
    if by == "characters":
        train, val = (tokenizer.encode(part) for part in _split_characters(text, 1 - val_fraction, val_from))
        return Split(torch.tensor(train, dtype=torch.int64), torch.tensor(val, dtype=torch.int64))
    ids = torch.tensor(tokenizer.encode(text), dtype=torch.int64)
    return _split_tokens(ids, 1 - val_fraction, tokenizer.end_of_text if val_from == "each" else None)


def _split_characters(text: str, share: float, val_from: ValFrom) -> tuple[str, str]:
    texts = text.split(END_OF_TEXT) if val_from == "each" else [text]
    cuts = [int(share * len(one)) for one in texts]
    ends = [one[cut:] for one, cut in zip(texts, cuts, strict=True) if one[cut:]]
    return END_OF_TEXT.join(one[:cut] for one, cut in zip(texts, cuts, strict=True)), END_OF_TEXT.join(ends)


def _split_tokens(ids: Tensor, share: float, end_of_text: int | None) -> Split:
    """ids (N,); each file with the `end_of_text` behind it is cut on its own, None: all as one."""
    ends = [] if end_of_text is None else ((ids == end_of_text).nonzero().flatten() + 1).tolist()
    files = ids.tensor_split(ends)
    parts = [(one[: int(share * len(one))], one[int(share * len(one)) :]) for one in files]
    return Split(torch.cat([train for train, _ in parts]), torch.cat([val for _, val in parts]))


def preview(text: str, tokenizer: Tokenizer, val_fraction: float, by: SplitBy, n_lines: int = 10) -> Preview:
    """The first lines of a text (at most 1,000 characters) and its size. Raises UserError as `split_text` does."""
    split = split_text(text, tokenizer, val_fraction, by)
    head = "\n".join(text[:1000].split("\n")[:n_lines])
    return Preview(head, len(text), len(tokenizer.encode(text)), len(split.train), len(split.val))


def check_length(split: Split, n_ctx: int, setting: str = "n_ctx") -> None:
    """Raises UserError if the text is too short to train on windows of `n_ctx` tokens, or to validate at all."""
    train, val = len(split.train), len(split.val)
    if train <= n_ctx:
        shorter = f"{setting} of at most {train - 1}" if train > 1 else f"smaller {setting}"
        raise UserError(
            f"The training text has {train} tokens, but {setting} {n_ctx} needs at least {n_ctx + 1}. "
            f"Use a longer text, a {shorter}, a smaller val_fraction, or a tokenizer that splits it into more tokens "
            "(bytes gives the most)."
        )
    if val == 1:
        raise UserError(
            "The validation text has 1 token, but at least 2 are needed. Use a longer text, a larger val_fraction, "
            "or val_fraction 0 to train without validation."
        )


# Windows and batches --------------------------------------------------------------------------------------------------


def windows(ids: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """ids (N,) -> inputs and targets, both (W, T = length): views that start at `range(0, N - length, stride)`.

    Full windows only; a target is one token after its input. Raises UserError if length or stride is below 1.
    """
    if length < 1 or stride < 1:
        raise UserError(f"The window length is {length} and the stride {stride}; both must be at least 1.")
    if len(ids) <= length:
        return ids.new_empty(0, length), ids.new_empty(0, length)
    return ids[:-1].unfold(0, length, stride), ids[1:].unfold(0, length, stride)


class _Windows(Dataset[tuple[Tensor, Tensor]]):
    """Gathers a batch's windows at once: DataLoader prefers `__getitems__`, and index_select copies whole rows."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.tensor(rows)
        return self.inputs.index_select(0, index).long(), self.targets.index_select(0, index).long()


def epoch_batches(
    inputs: Tensor, targets: Tensor, batch_size: int, shuffle: bool, drop_last: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """inputs, targets (W, T) -> batches (B, T) with every window once; the last may be smaller, or is dropped.

    A real DataLoader, so it draws from torch's global generator what the book's loops draw: an epoch without shuffling
    draws too. No windows, no batches.
    """
    if len(inputs) == 0:
        return iter(())
    dataset = _Windows(inputs, targets)
    return iter(DataLoader(dataset, batch_size, shuffle=shuffle, drop_last=drop_last, collate_fn=lambda batch: batch))


def random_batch(ids: Tensor, n_ctx: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """ids (N,) -> inputs and targets (B, T = n_ctx) at random positions, drawn from torch's global generator.

    N must be above n_ctx (see `check_length`).
    """
    starts = torch.randint(len(ids) - n_ctx, (batch_size,))
    inputs, targets = windows(ids, n_ctx, 1)
    return inputs.index_select(0, starts).long(), targets.index_select(0, starts).long()


def covering_windows(ids: Tensor, length: int, batch_size: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """ids (N,) -> batches (B, T) in which every token but the first is a target exactly once.

    Adjacent full windows, T = length and B up to `batch_size`; then, as a separate batch, a shorter one (1, T).
    """
    inputs, targets = windows(ids, length, length)
    for i in range(0, len(inputs), batch_size):
        yield inputs[i : i + batch_size].long(), targets[i : i + batch_size].long()
    rest = ids[len(inputs) * length :]
    if len(rest) > 1:
        yield rest[None, :-1].long(), rest[None, 1:].long()
