"""Limits for anonymous visitors of a public server. On a private machine there are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gpt_demo.errors import UserError
from gpt_demo.format import count, size
from gpt_demo.training.config import RunConfig
from gpt_demo.training.lora import n_trained
from gpt_demo.ui.services import Limits, Services, owner

ALIVE = ("waiting", "running")


def check_text(limits: Limits | None, text: str) -> None:
    """UserError where the text is too long."""
    if limits and len(text) > limits.characters:
        raise UserError(
            f"This text has {len(text):,} characters; this public server accepts up to {limits.characters:,}. "
            "Shorten it, or run the app on your own machine."
        )


def check_config(limits: Limits | None, config: RunConfig) -> None:
    """UserError where the model or the run is too large. The tokenizer sets the size of a model's vocabulary: what is
    trained is the configuration that `prepare` returns."""
    if limits is None:
        return
    for name, value, most in (
        ("n_ctx", config.model.n_ctx, limits.n_ctx),
        ("n_layer", config.model.n_layer, limits.n_layer),
        ("n_vocab", config.model.n_vocab, limits.n_vocab),
        ("sample_tokens", config.train.sample_tokens, limits.sample_tokens),
    ):
        if value > most:
            raise UserError(
                f"{name} is {value:,}; this public server allows up to {most:,}. Lower it, or run the app on your own "
                "machine."
            )
    if config.model.n_params > limits.params:
        raise UserError(
            f"This model has {count(config.model.n_params)} parameters; this public server trains up to "
            f"{count(limits.params)}. Lower n_embd, n_layer or n_vocab, or run the app on your own machine."
        )
    if n_trained(config.model, config.train) > limits.params:  # LoRA's adapters may be larger than the model
        raise UserError(f"This public server trains up to {count(limits.params)} parameters. Lower lora_rank.")
    if not 0 < config.train.max_steps <= limits.steps:
        raise UserError(f"This public server trains up to {limits.steps:,} steps. Set max_steps to that or less.")
    length = config.train.window_length(config.model.n_ctx)
    batch = config.train.batch_size * config.train.grad_accum_steps * length
    if batch > limits.tokens_per_step:
        raise UserError(
            f"A step of this run reads {batch:,} tokens; this public server allows up to {limits.tokens_per_step:,}. "
            f"Lower batch_size or {'window' if config.train.window else 'n_ctx'}."
        )


def check_prompt(limits: Limits | None, text: str) -> None:
    """UserError where a prompt is too long."""
    if limits and len(text) > limits.prompt:
        raise UserError(
            f"This prompt has {len(text):,} characters; this public server reads up to {limits.prompt:,}. Shorten it."
        )


def check_context(limits: Limits | None, tokens: int) -> None:
    """UserError where a model would read too much at once: that of an import may have any context length."""
    if limits and tokens > limits.n_ctx:
        raise UserError(
            f"This model would read {tokens:,} tokens at once; this public server allows up to {limits.n_ctx:,}. "
            "Shorten the text."
        )


def check_length(limits: Limits | None, tokens: int) -> None:
    """UserError where too much is to be written at once."""
    if limits and tokens > limits.new_tokens:
        raise UserError(
            f"This public server generates up to {limits.new_tokens:,} tokens at once, not {tokens:,}. Lower it."
        )


@contextmanager
def admitted(services: Services, token: str, address: str, *, resuming: bool = False) -> Iterator[None]:
    """Inside, a run may be started for this visitor: nobody else gets that place meanwhile.

    Raises UserError where the visitor has a run going on, or too many kept (for a new one), or too many have been
    started from this address, or the queue is full.
    """
    if services.limits is None:
        yield
        return
    place = owner(token), address
    with services.asking_lock:
        _check_runs(services, services.limits, token, address, resuming)
        services.asking.append(place)
    try:
        yield
    finally:
        with services.asking_lock:
            services.asking.remove(place)


def _check_runs(services: Services, limits: Limits, token: str, address: str, resuming: bool) -> None:
    folders, asking = services.runs_of(token), services.asking
    if any(folder.status in ALIVE for folder in folders) or any(who == owner(token) for who, _ in asking):
        raise UserError("One of your runs is still running. Stop it, or wait until it has finished.")
    if len(folders) >= limits.runs and not resuming:
        raise UserError(f"This public server keeps {limits.runs} runs per visitor. Delete one in the Train tab first.")
    going_on = sum(
        services.runs.live(name) is not None for name, at in list(services.addresses.items()) if at == address
    )
    if going_on + sum(at == address for _, at in asking) >= limits.runs_of_address:
        raise UserError(
            f"{limits.runs_of_address} runs from your network address are running or queued. Wait until one has ended."
        )
    if services.runs.waiting() + len(asking) >= limits.waiting:
        raise UserError("Too many runs are queued. Try again in a few minutes; nothing is lost.")


def check_import(services: Services, token: str, unpacked: int) -> None:
    """UserError where a model of so many bytes is too large, or the visitor has imported enough."""
    limits = services.limits
    if limits is None:
        return
    if unpacked > limits.import_bytes:
        raise UserError(
            f"This model takes {size(unpacked)}; this public server imports up to {size(limits.import_bytes)}. "
            "Run the app on your own machine."
        )
    own = [info for info in services.store.list(owner(token)) if info.owner == owner(token) is not None]
    if sum(info.about.get("source") == "import" for info in own) >= limits.imports:
        raise UserError(f"This public server keeps {limits.imports} imported models per visitor. Delete one first.")
