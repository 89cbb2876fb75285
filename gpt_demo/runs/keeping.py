"""The results of a run: its last and its best model in the store, and either as files."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

from gpt_demo.errors import UserError
from gpt_demo.exchange.huggingface import export_folder
from gpt_demo.runs.folder import RunFolder
from gpt_demo.store.folder import load_model
from gpt_demo.store.store import ModelStore
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.checkpoint import latest, plain_weights
from gpt_demo.training.config import RunConfig

BEST = "-best"  # the suffix of a run's best model


def config_of(folder: RunFolder) -> RunConfig:
    """The settings of a run. Raises UserError if they can't be read."""
    return RunConfig.from_dict(folder.info.get("config", {}))


def store_model(folder: RunFolder, store: ModelStore) -> Path:
    """Store the run's last checkpoint under the run's name, and its best one, if different, as `<name>-best`.

    Raises UserError if the run has no checkpoint yet.
    """
    for _ in range(5):
        checkpoint = latest(folder.path)
        if checkpoint is None:
            raise UserError(
                f"The run {folder.name} has not saved anything yet, so it has no model. Wait until it has saved one."
            )
        try:
            return _keep(folder, checkpoint, store)
        except FileNotFoundError:
            continue  # the run is still going and has just replaced its checkpoint by a newer one
    raise UserError(f"The checkpoint of the run {folder.name} can't be read. Stop the run and try again.")


def keep_model(folder: RunFolder, store: ModelStore) -> None:
    """As `store_model`, if there is anything to store."""
    if latest(folder.path) is not None:
        store_model(folder, store)


def _keep(folder: RunFolder, checkpoint: Path, store: ModelStore) -> Path:
    info, shape = folder.info, config_of(folder).model
    numbers = json.loads((checkpoint / "state.json").read_text())
    last, best = numbers["step"] - 1, numbers["best_step"]
    weights = plain_weights(checkpoint)
    best_weights = plain_weights(checkpoint, f"best-{best}.safetensors") if best not in (None, last) else None
    tokenizer = Tokenizer.load(folder.path / "tokenizer.json")
    about = {key: info.get(key) for key in ("owner", "source", "preset", "base")}
    about |= {"run": folder.name, "created": time.time()}
    best_name = folder.name + BEST
    if best_weights is not None:
        at_best = {"step": best, "val_loss": numbers["best_val_loss"]}
        store.save(best_name, shape, best_weights, tokenizer, {**about, **at_best})
    elif store.folder(best_name).exists():  # from an earlier point of the run
        store.delete(best_name, info.get("owner"))
    measured = numbers.get("evaluated_step", last) == last
    at_end = {"step": last, **{loss: numbers[loss] if measured else None for loss in ("train_loss", "val_loss")}}
    return store.save(folder.name, shape, weights, tokenizer, {**about, **at_end})


def offered_model(folder: RunFolder, store: ModelStore) -> str | None:
    """The name of the run's model to offer first: the best one, else the last one; None while none is stored."""
    names = (folder.name + BEST, folder.name)
    return next((name for name in names if (store.folder(name) / "config.json").exists()), None)


def export_model(folder: RunFolder, target: Path, *, best: bool = False, for_transformers: bool = False) -> None:
    """Write the run's last model (or its best one) into the folder `target`, in this app's layout or in the one that
    transformers opens.

    Raises UserError if nothing has been saved yet.
    """
    with tempfile.TemporaryDirectory() as scratch:
        store = ModelStore(Path(scratch), starter=None)
        kept = store_model(folder, store)
        if best:
            kept = store.folder(offered_model(folder, store) or folder.name)
        if for_transformers:
            export_folder(*load_model(kept), target)
        else:
            shutil.copytree(kept, target)
