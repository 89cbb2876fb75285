"""What a public server trains: models and steps up to a size, whichever part of a model is trained."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small import Home, small

from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.runs.runs import RunFolder, Runs
from gpt_demo.store.store import ModelStore, owner_key
from gpt_demo.training.lora import n_trained
from gpt_demo.ui.quotas import admitted, check_config
from gpt_demo.ui.services import Limits, Services
from gpt_demo.ui.visitors import network_of

LIMITS = Limits(params=6_000, steps=10, tokens_per_step=64, n_ctx=16, n_layer=3, n_vocab=300, sample_tokens=50)
VISITORS = ["a" * 43, "b" * 43, "c" * 43]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_embd": 16}, "This model has"),
        ({"n_embd": 16, "trainable": "last_blocks", "last_blocks": 1}, "This model has"),
        ({"trainable": "lora", "lora_rank": 80}, "trains up to 6,000 parameters. Lower lora_rank"),
        ({"batch_size": 9}, "reads 72 tokens; this public server allows up to 64. Lower batch_size or n_ctx"),
        ({"batch_size": 9, "n_ctx": 16, "window": 8}, "reads 72 tokens; .* Lower batch_size or window"),
        ({"max_steps": 11}, "trains up to 10 steps"),
        ({"n_ctx": 17}, "n_ctx is 17; this public server allows up to 16. Lower it"),
        ({"n_layer": 4}, "n_layer is 4; this public server allows up to 3"),
        ({"sample_tokens": 100_000}, "sample_tokens is 100,000; this public server allows up to 50"),
        ({"n_vocab": 301, "n_embd": 2}, "n_vocab is 301; this public server allows up to 300"),
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


def test_of_starts_at_the_same_moment_each_visitor_gets_one(tmp_path: Path) -> None:
    """The text is prepared between the look at the runs and the start; ten clicks at once got two runs."""
    services = Services(ModelStore(tmp_path, starter=None), Runs(tmp_path), LIMITS)
    with admitted(services, VISITORS[0], "1.2.3.4"):
        with pytest.raises(UserError, match="One of your runs is still running"), admitted(services, VISITORS[0], "9"):
            pass
        with admitted(services, VISITORS[1], "1.2.3.4"):
            pass
    with admitted(services, VISITORS[0], "1.2.3.4"):
        pass
    assert services.asking == []


def test_runs_are_counted_by_address_too(tmp_path: Path) -> None:
    """A token is for the asking: with a new one for every run, one visitor filled the queue."""
    limits = Limits(runs_of_address=2)
    services = Services(ModelStore(tmp_path, starter=None), Runs(tmp_path), limits)
    gate = threading.Event()

    def work(folder: RunFolder, stopping: Any) -> Iterator[Event]:
        gate.wait(30)
        yield from ()

    for token in VISITORS[:2]:
        name = token[0]
        services.runs.start(services.runs.create(name, owner_key(token), {}), work)
        services.addresses[name] = "1.2.3.4"
    with pytest.raises(UserError, match="2 runs from your network address"), admitted(services, VISITORS[2], "1.2.3.4"):
        pass
    with admitted(services, VISITORS[2], "5.6.7.8"):
        pass
    gate.set()
    for token in VISITORS[:2]:
        run = services.runs.live(token[0])
        if run is not None:
            run.join(30)
    with admitted(services, VISITORS[2], "1.2.3.4"):
        pass


def test_a_network_of_ipv6_is_one_address() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2::9") != network_of("2001:db8:1:3::4")
    assert [network_of(host) for host in ("1.2.3.4", "", "testclient")] == ["1.2.3.4", "", "testclient"]


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


def test_runs_that_waited_are_taken_up_after_a_restart(tmp_path: Path) -> None:
    home = Home(tmp_path)
    waiting, paused = home.run("waited"), home.run("paused")
    waiting.update(status="waiting")
    services = Services(home.store, Runs(tmp_path), None)
    services.take_up()
    run = services.runs.live("waited")
    if run is not None:
        run.join(30)
    assert (waiting.status, paused.status) == ("finished", "paused")
    assert [info.name for info in home.store.list()] == ["waited"]
