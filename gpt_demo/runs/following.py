"""A run of several processes: what all of them do but the first, which does what it would do alone."""

from __future__ import annotations

from collections.abc import Callable

from gpt_demo.devices import pick_device
from gpt_demo.runs.folder import RunFolder
from gpt_demo.runs.keeping import config_of
from gpt_demo.runs.recipes import open_state, precision_of, prepare_again
from gpt_demo.training.distributed import Alone
from gpt_demo.training.loop import train


def follow_job(folder: RunFolder, stopping: Callable[[], bool], team: Alone) -> None:
    """The part in a run of every process of a team but the first: the same steps, without a word or a file."""
    config, device = config_of(folder), pick_device()
    prepared, precision = prepare_again(folder, config), precision_of(folder, config, device)
    state = open_state(folder, config, device)
    for _ in train(state, prepared.split, prepared.tokenizer, config.train, precision, stopping, team):
        pass
