"""What a public server trains: models and steps up to a size, whichever part of a model is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small import small

from gpt_demo.errors import UserError
from gpt_demo.runs.runs import Runs
from gpt_demo.store.store import ModelStore, owner_key
from gpt_demo.training.lora import n_trained
from gpt_demo.ui.quotas import check_config
from gpt_demo.ui.services import Limits, Services

LIMITS = Limits(params=6_000, steps=10, tokens_per_step=64)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_embd": 16}, "This model has"),
        ({"n_embd": 16, "trainable": "last_blocks", "last_blocks": 1}, "This model has"),
        ({"trainable": "lora", "lora_rank": 80}, "trains up to 6,000 parameters. Lower lora_rank"),
        ({"batch_size": 9}, "reads 72 tokens; this public server allows up to 64. Lower batch_size or n_ctx"),
        ({"batch_size": 9, "n_ctx": 16, "window": 8}, "reads 72 tokens; .* Lower batch_size or window"),
        ({"max_steps": 11}, "trains up to 10 steps"),
    ],
)  # fmt: skip
def test_what_is_refused(changes: dict[str, Any], sentence: str) -> None:
    config = small(**{"n_vocab": 257, **changes})
    with pytest.raises(UserError, match=sentence):
        check_config(LIMITS, config)
    check_config(None, config)


@pytest.mark.parametrize(
    "changes", [{}, {"trainable": "lora"}, {"batch_size": 8}, {"n_ctx": 16, "window": 4, "batch_size": 16}]
)
def test_what_is_trained(changes: dict[str, Any]) -> None:
    config = small(**{"n_vocab": 257, **changes})
    check_config(LIMITS, config)
    assert n_trained(config.model, config.train) <= LIMITS.params


@pytest.mark.parametrize("token", ["", None, "s" * 43, "t" * 43])
def test_a_run_without_an_owner_is_nobodys_on_a_public_server(token: str | None, tmp_path: Path) -> None:
    """At no moment: a page asks without a token before it has one."""
    runs, store = Runs(tmp_path), ModelStore(tmp_path, starter=None)
    runs.create("servers", None, {})
    runs.create("visitors", owner_key("s" * 43), {})
    public, private = Services(store, runs, LIMITS), Services(store, runs, None)
    own = ["visitors"] if token == "s" * 43 else []
    assert [folder.name for folder in public.runs_of(token)] == own
    assert sorted(folder.name for folder in private.runs_of(token)) == ["servers", *own]
    assert private.run("servers", token).name == "servers"
    with pytest.raises(UserError, match="no run named 'servers'") as error:
        public.run("servers", token)
    assert f"Available: {own[0] if own else 'none yet'}." in str(error.value)
