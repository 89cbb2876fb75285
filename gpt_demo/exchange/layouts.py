"""What others call the tensors of a GPT-2, and which of theirs make up one of ours.

Three families: OpenAI's names as here (transformers stores the linear layers as (in, out), nanoGPT and this app as
(out, in)), and those of the book "Build a Large Language Model (From Scratch)", whose queries, keys and values are
three matrices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpt_demo.errors import UserError, cut

# transformers keeps these four as (in, out), the transpose of a linear layer.
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
QKV_BIAS = "attn.c_attn.bias"
QUERY_KEY_VALUE = ("W_query", "W_key", "W_value")

_WRAPPERS = ("_orig_mod.", "module.", "transformer.")  # of torch.compile, of several processes, of transformers
_BUFFER = re.compile(r"h\.\d+\.attn\.(masked_)?bias|trf_blocks\.\d+\.att\.mask")  # causal masks next to the weights
_BOOK = {
    "tok_emb.weight": "wte.weight", "pos_emb.weight": "wpe.weight", "final_norm.scale": "ln_f.weight",
    "final_norm.shift": "ln_f.bias", "out_head.weight": "lm_head.weight",
}  # fmt: skip
_BOOK_BLOCK = {
    "att.W_query": "attn.c_attn", "att.W_key": "attn.c_attn", "att.W_value": "attn.c_attn",
    "att.out_proj": "attn.c_proj", "ff.layers.0": "mlp.c_fc", "ff.layers.2": "mlp.c_proj", "norm1": "ln_1",
    "norm2": "ln_2",
}  # fmt: skip
_BOOK_END = {"weight": "weight", "bias": "bias", "scale": "weight", "shift": "bias"}


@dataclass(frozen=True)
class Layout:
    """The tensors of a file as ours."""

    parts: Mapping[str, tuple[str, ...]]  # ours -> theirs; several are joined along the first dimension
    shapes: Mapping[str, tuple[int, ...]]  # ours -> its shape as it is stored
    is_book: bool

    @property
    def transposed(self) -> bool:
        """Whether linear layers are stored as (in, out): their widest says it, which is three times as wide."""
        shape = self.shapes.get("h.0.attn.c_attn.weight", (1, 3))
        return len(shape) == 2 and shape[1] == 3 * shape[0]


def layout_of(shapes: Mapping[str, tuple[int, ...]], label: str) -> Layout:
    """The layout of a file's tensors, causal masks left out. Raises UserError where two of them are the same one."""
    is_book = any(_bare(name) == "tok_emb.weight" for name in shapes)
    parts: dict[str, list[str]] = {}
    for theirs in sorted(shapes, key=_in_order):
        if _BUFFER.fullmatch(_bare(theirs)):
            continue
        ours = _of_the_book(_bare(theirs)) if is_book else _bare(theirs)
        same = parts.setdefault(ours, [])
        if same and not (is_book and ours.startswith("h.") and ".attn.c_attn." in ours):
            raise UserError(f"{label} holds both {cut(same[0])} and {cut(theirs)}. Keep the one that is meant.")
        same.append(theirs)
    for ours, theirs_of in parts.items():
        if len(theirs_of) > 3 or len({_bare(name) for name in theirs_of}) < len(theirs_of):
            raise UserError(f"{label} holds {ours} more than once: {cut(', '.join(theirs_of))}.")
    joined = {ours: _joined([shapes[name] for name in theirs_of]) for ours, theirs_of in parts.items()}
    return Layout({ours: tuple(names) for ours, names in parts.items()}, joined, is_book)


def _bare(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _in_order(name: str) -> tuple[int, str]:
    """Queries before keys before values."""
    place = next((i for i, part in enumerate(QUERY_KEY_VALUE) if f".{part}." in name), 0)
    return place, name


def _of_the_book(name: str) -> str:
    """Our name of one of the book's; one that is not the book's stays as it is."""
    match = re.fullmatch(r"trf_blocks\.(\d+)\.(.+)\.(\w+)", name)
    if match and match[2] in _BOOK_BLOCK and match[3] in _BOOK_END:
        return f"h.{match[1]}.{_BOOK_BLOCK[match[2]]}.{_BOOK_END[match[3]]}"
    return _BOOK.get(name, name)


def book_names(ours: str) -> tuple[str, ...]:
    """The book's names of one of our tensors, in the order in which they are joined."""
    for theirs, own in _BOOK.items():
        if own == ours:
            return (theirs,)
    _, block, layer, end = re.fullmatch(r"(h)\.(\d+)\.(.+)\.(\w+)", ours).groups()  # type: ignore[union-attr]
    norm = {"weight": "scale", "bias": "shift"}
    return tuple(
        f"trf_blocks.{block}.{theirs}.{norm[end] if theirs.startswith('norm') else end}"
        for theirs, own in _BOOK_BLOCK.items()
        if own == layer
    )


def _joined(shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of what is joined along the first dimension; () where they do not fit together."""
    first, *others = shapes
    if not others:
        return first
    rest = first[1:]
    fits = bool(first) and all(shape and shape[1:] == rest for shape in others)
    return (sum(shape[0] for shape in (first, *others)), *rest) if fits else ()
