"""What the page needs so that its sliders work without the server: a row of logits, and the texts of all tokens.

assets/playground/payload.js reads both, and sampler.js computes from them what `gpt_demo.decoding.transforms.trace`
computes here.
"""

from __future__ import annotations

import base64
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.format import count, number
from gpt_demo.store.store import ModelInfo
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.ui.protocol.playground import Row, Vocabulary

LONGEST = 2**16 - 1


def row_payload(logits: Tensor, dtype: Literal["float32", "float16"] = "float32") -> Row:
    """The row logits (V,) or (1, V) as {"dtype", "data": base64, "n": V, "shift"}: logit = value + shift.

    "float32" is the row itself: the browser cuts the same tokens as the server, and its probabilities differ by less
    than 2e-5 of themselves. 268 KB for 50,257 tokens.

    "float16" is half of that. The highest logit is subtracted (that is `shift`, which the repetition penalty needs,
    because it depends on a logit's sign), so that precision is best where probability is: a logit is off by up to 2^-11
    of its distance from the highest, a probability by that much divided by the temperature. So of itself by 0.4 % at
    temperature 1 for a token e^-8 to e^-16 times as probable as the first, by some per cent at temperature 0.1; and
    tokens become equal that were not, so that a cut keeps others.

    Raises UserError where the row can't be a distribution: NaN, infinity, or nothing above -inf.
    """
    row = logits.detach().reshape(-1).float().cpu()
    highest = row.max()  # NaN if there is one
    if not highest.isfinite():
        raise UserError(
            "The model's output is not a number, so no token can be chosen. Its training diverged; train it again."
        )
    shift = 0.0
    if dtype == "float16":
        shift = highest.item()
        lowest = torch.finfo(torch.float16).min
        row = (row - highest).clamp(min=lowest).masked_fill(row == -torch.inf, -torch.inf)
    data = row.numpy().astype("<f4" if dtype == "float32" else "<f2")
    return {"dtype": dtype, "data": _base64(data.tobytes()), "n": len(row), "shift": shift}


def vocabulary_payload(tokenizer: Tokenizer) -> Vocabulary:
    """The bytes of all tokens, joined in the order of their ids: {"n", "data": base64, "lengths": base64 of uint16}.

    560 KB for GPT-2's, so to be sent once for each tokenizer. A token's bytes beyond 65,535 are left out.
    """
    pieces = [tokenizer.token_bytes(id)[:LONGEST] for id in range(tokenizer.n_vocab)]
    lengths = np.array([len(piece) for piece in pieces], dtype="<u2")
    return {"n": len(pieces), "data": _base64(b"".join(pieces)), "lengths": _base64(lengths.tobytes())}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def card(info: ModelInfo) -> str:
    """What a model is, in a line: its size, what it has read, and its losses where they are known."""
    about = info.about
    read = about.get("reads") or (about.get("source") if about.get("preset") else None)
    words = f"{count(info.config.n_params)} parameters." + (f" Has read: {read}." if read else "")
    losses = [(about.get("train_loss"), "on what it has read"), (about.get("val_loss"), "on text it has not seen")]
    known = [f"{number(loss)} {where}" for loss, where in losses if loss is not None]
    return f"{words} Loss {', '.join(known)}." if known else words
