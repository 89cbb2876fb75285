"""Real runs, small ones: created, trained, stopped, killed, resumed, kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import TEXT, Home, small, steps
from transformers import AutoTokenizer, GPT2LMHeadModel

import gpt_demo.runs.keeping
from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Event, Finished, Sampled, Saved, Started, Stepped
from gpt_demo.runs.folder import RunFolder
from gpt_demo.runs.keeping import export_model, offered_model, store_model
from gpt_demo.runs.preparing import first_words, prepare
from gpt_demo.runs.recipes import (
    create_run,
    extend_run,
    resume_run,
    train_job,
)
from gpt_demo.store.folder import load_model
from gpt_demo.store.store import ModelStore, owner_key
from gpt_demo.text.tokenizer import Tokenizer, make
from gpt_demo.training import checkpoint, watch
from gpt_demo.training.checkpoint import latest
from gpt_demo.training.config import PRESETS, preset
from gpt_demo.training.loop import TrainingDiverged


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float]]:
    """(step, loss) of the small run from start to end."""
    home = Home(tmp_path_factory.mktemp("uninterrupted"))
    return steps(home.train(home.run()))


def train_until(home: Home, folder: RunFolder, stop: Callable[[Event], bool]) -> list[Event]:
    """Train until an event, then close the job as a stop does."""
    events = []
    job = home.job(folder)
    for event in job:
        events.append(event)
        if stop(event):
            break
    job.close()
    return events


def after(step: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Stepped) and event.step == step


def names(home: Home) -> set[str]:
    return {info.name for info in home.store.list()}


# A run from start to end ----------------------------------------------------------------------------------------------


def test_a_run_from_start_to_end(home: Home) -> None:
    config = small(eval_batches=0, sample_prompt="Nell ")
    events = home.train(create_run(home.runs, home.store, TEXT, config, name="one"))
    assert [type(event) for event in events] == [
        Started,
        *(Evaluated, Sampled, Stepped, Stepped) * 2,
        *(Evaluated, Sampled, Stepped, Evaluated, Sampled, Stepped),  # the end is looked at, too
        *(Saved, Finished),
    ]
    assert list(home.runs.get("one").events()) == events
    start, finished = events[0], events[-1]
    assert isinstance(start, Started)
    assert (start.run, start.step, start.total_steps, start.n_vocab, start.precision) == ("one", 0, 6, 257, "fp32")
    assert start.total_tokens == 6 * 2 * 8
    assert start.config == config.changed({"n_vocab": 257}).to_dict()
    assert isinstance(finished, Finished)
    assert (finished.steps, finished.reason, finished.best_step) == (6, "done", 5)
    model, tokenizer = home.store.load("one")
    assert (model.config.n_layer, tokenizer.kind) == (1, "bytes")


@pytest.mark.parametrize("has_bf16", [False, True])
def test_with_auto_precision_too_the_seed_decides(home: Home, monkeypatch: pytest.MonkeyPatch, has_bf16: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    twice = [home.train(home.run(n_embd=128, max_steps=3, precision="auto")) for _ in range(2)]
    assert steps(twice[0]) == steps(twice[1])
    assert [event.precision for told in twice for event in told if isinstance(event, Started)] == (
        ["bf16" if has_bf16 else "fp32"] * 2
    )


def test_every_step_is_told_and_the_seed_decides(home: Home, uninterrupted: list[tuple[int, float]]) -> None:
    assert [step for step, _ in uninterrupted] == list(range(6))
    assert steps(home.train(home.run("again"))) == uninterrupted
    assert steps(home.train(home.run("other", seed=4))) != uninterrupted


@pytest.mark.parametrize("name", PRESETS)
def test_max_steps_ends_any_preset_early(home: Home, name: str) -> None:
    tiny = {"tokenizer": "bytes", "n_ctx": 8, "n_embd": 8, "n_head": 1, "n_layer": 1, "sample_tokens": 2}
    rates = []
    for most in (3, 5):
        config = preset(name, {**tiny, "max_steps": most, "precision": "fp32"})
        events = home.train(create_run(home.runs, home.store, TEXT, config, preset_name=name, name=f"{name}-{most}"))
        assert isinstance(events[-1], Finished)
        assert events[-1].steps == most
        rates.append([event.learning_rate for event in events if isinstance(event, Stepped)])
    assert rates[0] == rates[1][:3]


def test_save_seconds_0_saves_after_every_step(home: Home) -> None:
    folder = home.run(save_seconds=0)
    paths = []
    for event in home.job(folder):
        if isinstance(event, Saved):
            paths.append(Path(event.path).name)
            assert Path(event.path).is_dir()
            assert paths[-1] == folder.name or [p.name for p in folder.path.glob("checkpoint-*")] == paths[-1:]
    assert paths == [*(f"checkpoint-{i}" for i in range(1, 7)), folder.name]


def test_a_run_through_a_thread(home: Home, uninterrupted: list[tuple[int, float]]) -> None:
    folder = home.run()
    run = home.runs.start(folder, home.job)
    for batch in run.follow():
        if steps(batch):
            run.stop("paused")
    assert folder.status == "paused"
    done = steps(run.events)
    resume_run(folder)
    run = home.runs.start(folder, home.job)
    run.join(30)
    assert folder.status == "finished"
    assert done + steps(run.events) == uninterrupted


# Stopped and killed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"batches": "windows", "epochs": 1, "eval_batches": 2}])
@pytest.mark.parametrize("stopped_after", [0, 2, 4])
def test_a_stopped_run_goes_on_bit_for_bit(home: Home, changes: dict[str, Any], stopped_after: int) -> None:
    whole = home.train(home.run("whole", **changes))
    folder = home.run("parts", **changes)
    first = train_until(home, folder, after(stopped_after))
    torch.manual_seed(99)  # another process would have another random state
    second = home.train(folder)
    assert isinstance(second[0], Started)
    assert second[0].step == stopped_after + 1
    assert steps(first + second) == steps(whole)
    assert steps(folder.events()) == steps(whole)
    for kind in (Evaluated, Sampled):
        told = [[e for e in events if isinstance(e, kind)] for events in (whole, first + second, folder.events())]
        assert told[0] == told[1] == told[2]
    weights = [load_file(home.store.folder(name) / "model.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_killed_run_goes_on_from_its_last_checkpoint(home: Home, uninterrupted: list[tuple[int, float]]) -> None:
    """What the disk holds when the process dies: a checkpoint of step 2, events up to step 4 and half a line."""
    folder = home.run()
    train_until(home, folder, after(1))
    saved = shutil.copytree(folder.path, home.path / "saved")
    train_until(home, folder, after(4))
    for path in folder.path.glob("checkpoint-*"):
        shutil.rmtree(path)
    shutil.copytree(saved / "checkpoint-2", folder.path / "checkpoint-2")
    (folder.path / ".checkpoint.new").mkdir()
    with (folder.path / "events.jsonl").open("a") as file:
        file.write('{"event": "stepped", "step": 5, "los')
    resume_run(folder)
    home.train(folder)
    assert steps(folder.events()) == uninterrupted
    assert (folder.path / "events.jsonl").read_text().endswith("}\n")


def test_closed_inside_a_step_keeps_the_last_whole_state(home: Home, uninterrupted: list[tuple[int, float]]) -> None:
    folder = home.run(save_seconds=0)
    train_until(home, folder, lambda e: isinstance(e, Evaluated) and e.step == 4)
    assert [p.name for p in folder.path.glob("checkpoint-*")] == ["checkpoint-4"]
    home.train(folder)
    assert steps(folder.events()) == uninterrupted


@pytest.mark.parametrize(("save_seconds", "saved"), [(0, ["checkpoint-3"]), (1000, [])])
def test_an_error_inside_a_step_keeps_the_last_whole_state(
    home: Home,
    uninterrupted: list[tuple[int, float]],
    monkeypatch: pytest.MonkeyPatch,
    save_seconds: float,
    saved: list[str],
) -> None:
    folder = home.run(save_seconds=save_seconds)
    take_step, calls = torch.optim.AdamW.step, iter(range(9))

    def half_a_step(self: torch.optim.AdamW, *args: Any) -> None:
        if next(calls) == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1)
            raise MemoryError
        take_step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", half_a_step)
        with pytest.raises(MemoryError):
            home.train(folder)
    assert [p.name for p in folder.path.glob("checkpoint-*")] == saved
    home.train(folder)
    assert steps(folder.events()) == uninterrupted


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("what", ["measure", "sample"])
def test_an_error_behind_an_update_does_not_save_half_a_step(
    home: Home, uninterrupted: list[tuple[int, float]], monkeypatch: pytest.MonkeyPatch, step: int, what: str
) -> None:
    """The update is done, but its evaluation or sample is not: a state saved there would never tell them."""
    folder = home.run()
    work, calls = getattr(watch, what), iter(range(9))

    def breaks(*args: Any) -> Any:
        if next(calls) == step // 2:
            raise MemoryError
        return work(*args)

    with monkeypatch.context() as patch:
        patch.setattr(watch, what, breaks)
        with pytest.raises(MemoryError):
            home.train(folder)
    assert latest(folder.path) is None
    home.train(folder)
    assert steps(folder.events()) == uninterrupted
    assert [e.step for e in folder.events() if isinstance(e, Evaluated)] == [0, 2, 4, 5]


def test_a_run_that_diverges_says_so_and_keeps_its_state(home: Home) -> None:
    folder = home.run(learning_rate=1e38, warmup_steps=0, grad_clip=0.0)
    run = home.runs.start(folder, home.job)
    with pytest.raises(TrainingDiverged):
        list(run.follow())
    assert folder.status == "failed"
    assert "learning_rate" in folder.message
    done = len(steps(run.events))
    assert latest(folder.path) == folder.path / f"checkpoint-{done}"
    assert store_model(folder, home.store).exists()


def test_a_finished_run_can_be_made_longer(home: Home) -> None:
    """And is then the same as one that was as long from the start."""
    longer = home.train(home.run("whole", max_steps=9))
    folder = home.run("parts")
    home.train(folder)
    resume_run(folder, {"max_steps": 9})
    home.train(folder)
    assert steps(folder.events()) == steps(longer)
    assert [event.kind for event in folder.events()].count("finished") == 1


def test_a_finished_run_takes_more_steps(home: Home) -> None:
    """However it ended, and at the rate it ended with."""
    folder = home.run(patience=1, eval_interval=1, learning_rate=1e-9, min_learning_rate=1e-10, decay_steps=6)
    home.train(folder)
    assert folder.history().finished.reason == "patience"  # type: ignore[union-attr]
    done = folder.history().steps_done
    assert done < 6
    with pytest.raises(UserError, match=r"no longer fell\. To continue, set patience to 0"):
        resume_run(folder)
    extend_run(folder, 7)
    events = [event for event in home.train(folder) if isinstance(event, Stepped)]
    assert [event.step for event in events] == list(range(done, done + 7))
    assert [event.learning_rate for event in events[6 - done :]] == [pytest.approx(1e-10)] * (7 + done - 6)
    for wrong in (0, -1, 2.5):
        with pytest.raises(UserError, match="max_steps"):
            extend_run(folder, wrong)  # type: ignore[arg-type]


def test_the_best_model_is_offered_first(home: Home, tmp_path: Path) -> None:
    """A learning rate that grows until nothing is left of what was learned."""
    folder = home.run("one", learning_rate=10.0, min_learning_rate=None, warmup_steps=6, eval_batches=0)
    assert offered_model(folder, home.store) is None
    home.train(folder)
    assert (folder.path / latest(folder.path).name / "best-0.safetensors").exists()  # type: ignore[union-attr]
    assert offered_model(folder, home.store) == "one-best"
    export_model(folder, tmp_path / "best", best=True)
    export_model(folder, tmp_path / "last")
    best, last = (load_file(tmp_path / name / "model.safetensors") for name in ("best", "last"))
    assert torch.equal(best["wte.weight"], load_file(home.store.folder("one-best") / "model.safetensors")["wte.weight"])
    assert not torch.equal(best["wte.weight"], last["wte.weight"])


def test_a_run_on_a_thread_is_measured_where_it_stops(home: Home) -> None:
    folder = home.run(max_steps=100_000, eval_interval=1_000_000)
    run = home.runs.start(folder, home.job)
    for batch in run.follow():
        if any(isinstance(event, Stepped) for event in batch):
            break
    run.stop()
    run.join(30)
    history = folder.history()
    assert folder.status == "stopped"
    assert history.evaluations["step"] == [0, history.steps_done - 1] or history.steps_done == 1


def test_a_run_killed_before_its_model_was_kept(home: Home) -> None:
    """All steps are done and saved, but the process died before the model came into the store."""
    folder = home.run("one", save_seconds=0)
    train_until(home, folder, after(5))
    assert names(home) == set()
    resume_run(folder)
    events = home.train(folder)
    assert [event.kind for event in events] == ["started", "saved", "finished"]
    assert "one" in names(home)


# What can't be resumed ------------------------------------------------------------------------------------------------


def test_a_run_that_is_done(home: Home) -> None:
    folder = home.run("one")
    run = home.runs.start(folder, home.job)
    run.join(30)
    for changes in ({}, {"max_steps": 6}, {"max_steps": 3}):
        with pytest.raises(UserError, match=r"has completed all 6 steps\. To continue, raise max_steps above 6"):
            resume_run(folder, changes)


def test_settings_that_stay(home: Home) -> None:
    folder = home.run("one")
    with pytest.raises(UserError, match=r"keeps its learning_rate, n_layer\. These may change: .*max_steps"):
        resume_run(folder, {"n_layer": 2, "learning_rate": 1.0, "max_steps": 9})
    with pytest.raises(UserError, match="keeps its wings"):
        resume_run(folder, {"wings": 2})
    resume_run(folder, {"sample_prompt": "Once", "eval_interval": 1, "save_seconds": 5})
    assert folder.info["config"]["train"]["sample_prompt"] == "Once"


def test_a_run_that_is_going_on_is_left_alone(home: Home) -> None:
    folder = home.run("one")
    with folder.working(), pytest.raises(UserError, match="already running"):
        resume_run(folder, {"max_steps": 99})
    assert folder.info["config"]["train"]["max_steps"] == 6


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: (path / "text.txt").unlink(), "text of the run one can't be read"),
        (lambda path: (path / "text.txt").write_bytes(b"\xff\xfe"), "text of the run one can't be read"),
        (lambda path: (path / "tokenizer.json").unlink(), "can't be read"),
        (lambda path: (path / "run.json").write_text("{}"), "settings of this run can't be read"),
        (lambda path: (path / "run.json").write_text("{"), "can't be read"),
        (lambda path: (path / "checkpoint-2" / "state.json").write_text("{"), "checkpoint .* can't be read"),
        (lambda path: (path / "checkpoint-2" / "optimizer.safetensors").unlink(), "checkpoint .* can't be read"),
        (lambda path: (path / "checkpoint-2" / "model.safetensors").write_bytes(b"x"), "checkpoint .* can't be read"),
    ],
)
def test_damaged_runs(home: Home, damage: Callable[[Path], object], sentence: str) -> None:
    folder = home.run("one")
    train_until(home, folder, after(1))
    damage(folder.path)
    with pytest.raises(UserError, match=sentence):
        resume_run(folder) or home.train(folder)


# Creating -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "  \n\t ", "\ufeff"])
def test_no_text(home: Home, text: str) -> None:
    with pytest.raises(UserError, match="text"):
        create_run(home.runs, home.store, text, small())
    with pytest.raises(UserError, match="text"):
        prepare(text.removeprefix("\ufeff"), small())


def test_too_little_text(home: Home) -> None:
    with pytest.raises(UserError, match="has 5 tokens, but n_ctx 8 needs at least 9"):
        create_run(home.runs, home.store, "Six ch", small())
    assert home.runs.list() == []


def test_the_text_is_kept_as_it_was_read(home: Home) -> None:
    text = "\ufeffone\r\ntwo\rthree \ud800 " + TEXT
    folder = create_run(home.runs, home.store, text, small())
    kept = (folder.path / "text.txt").read_bytes().decode()
    assert kept == "one\ntwo\nthree \ufffd " + TEXT
    assert isinstance(home.train(folder)[-1], Finished)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("Title\n\nOnce upon a time there was a town of many, many houses.", "Once upon a"),
        ("short", "short"),
        ("<|endoftext|>", ""),
        ("x" * 500, "x" * 80),
    ],
)
def test_first_words(text: str, prompt: str) -> None:
    assert first_words(text) == prompt


def test_a_prompt_that_was_given_is_kept(home: Home) -> None:
    assert home.run(sample_prompt="Nell").info["config"]["train"]["sample_prompt"] == "Nell"


def test_names_are_chosen_so_that_nothing_is_overwritten(home: Home) -> None:
    """The runs may be gone, and their models still there."""
    home.train(home.run())
    home.runs.delete("quick-1")
    home.train(home.run("quick-2"))
    home.store.folder("quick-2").rename(home.store.folder("quick-3-best"))
    assert home.run().name == "quick-4"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("one", "already a model named one"),
        ("two", "already a model named two-best"),
        ("three", "already a run named three"),
        ("starter", "starter is reserved for a model of the app"),
        ("four-best", "ending in -best"),
        ("x" * 60, "up to 59 letters"),
        ("../x", "is not a valid name"),
    ],
)
def test_names_that_can_not_be_had(home: Home, name: str, sentence: str) -> None:
    home.run("three")
    home.store.folder("one").mkdir(parents=True)
    home.store.folder("two-best").mkdir()
    with pytest.raises(UserError, match=sentence):
        home.run(name)
    assert [run.name for run in home.runs.list()] == ["three"]


def test_the_longest_name(home: Home) -> None:
    name = "x" * 59
    train_until(home, home.run(name), after(4))
    store_model(home.runs.get(name), home.store)
    assert name in names(home)


# From a stored model --------------------------------------------------------------------------------------------------


def test_going_on_from_a_stored_model(home: Home) -> None:
    home.train(home.run("parent", n_layer=2, qkv_bias=False))
    config = replace(small(n_layer=1, dropout=0.0), data=preset("book").data)  # its own shape and tokenizer don't count
    folder = create_run(home.runs, home.store, TEXT, config, name="child", base="parent")
    events = home.train(folder)
    assert isinstance(events[0], Started)
    settings = events[0].config
    assert (settings["model"]["n_layer"], settings["model"]["qkv_bias"]) == (2, False)
    assert (settings["model"]["dropout"], settings["data"]["tokenizer"]) == (0.0, "bytes")
    assert home.store.get("child").about["base"] == "parent"
    assert str(home.path) not in (home.store.folder("child") / "config.json").read_text()


def test_the_first_step_starts_from_the_parents_weights(home: Home) -> None:
    home.train(home.run("parent"))
    folder = home.run("child", base="parent", learning_rate=1e-12, weight_decay=0.0, min_learning_rate=0.0)
    home.train(folder)
    parent, child = (home.store.load(name)[0].state_dict() for name in ("parent", "child"))
    for name in parent:
        torch.testing.assert_close(child[name], parent[name], rtol=0, atol=1e-6)


PARTS = [{"trainable": "all"}, {"trainable": "last_blocks", "last_blocks": 1}, {"trainable": "lora", "lora_rank": 2}]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part["trainable"])
def test_a_part_of_a_stored_model_is_trained_and_kept_as_an_ordinary_model(home: Home, part: dict[str, Any]) -> None:
    home.train(home.run("parent", n_layer=2))
    changes = {**part, "window": 4, "learning_rate": 0.01}
    whole = home.train(home.run("whole", base="parent", **changes))
    folder = home.run("parts", base="parent", **changes)
    home.store.delete("parent")
    first = train_until(home, folder, after(2))
    torch.manual_seed(99)
    assert steps(first + home.train(folder)) == steps(whole)
    one, other = (load_file(home.store.folder(name) / "model.safetensors") for name in ("whole", "parts"))
    assert one.keys() == home.store.load("whole")[0].state_dict().keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    export_model(folder, home.path / "theirs", for_transformers=True)
    theirs, ours = GPT2LMHeadModel.from_pretrained(home.path / "theirs"), home.store.load("parts")[0]
    ids = torch.randint(257, (1, 8))
    torch.testing.assert_close(theirs(ids).logits, ours(ids)[0], atol=1e-5, rtol=1e-5)


def test_a_part_of_a_new_model_may_be_trained_too(home: Home) -> None:
    folder = home.run(trainable="lora", lora_rank=1)
    train_until(home, folder, after(1))
    home.train(folder)
    assert len(steps(folder.events())) == 6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"window": 9}, r"window is 9; it must be at most n_ctx, 8 for this model"),
        ({"trainable": "lora", "lora_rank": 9}, r"lora_rank is 9; it must be at most n_embd, 8 for this model"),
    ],
)
def test_settings_that_do_not_fit_the_model(home: Home, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        home.run(**changes)


def test_a_window_may_be_longer_than_the_presets_context(home: Home) -> None:
    """What counts is the context of the model that the run goes on from."""
    home.train(home.run("parent", n_ctx=16))
    folder = home.run("child", base="parent", window=12)
    assert (folder.info["config"]["train"]["window"], folder.info["config"]["model"]["n_ctx"]) == (12, 16)
    with pytest.raises(UserError, match="has 8 tokens, but window 9 needs at least 10"):
        create_run(home.runs, home.store, "ten tokens", small(window=9, n_ctx=16, val_fraction=0.2))


def test_parents_that_can_not_be_had(home: Home) -> None:
    with pytest.raises(UserError, match="no model named 'parent'"):
        home.run("child", base="parent")
    folder = home.run("parent", owner="anna")
    home.train(folder)
    with pytest.raises(UserError, match="no model named 'parent'"):
        home.run("child", owner="ben", base="parent")


def test_the_parent_may_be_deleted_as_soon_as_the_run_is_there(home: Home) -> None:
    home.train(home.run("parent"))
    kept = home.train(home.run("child", base="parent"))
    orphan = home.run("orphan", base="parent")
    home.store.delete("parent")
    assert steps(home.train(orphan)) == steps(kept)


@pytest.mark.parametrize("fault", ["no links", "full disk"])
def test_a_disk_without_links_and_a_full_one(home: Home, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    home.train(home.run("parent"))

    def refuse(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", refuse)
    if fault == "no links":
        home.train(home.run("child", base="parent"))
        return
    monkeypatch.setattr("shutil.copyfile", refuse)
    with pytest.raises(OSError, match="No space left"):
        home.run("child", base="parent")
    assert [run.name for run in home.runs.list()] == ["parent"], "nothing is left of it"


def test_a_parent_with_more_tokens_than_its_tokenizer(home: Home, tiny: Any) -> None:
    model = tiny(n_vocab=300)
    home.store.save("padded", model.config, model.state_dict(), make("bytes"), {})
    with pytest.raises(UserError, match="more tokens than its tokenizer"):
        home.run("child", base="padded")


# Keeping --------------------------------------------------------------------------------------------------------------


def make_best(folder: RunFolder, step: int) -> None:
    """Let the last checkpoint say that the validation loss was lowest after this step."""
    checkpoint = latest(folder.path)
    assert checkpoint is not None
    numbers = json.loads((checkpoint / "state.json").read_text())
    next(checkpoint.glob("best-*.safetensors")).rename(checkpoint / f"best-{step}.safetensors")
    (checkpoint / "state.json").write_text(json.dumps({**numbers, "best_step": step, "best_val_loss": 1.25}))


def test_the_best_model_is_kept_too_if_it_is_another(home: Home) -> None:
    folder = home.run("one", owner=owner_key("secret"))
    train_until(home, folder, after(4))
    make_best(folder, 4)
    store_model(folder, home.store)
    assert {info.name for info in home.store.list(owner_key("secret"))} == {"one"}
    make_best(folder, 2)
    store_model(folder, home.store)
    infos = {info.name: info for info in home.store.list(owner_key("secret"))}
    assert set(infos) == {"one", "one-best"}
    assert infos["one"].about["step"] == 4
    assert (infos["one-best"].about["step"], infos["one-best"].about["val_loss"]) == (2, 1.25)
    train_until(home, folder, after(5))
    make_best(folder, 5)  # the run went on to a new best, which is its end
    store_model(folder, home.store)
    assert {info.name for info in home.store.list(owner_key("secret"))} == {"one"}


def test_what_is_told_about_a_model(home: Home) -> None:
    folder = home.run("one", owner=owner_key("secret"), val_fraction=0.0)
    home.train(folder)
    about = dict(home.store.get("one", owner_key("secret")).about)
    assert about.pop("created") > 1e9
    train_loss = about.pop("train_loss")
    assert train_loss == pytest.approx(5.5, abs=1)
    assert about == {
        "run": "one", "owner": owner_key("secret"), "source": "small.txt", "preset": "quick", "base": None,
        "step": 5, "val_loss": None,
    }  # fmt: skip
    written = [path.read_text() for path in home.path.rglob("*") if path.suffix in (".json", ".jsonl")]
    assert len(written) >= 5
    assert '"secret"' not in "".join(written)
    assert "NaN" not in (home.store.folder("one") / "config.json").read_text()


def test_nothing_to_keep(home: Home) -> None:
    folder = home.run("one")
    with pytest.raises(UserError, match="has not saved anything yet"):
        store_model(folder, home.store)
    with pytest.raises(UserError, match="has not saved anything yet"):
        export_model(folder, home.path / "out", for_transformers=False)


def test_keeping_while_the_run_saves(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run replaces its checkpoint by a newer one between the look and the read."""
    folder = home.run("one")
    train_until(home, folder, after(2))
    read = checkpoint.plain_weights

    def vanish(folder: Path, *file: str) -> dict[str, torch.Tensor]:
        if folder.name == "checkpoint-3":
            folder.rename(folder.with_name("checkpoint-4"))
        return read(folder, *file)

    monkeypatch.setattr(gpt_demo.runs.keeping, "plain_weights", vanish)
    assert store_model(folder, home.store) == home.store.folder("one")
    monkeypatch.setattr(gpt_demo.runs.keeping, "plain_weights", lambda folder: read(folder / "gone"))
    with pytest.raises(UserError, match="Stop the run and try again"):
        store_model(folder, home.store)


def test_export(home: Home) -> None:
    folder = home.run("one", tokenizer="bpe", n_vocab=300)
    home.train(folder)
    model, tokenizer = home.store.load("one")
    export_model(folder, home.path / "plain" / "one", for_transformers=False)
    again, again_tokenizer = load_model(home.path / "plain" / "one")
    assert torch.equal(again.wte.weight, model.wte.weight)
    assert again_tokenizer.encode(TEXT) == tokenizer.encode(TEXT)
    export_model(folder, home.path / "theirs", for_transformers=True)
    theirs = GPT2LMHeadModel.from_pretrained(home.path / "theirs")
    assert torch.equal(theirs.transformer.wte.weight, model.wte.weight)
    assert AutoTokenizer.from_pretrained(home.path / "theirs").encode(TEXT) == tokenizer.encode(TEXT)


def test_the_tokenizer_of_a_run_is_stored_with_it(home: Home) -> None:
    folder = home.run("one", tokenizer="bpe", n_vocab=280)
    stored = Tokenizer.load(folder.path / "tokenizer.json")
    assert stored.n_vocab == folder.info["config"]["model"]["n_vocab"] == 280
    home.train(folder)
    assert ModelStore(home.path, starter=None).load("one")[1].encode(TEXT) == stored.encode(TEXT)
    assert list(train_job(folder, home.store))[-1].kind == "finished"
