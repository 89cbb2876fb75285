"""What a run needs of this machine's memory, and which part of a model can be trained where all of it does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from gpt_demo.devices import available_memory, pick_device
from gpt_demo.errors import UserError
from gpt_demo.format import size
from gpt_demo.training.config import RunConfig
from gpt_demo.training.lora import n_adapters, n_trained
from gpt_demo.training.plan import Trainable


def training_memory(config: RunConfig) -> int:
    """Bytes a run takes at its highest, about: 4 for every weight; gradient, two moments and the best weights for what
    is trained; what a backward pass needs of every layer; the logits and their gradients. (Measured, in fp32.)"""
    shape, train = config.model, config.train
    length = train.window_length(shape.n_ctx)
    layer = (24 if train.trainable == "lora" else 18) * shape.n_embd  # numbers per token
    if shape.dropout:  # then attention on the CPU keeps its weights and masks
        layer += 3 * shape.n_embd + 4 * shape.n_head * length
    # A backward pass ends at the first layer that learns.
    layers = min(train.last_blocks, shape.n_layer) if train.trainable == "last_blocks" else shape.n_layer
    per_token = layers * layer + 12 * shape.n_embd + 3 * shape.n_vocab
    numbers = shape.n_params + n_adapters(shape, train) + 4 * n_trained(shape, train)
    return 4 * (numbers + train.batch_size * length * per_token)


def memory_by_part(config: RunConfig) -> dict[Trainable, int]:
    """What the run would take for each part of the model that may be trained, in bytes."""
    parts: tuple[Trainable, ...] = get_args(Trainable)
    return {part: training_memory(_training(config, part)) for part in parts}


def _training(config: RunConfig, part: Trainable) -> RunConfig:
    return replace(config, train=replace(config.train, trainable=part))


def fits(needed: float) -> bool:
    """Whether so many bytes can be taken now. (Only the processor's memory is known.)"""
    return pick_device().type != "cpu" or needed <= 0.9 * available_memory()


def check_memory(config: RunConfig, *, from_model: bool = False) -> None:
    """UserError where a run would not fit into the memory that is free now. `from_model`: it goes on from a stored one,
    so that a part of it may be trained instead; the parts that would fit are named."""
    needed = training_memory(config)
    if fits(needed):
        return
    sentence = f"This run needs about {size(needed)} of memory, but {size(available_memory())} are available. "
    if not from_model:
        raise UserError(sentence + "Lower n_embd, n_layer, n_ctx or batch_size, or use a tokenizer with fewer tokens.")
    others = {part: bytes for part, bytes in memory_by_part(config).items() if bytes < needed and fits(bytes)}
    ways = " or ".join(f"{part_in_words(config, part)} (about {size(bytes)})" for part, bytes in others.items())
    instead = f"Train {ways} instead" if ways else "Use a smaller model"
    raise UserError(sentence + f"{instead}, or lower batch_size or window.")


def fine_tuning(config: RunConfig) -> RunConfig:
    """`config`, of a stored model's shape, with settings that suit going on from it: few steps, small ones, on short
    windows, of as much of the model as fits the memory."""
    few = {
        "epochs": 0, "max_steps": 100, "decay_steps": 100, "warmup_steps": 10, "batches": "random", "batch_size": 2,
        "grad_accum_steps": 1, "window": 128 if config.model.n_ctx > 128 else 0, "eval_interval": 20,
        "sample_interval": 50,
    }  # fmt: skip
    config = config.changed(few)
    needs = memory_by_part(config)
    best_first: tuple[Trainable, ...] = ("all", "lora", "last_blocks")
    part = next((part for part in best_first if fits(needs[part])), min(best_first, key=lambda part: needs[part]))
    rate = 1e-3 if part == "lora" else 1e-4
    return config.changed({"trainable": part, "learning_rate": rate, "min_learning_rate": rate / 10})


def part_in_words(config: RunConfig, part: Trainable) -> str:
    """ "everything", "the last 2 blocks", "LoRA of rank 8"."""
    if part == "all":
        return "everything"
    if part == "lora":
        return f"LoRA of rank {config.train.lora_rank}"
    blocks = min(config.train.last_blocks, config.model.n_layer)
    return f"the last {blocks} blocks" if blocks > 1 else "the last block"
