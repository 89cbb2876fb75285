"""The wiring that the page and the command line share: prepare a text, create a run, train it, keep its model."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from gpt_demo.checkpoint import latest, load_checkpoint, save_checkpoint
from gpt_demo.config import RunConfig
from gpt_demo.data import Split, check_length, split_text
from gpt_demo.decoding import Sampling, beam_search
from gpt_demo.devices import available_memory, pick_device, resolve_precision
from gpt_demo.errors import UserError
from gpt_demo.evaluation import reference_losses
from gpt_demo.events import Event, Finished, Generated, Saved, Started, Stepped, TokenChosen
from gpt_demo.huggingface import export_folder
from gpt_demo.model import GPT
from gpt_demo.runs import RunFolder, Runs
from gpt_demo.store import ModelStore, load_model, load_weights
from gpt_demo.tokenizer import Tokenizer, make
from gpt_demo.transforms import Stage, trace
from gpt_demo.training import Plan, TrainingDiverged, TrainState, make_optimizer, train


@dataclass(frozen=True)
class Prepared:
    """A text made ready for a configuration; `config` has the vocabulary's real size and the prompt filled in."""

    config: RunConfig
    tokenizer: Tokenizer
    split: Split
    plan: Plan


def prepare(text: str, config: RunConfig, tokenizer: Tokenizer | None = None) -> Prepared:
    """Tokenise and split, with the given tokenizer or the one the configuration names.

    Raises UserError where the text is too short, saying by how much.
    """
    if not text.strip():
        raise UserError("There is no text to train on yet. Upload a file, paste a text, or take the sample story.")
    tokenizer = tokenizer or make(config.data.tokenizer, text, config.model.n_vocab)
    split = split_text(text, tokenizer, config.data.val_fraction, config.data.split)
    check_length(split, config.model.n_ctx)
    changes: dict[str, Any] = {"n_vocab": tokenizer.n_vocab}
    if not config.train.sample_prompt:
        changes["sample_prompt"] = first_words(text)
    config = config.changed(changes)
    return Prepared(config, tokenizer, split, Plan.of(config.train, config.model.n_ctx, len(split.train)))


def first_words(text: str, count: int = 3) -> str:
    """How the first real paragraph begins: a prompt that fits the text."""
    paragraphs = [p for p in text.splitlines() if len(p.split()) > 10] or [text]
    return " ".join(paragraphs[0].replace("<|endoftext|>", " ").split()[:count])[:80]


def create_run(
    runs: Runs,
    store: ModelStore,
    text: str,
    config: RunConfig,
    *,
    preset_name: str = "quick",
    name: str = "",
    base: str | None = None,
    owner: str | None = None,
    source: str = "",
) -> RunFolder:
    """Check everything and write the new run's folder; nothing is trained yet. `base`: a stored model to go on from.

    Raises UserError on anything that would fail later: the text, the settings, the name, the memory.
    """
    tokenizer = None
    if base is not None:
        model, tokenizer = store.load(base, owner)
        config = RunConfig(config.data, replace(model.config, dropout=config.model.dropout), config.train)
    prepared = prepare(text, config, tokenizer)
    check_memory(prepared.config)
    name = name or runs.free_name(preset_name)
    if store.folder(name).exists():
        raise UserError(f"There is already a model called {name}. Choose another name.")
    return runs.create(
        name,
        owner,
        {"text.txt": text, "tokenizer.json": json.dumps(prepared.tokenizer.to_dict())},
        config=prepared.config.to_dict(),
        preset=preset_name,
        base=str(store.get(base, owner).folder) if base else None,
        source=source,
    )


def resume_run(folder: RunFolder, changes: Mapping[str, Any] | None = None) -> None:
    """Let a run go on from its last checkpoint; of its settings only its length and how it is watched may change.

    Raises UserError on other changes and where nothing is left to do.
    """
    changes = dict(changes or {})
    fixed = set(changes) - MAY_CHANGE
    if fixed:
        raise UserError(
            f"A resumed run keeps its {', '.join(sorted(fixed))}. What may change: {', '.join(sorted(MAY_CHANGE))}."
        )
    config = RunConfig.from_dict(folder.info["config"]).changed(changes)
    checkpoint, text = latest(folder.path), (folder.path / "text.txt").read_text(encoding="utf-8")
    plan = prepare(text, config, Tokenizer.load(folder.path / "tokenizer.json")).plan
    done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    if done >= plan.total_steps:
        raise UserError(f"The run {folder.name} has done all its {done} steps. To go on, raise max_steps above {done}.")
    folder.update(config=config.to_dict())


MAY_CHANGE = {
    "epochs", "max_steps", "eval_interval", "eval_batches", "sample_interval", "sample_prompt", "sample_tokens",
    "sample_temperature", "sample_top_k", "target_loss", "save_seconds",
}  # fmt: skip


def train_job(folder: RunFolder, store: ModelStore) -> Iterator[Event]:
    """Begin the run of a folder, or go on from its last checkpoint, and record its events.

    Saves as it goes and when it is closed after a `Stepped`; the finished model goes into the store under the run's name.
    """
    checkpoint = latest(folder.path)
    step = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    return folder.record(_train_job(folder, store), step)  # type: ignore[arg-type]


def _train_job(folder: RunFolder, store: ModelStore) -> Iterator[Event]:
    config = RunConfig.from_dict(folder.info["config"])
    tokenizer = Tokenizer.load(folder.path / "tokenizer.json")
    text = (folder.path / "text.txt").read_text(encoding="utf-8")
    prepared = prepare(text, config, tokenizer)
    device = pick_device()
    precision = folder.info.get("precision") or resolve_precision(config.train.precision, device, config.model.n_embd)
    folder.update(precision=precision)
    state = _open_state(folder, config, device)
    yield _started(folder, prepared, state, device, precision)

    saved_at, saved_step, whole = time.monotonic(), state.step, True
    finished: Finished | None = None
    try:
        for event in train(state, prepared.split, tokenizer, config.train, precision):
            if isinstance(event, Finished):
                finished = event
                break
            whole = isinstance(event, Stepped)
            yield event
            if whole and time.monotonic() - saved_at >= config.train.save_seconds:
                path = save_checkpoint(folder.path, state)
                saved_at, saved_step = time.monotonic(), state.step
                yield Saved(str(path))
    except TrainingDiverged:
        whole = True  # the step was not taken
        raise
    finally:
        if whole and (state.step > saved_step or latest(folder.path) is None):
            save_checkpoint(folder.path, state)
    if finished is not None:
        yield Saved(str(keep_model(folder, store)))
        yield finished


def _open_state(folder: RunFolder, config: RunConfig, device: torch.device) -> TrainState:
    """The last checkpoint's state, or a new one: seeded, then built at once."""
    checkpoint = latest(folder.path)
    if checkpoint is not None:
        return load_checkpoint(checkpoint, config.train, device)
    torch.manual_seed(config.train.seed)
    model = GPT(config.model, config.train.init)
    base = folder.info.get("base")
    if base:
        load_weights(model, Path(base) / "model.safetensors")
    model = model.to(device)
    return TrainState(model, make_optimizer(model, config.train))


def _started(
    folder: RunFolder, prepared: Prepared, state: TrainState, device: torch.device, precision: str
) -> Started:
    config = prepared.config
    return Started(
        run=folder.name,
        step=state.step,
        total_steps=prepared.plan.total_steps,
        steps_per_epoch=prepared.plan.steps_per_epoch,
        tokens_per_epoch=prepared.plan.tokens_per_epoch,
        total_tokens=prepared.plan.total_steps * prepared.plan.tokens_per_step,
        n_params=config.model.n_params,
        n_vocab=config.model.n_vocab,
        train_tokens=len(prepared.split.train),
        val_tokens=len(prepared.split.val),
        device=device.type,
        precision=precision,
        references=reference_losses(prepared.split.train, config.model.n_vocab),
        config=config.to_dict(),
    )


def keep_model(folder: RunFolder, store: ModelStore) -> Path:
    """Put the run's last checkpoint into the store under the run's name, its best one as `<name>-best` if another.

    Raises UserError if the run has no checkpoint yet.
    """
    checkpoint = latest(folder.path)
    if checkpoint is None:
        raise UserError(f"The run {folder.name} has not saved anything yet, so there is no model to keep.")
    info = folder.info
    config = RunConfig.from_dict(info["config"])
    tokenizer = Tokenizer.load(folder.path / "tokenizer.json")
    numbers = json.loads((checkpoint / "state.json").read_text())
    about = {
        "run": folder.name,
        "owner": info.get("owner"),
        "source": info.get("source"),
        "preset": info.get("preset"),
        "base": info.get("base"),
        "created": time.time(),
    }
    best_step = numbers["best_step"]
    if best_step is not None and best_step != numbers["step"] - 1:
        best = load_file(checkpoint / f"best-{best_step}.safetensors")
        at_best = {"step": best_step, "val_loss": numbers["best_val_loss"]}
        store.save(f"{folder.name}-best", config.model, best, tokenizer, {**about, **at_best})
    weights = load_file(checkpoint / "model.safetensors")
    at_end = {"step": numbers["step"] - 1, "train_loss": numbers["train_loss"], "val_loss": numbers["val_loss"]}
    return store.save(folder.name, config.model, weights, tokenizer, {**about, **at_end})


def export_model(folder: RunFolder, target: Path, *, for_transformers: bool) -> None:
    """Write the run's last model into the folder `target`, in this app's layout or in the one transformers opens.

    Raises UserError if nothing has been saved yet, or if transformers has no tokenizer for it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        kept = keep_model(folder, ModelStore(Path(scratch), starter=None))
        if not for_transformers:
            shutil.copytree(kept, target)
            return
        model, tokenizer = load_model(kept)
        if tokenizer.kind != "gpt2":
            raise UserError(
                f"This model was trained with the tokenizer {tokenizer.kind}, which transformers' GPT-2 does not have. "
                "Download it as safetensors, or train with the gpt2 tokenizer."
            )
        export_folder(model, tokenizer, target)


def next_token_stages(model: GPT, tokenizer: Tokenizer, prompt: str, sampling: Sampling) -> tuple[Stage, ...]:
    """The distribution of the token after the prompt, at every stage from the model's own to what is drawn from."""
    ids = (tokenizer.encode(prompt) or [tokenizer.end_of_text])[-model.config.n_ctx :]
    context = torch.tensor([ids], device=model.device)
    with torch.inference_mode():
        logits = model.head(model.hidden_states(context)[:, -1]).float().cpu()
    return trace(logits[:, : tokenizer.n_vocab], context.cpu(), sampling.transforms)


def beam_job(
    model: GPT, tokenizer: Tokenizer, prompt: str, n_beams: int, length_penalty: float, max_new_tokens: int
) -> Iterator[TokenChosen | Generated]:
    """The best text of a beam search, its tokens told when the search is done."""
    ids, started = tokenizer.encode(prompt), time.perf_counter()
    logprobs: dict[tuple[int, ...], float] = {(): 0.0}
    best = None
    for step in beam_search(model, ids, n_beams, max_new_tokens, length_penalty, tokenizer.end_of_text):
        logprobs.update({h.ids: h.logprob for h in (*step.live, *step.finished)})
        best = step.best[0] if step.best else best
    assert best is not None  # a search has at least one step, and its last one finishes what is live
    kept = [id for id in best.ids if id != tokenizer.end_of_text]
    pieces = token_texts(tokenizer, kept) + [""] * (len(best.ids) - len(kept))
    for i, (id, piece) in enumerate(zip(best.ids, pieces, strict=True)):
        yield TokenChosen(id, piece, logprobs[best.ids[: i + 1]] - logprobs[best.ids[:i]])
    speed = len(best.ids) / (time.perf_counter() - started)
    reason = "end_of_text" if len(kept) < len(best.ids) else "length"
    yield Generated(prompt + "".join(pieces), len(best.ids), speed, reason)


def training_memory(config: RunConfig) -> int:
    """Bytes a run takes at its highest, about: weights, gradients, two moments and the best weights kept, 4 bytes each;
    what a backward pass needs of every layer; the logits and their gradient."""
    shape, batch = config.model, config.train.batch_size
    per_token = shape.n_layer * (34 * shape.n_embd) + 3 * shape.n_vocab  # floats
    return 4 * (5 * shape.n_params + batch * shape.n_ctx * per_token)


def check_memory(config: RunConfig) -> None:
    """UserError where a run would not fit into the memory that is free now."""
    needed, free = training_memory(config), available_memory()
    if pick_device().type == "cpu" and needed > 0.9 * free:
        raise UserError(
            f"This run needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free. "
            "Lower n_embd, n_layer, n_ctx or batch_size, or take a tokenizer with fewer tokens."
        )


def token_texts(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The text that each token adds; characters of several tokens come with their last one."""
    decoder = tokenizer.stream_decoder()
    texts = [decoder.decode(id) for id in ids]
    return [*texts[:-1], texts[-1] + decoder.finish()] if texts else []
