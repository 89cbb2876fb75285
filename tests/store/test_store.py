"""Models on disk: whole or not there, seen by their owners only, and never a pickle."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file
from small import HOSTILE

import gpt_demo.store.folder
import gpt_demo.store.loaded
import gpt_demo.store.store
from gpt_demo.errors import UserError
from gpt_demo.exchange.weights_file import write_weights
from gpt_demo.model.gpt import GPT, GPT2_SIZES
from gpt_demo.model.quantization import lower_precision
from gpt_demo.store.folder import (
    check_name,
    load_model,
    load_weights,
    read_description,
    remove_folder,
    save_model,
    write_folder,
)
from gpt_demo.store.loaded import memory_needed
from gpt_demo.store.store import ModelStore, owner_key
from gpt_demo.text.tokenizer import byte_level


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path, starter=None)


@pytest.fixture
def model(tiny: Tiny) -> GPT:
    return tiny()


def save(store: ModelStore, name: str, model: GPT, **about: Any) -> Path:
    return store.save(name, model.config, model.state_dict(), byte_level(), about)


def names(store: ModelStore, owner: str | None = None) -> list[str]:
    return [info.name for info in store.list(owner)]


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "gpt2-124M", "0", "con1", "nuller", "a" * 64])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str, store: ModelStore, model: GPT) -> None:
    for use in (check_name, store.folder, store.get, store.load, store.delete, lambda n: save(store, n, model)):
        with pytest.raises(UserError) as error:
            use(name)
        assert len(str(error.value)) < 400
    assert not list(store.home.iterdir())


# Writing and reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [{}, {"tied_head": False, "qkv_bias": False}])
def test_a_model_comes_back_bit_for_bit(store: ModelStore, tiny: Tiny, shape: dict[str, bool]) -> None:
    model = tiny(**shape)
    folder = save(store, "one", model, source="x", note="Grüße")
    assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    state = torch.get_rng_state()
    again, tokenizer = store.load("one")
    assert torch.equal(torch.get_rng_state(), state)
    assert again.config == model.config
    assert not again.training
    assert tokenizer.kind == "bytes"
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert all(p.requires_grad for p in again.parameters())
    ids = torch.arange(8)[None]
    assert torch.equal(again(ids)[0], model.eval()(ids)[0])
    assert store.get("one").about == {"source": "x", "note": "Grüße"}


def test_numbers_json_does_not_have(store: ModelStore, model: GPT) -> None:
    folder = save(store, "one", model, val_loss=float("nan"))
    assert "NaN" not in (folder / "config.json").read_text()
    assert store.get("one").about["val_loss"] is None


def test_list_is_newest_first_and_skips_what_is_no_model(store: ModelStore, model: GPT) -> None:
    for age, name in enumerate(("old", "middle", "new")):
        config = save(store, name, model) / "config.json"
        os.utime(config, (1_000_000 + age, 1_000_000 + age))
    models = store.home / "models"
    (models / "empty").mkdir()
    (models / "file.txt").write_text("x")
    for name, config in (("broken", "{"), ("other", "[]"), ("odd", '{"n_layer": "x"}'), ("odder", '{"about": 3}')):
        remove_folder(save(store, name, model)) if name == "other" else save(store, name, model)
        (models / name).mkdir(exist_ok=True)
        (models / name / "config.json").write_text(config)
    (save(store, "half", model) / "model.safetensors").unlink()
    save(store, "hidden", model).rename(models / ".hidden.new")
    assert names(store) == ["new", "middle", "old"]
    assert store.get("new").bytes == sum(path.stat().st_size for path in (models / "new").iterdir())
    for name in ("empty", "broken", "other", "odd", "odder", "half", "file.txt"):
        with pytest.raises(UserError, match="Available: new, middle, old"):
            store.get(name)


def test_nothing_there_yet(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "not" / "there", starter=None)
    assert store.list() == []
    with pytest.raises(UserError, match="none yet"):
        store.load("x")


@pytest.mark.parametrize("moment", ["weights", "swap"])
def test_a_crash_while_saving_leaves_the_old_model(
    moment: str, store: ModelStore, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies while the weights are written, or between the two renames."""
    old, new = tiny(seed=1), tiny(seed=2)
    save(store, "one", old)

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "weights":
            patch.setattr(gpt_demo.store.folder, "save_file", die)
        else:
            patch.setattr(gpt_demo.store.folder, "restore_folder", lambda target: None)
            rename = Path.rename
            patch.setattr(Path, "rename", lambda p, to: die() if p.name.endswith(".new") else rename(p, to))
        with pytest.raises(Killed):
            save(store, "one", new)
    again = ModelStore(store.home, starter=None)
    assert names(again) == ["one"]
    assert torch.equal(again.load("one")[0].wte.weight, old.wte.weight)
    save(again, "one", new)
    assert torch.equal(again.load("one")[0].wte.weight, new.wte.weight)
    assert [path.name for path in (store.home / "models").iterdir()] == ["one"]


def test_a_failed_swap_is_undone_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x"
    write_folder(target, {"a": b"old"})
    rename = Path.rename

    def refuse(path: Path, to: Path) -> Path:
        if path.name.endswith(".new"):
            raise PermissionError("somebody holds it open")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match="somebody holds it open"):
        write_folder(target, {"a": b"new"})
    assert (target / "a").read_bytes() == b"old"


def test_threads_that_save_the_same_name(store: ModelStore, tiny: Tiny) -> None:
    models = [tiny(seed=seed) for seed in range(4)]
    threads = [threading.Thread(target=save, args=(store, "one", model)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    weight = store.load("one")[0].wte.weight
    assert any(torch.equal(weight, model.wte.weight) for model in models)


# What is wrong with a file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda w: w.pop("wpe.weight"), "wpe.weight is missing"),
        (lambda w: w.update(lm_head=torch.ones(2)), "lm_head does not belong"),
        (lambda w: w.update({"ln_f.bias": torch.ones(5)}), r"ln_f.bias is \(5,\), not \(32,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(store: ModelStore, model: GPT, fault: Any, sentence: str) -> None:
    path = save(store, "one", model) / "model.safetensors"
    weights = load_file(path)
    fault(weights)
    save_file(weights, path)
    with pytest.raises(UserError, match=sentence):
        store.load("one")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, pickle.dumps({"wte.weight": [1.0]})])
def test_damaged_weights(store: ModelStore, model: GPT, content: bytes) -> None:
    (save(store, "one", model) / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="can't be read as safetensors"):
        store.load("one")


def test_damaged_tokenizer(store: ModelStore, model: GPT) -> None:
    (save(store, "one", model) / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        store.load("one")


@pytest.mark.parametrize(
    "change",
    [
        {"n_layer": 0},
        {"n_layer": 2.0},
        {"n_layer": True},
        {"n_embd": "32"},
        {"n_head": 5},
        {"qkv_bias": 1},
        {"about": []},
    ],
)
def test_damaged_description(store: ModelStore, model: GPT, change: dict[str, Any]) -> None:
    folder = save(store, "one", model)
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(record | change))
    if change != {"about": []}:
        with pytest.raises(UserError, match="not contain a readable model"):
            read_description(folder)
    else:
        assert read_description(folder)[1] == {}


def test_a_pickle_is_never_read(store: ModelStore, model: GPT, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    folder = save(store, "one", model)
    for name in ("pytorch_model.bin", "model.pth", "model.pt", "model.ckpt"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    store.list()
    store.load("one")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError):
        store.load("one")
    assert not (tmp_path / "exploded").exists()


def test_weights_do_not_depend_on_the_file_once_loaded(store: ModelStore, model: GPT) -> None:
    folder = save(store, "one", model)
    loaded, _ = load_model(folder)
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.truncate(8)
    assert torch.equal(loaded.wte.weight, model.wte.weight)


# In memory ------------------------------------------------------------------------------------------------------------


def test_a_loaded_model_is_kept(store: ModelStore, model: GPT) -> None:
    save(store, "one", model)
    assert store.load("one")[0] is store.load("one")[0]


def test_a_model_saved_again_is_read_again(store: ModelStore, tiny: Tiny) -> None:
    save(store, "one", tiny(seed=1))
    other_process = ModelStore(store.home, starter=None)
    before = store.load("one")[0]
    save(other_process, "one", tiny(seed=2))
    os.utime(store.folder("one") / "config.json", (2_000_000_000, 2_000_000_000))
    assert not torch.equal(store.load("one")[0].wte.weight, before.wte.weight)


def test_the_least_recently_used_make_room(tmp_path: Path, model: GPT) -> None:
    needed = memory_needed(model.config, "fp32")
    store = ModelStore(tmp_path, starter=None, budget=4 * needed + needed // 2)
    for i in range(6):
        save(store, f"m{i}", model)
    models = {name: store.load(name)[0] for name in ("m0", "m1", "m2", "m3")}
    store.load("m0")  # used again, so m1 is the oldest now
    store.load("m4")
    store.load("m5")
    assert store.memory.reserved() == 4 * needed
    assert store.load("m0")[0] is models["m0"]
    assert store.load("m3")[0] is models["m3"]
    assert store.load("m1")[0] is not models["m1"]
    assert store.memory.precision_of(store.folder("m2")) is None


def test_what_can_not_fit_is_refused_and_nothing_given_up(tmp_path: Path, model: GPT) -> None:
    needed = {precision: memory_needed(model.config, precision) for precision in ("fp32", "bf16", "int8")}
    assert needed["bf16"] < needed["int8"] < needed["fp32"], "in so small a model most weights are embeddings"
    store = ModelStore(tmp_path, starter=None, budget=needed["int8"])
    save(store, "one", model)
    save(store, "two", model)
    kept = store.load("one", precision="bf16")[0]
    with pytest.raises(
        UserError, match=r"two in fp32 needs .* MB of memory; .* MB are available .* fits in bf16 or int8"
    ):
        store.load("two")
    assert store.load("one")[0] is kept, "in the precision it is in memory in"
    store.memory.budget = needed["bf16"] - 1
    with pytest.raises(UserError, match="GPT-2 sizes that fit: none"):
        store.load("two", precision="int8")


def test_unload_gives_the_memory_back(store: ModelStore, model: GPT) -> None:
    save(store, "one", model)
    gone = weakref.ref(store.load("one")[0])
    store.load("one", precision="bf16")
    store.unload("one")
    gc.collect()
    assert gone() is None
    assert store.memory.reserved() == 0
    with pytest.raises(UserError, match="no model named 'two'"):
        store.unload("two")


def test_a_model_that_still_writes_when_it_is_given_up(
    store: ModelStore, model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory goes back to the system once it has ended, as soon as anybody asks how much there is."""
    save(store, "one", model)
    writing = store.load("one")[0]
    store.delete("one")
    calls: list[None] = []
    monkeypatch.setattr(gpt_demo.store.loaded, "give_back_memory", lambda: calls.append(None))
    store.memory.room()
    assert calls == []
    assert writing.config == model.config  # it is still there
    del writing
    gc.collect()
    store.memory.room()
    store.memory.room()
    assert len(calls) == 1


@pytest.mark.parametrize("shape", [{}, {"tied_head": False, "qkv_bias": False}], ids=str)
def test_a_large_file_is_mapped_and_computes_the_same(
    tmp_path: Path, tiny: Tiny, shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("pytorch", **shape).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    list(write_weights(path, {name: value.shape for name, value in weights.items()}, weights.items()))
    ids = torch.randint(257, (2, 16))
    for precision, mapped_from in (("fp32", 0), ("fp32", 2**40), ("bf16", 0), ("int8", 0)):
        monkeypatch.setattr(gpt_demo.store.folder, "MAPPED_FROM", mapped_from)
        with torch.device("meta"):
            other = GPT(model.config)
        load_weights(other, path, precision, may_map=True)
        expected = lower_precision(copy.deepcopy(model), precision)
        with torch.no_grad():
            assert torch.equal(other.eval()(ids)[0], expected(ids)[0])
        places = {name: value.data_ptr() % 4096 for name, value in other.named_parameters()}
        in_place = all(place == load_address(path, name) % 4096 for name, place in places.items())
        assert in_place == (precision == "fp32" and mapped_from == 0)


def load_address(path: Path, name: str) -> int:
    """The place of a tensor's first byte in the file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return 8 + length + int(json.loads(data[8 : 8 + length])[name]["data_offsets"][0])


def test_precisions_are_kept_apart(store: ModelStore, model: GPT) -> None:
    save(store, "one", model)
    loaded = {precision: store.load("one", precision=precision)[0] for precision in ("fp32", "bf16", "int8")}
    assert len({id(model) for model in loaded.values()}) == 3
    assert loaded["fp32"].wte.weight.dtype == torch.float32
    assert loaded["bf16"].wte.weight.dtype == torch.bfloat16
    assert loaded["int8"].h[0].mlp.c_fc.weight.dtype == torch.int8
    with pytest.raises(UserError, match="precision"):
        store.load("one", precision="fp8")


def test_many_threads_load_one_model_once(store: ModelStore, model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, "one", model)
    loads: list[Path] = []
    load = gpt_demo.store.store.load_model
    monkeypatch.setattr(
        gpt_demo.store.store, "load_model", lambda folder, how: (loads.append(folder), load(folder, how))[1]
    )
    found: list[GPT] = []
    threads = [threading.Thread(target=lambda: found.append(store.load("one")[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == len(loads) == 1


# Owners, the starter, deleting ----------------------------------------------------------------------------------------


def test_owners_do_not_see_each_other(store: ModelStore, model: GPT) -> None:
    anna, ben = owner_key("anna's secret"), owner_key("ben's secret")
    save(store, "of-anna", model, owner=anna)
    save(store, "of-ben", model, owner=ben)
    save(store, "of-all", model)
    assert set(names(store)) == {"of-all"}
    assert set(names(store, anna)) == {"of-all", "of-anna"}
    for use in (store.get, store.load, store.delete):
        for owner in (None, ben, "", "anna's secret"):
            with pytest.raises(UserError, match="no model named 'of-anna'") as error:
                use("of-anna", owner)
            assert "of-anna," not in str(error.value)
    store.load("of-anna", anna)
    with pytest.raises(UserError):
        store.load("of-anna", ben)  # although it is in memory now
    everything = ModelStore(store.home, starter=None, see_all=True)
    assert len(names(everything)) == 3


def test_the_secret_is_not_on_disk(store: ModelStore, model: GPT) -> None:
    folder = save(store, "one", model, owner=owner_key("secret"))
    assert "secret" not in (folder / "config.json").read_text()
    assert len(owner_key("secret")) == 64


@pytest.fixture
def with_starter(tmp_path: Path, tiny: Tiny) -> ModelStore:
    starter = save(ModelStore(tmp_path / "assets", starter=None), "x", tiny(seed=7)).rename(tmp_path / "starter")
    return ModelStore(tmp_path / "home", starter)


def test_the_starter_comes_first_and_stays(with_starter: ModelStore, model: GPT) -> None:
    save(with_starter, "new", model)
    assert names(with_starter) == ["starter", "new"]
    assert with_starter.is_shipped(with_starter.get("starter"))
    with pytest.raises(UserError, match="can't be deleted"):
        with_starter.delete("starter")
    assert with_starter.load("starter")[0].config == model.config


def test_nobody_takes_the_starters_place(with_starter: ModelStore, tiny: Tiny) -> None:
    save(with_starter, "starter", tiny(seed=8), owner="somebody")
    assert names(with_starter) == names(with_starter, "somebody") == ["starter"]
    assert torch.equal(with_starter.load("starter", "somebody")[0].wte.weight, tiny(seed=7).wte.weight)
    for name in ("starter", "gpt2-124M", "gpt2-1558M"):
        with pytest.raises(UserError, match=f"{name} is reserved for a model of the app"):
            with_starter.check_free(name)


def test_check_free(store: ModelStore, model: GPT) -> None:
    store.check_free("one")
    save(store, "one", model, owner="somebody")
    with pytest.raises(UserError, match="already a model named one"):
        store.check_free("one")


def test_delete(store: ModelStore, model: GPT) -> None:
    save(store, "one", model)
    save(store, "two", model)
    store.load("one")
    store.delete("one")
    assert names(store) == ["two"]
    assert store.memory.reserved() == 0
    assert [path.name for path in (store.home / "models").iterdir()] == ["two"]
    with pytest.raises(UserError, match="Available: two"):
        store.delete("one")


def test_a_load_in_less_precision_gives_back_what_it_frees(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every part; else what is freed lies between what stays, and a load holds half as much again."""
    model = tiny(n_layer=3)
    save_model(tmp_path / "m", model.config, model.state_dict(), byte_level(), {})
    given: list[None] = []
    monkeypatch.setattr(gpt_demo.store.folder, "give_back_memory", lambda: given.append(None))
    load_model(tmp_path / "m", "fp32")
    assert not given
    load_model(tmp_path / "m", "int8")
    assert len(given) == 3 + 4  # three blocks, two embeddings, dropout, the last norm


@pytest.mark.parametrize(
    ("size", "precision", "taken"), [("124M", "int8", 301), ("355M", "int8", 712), ("124M", "bf16", 324)]
)
def test_memory_said_bounds_what_was_measured(size: str, precision: str, taken: int) -> None:
    """MB held after a full context and some tokens, measured in a process that keeps freed memory."""
    assert taken <= memory_needed(GPT2_SIZES[size], precision) / 1e6 <= 1.15 * taken


def test_models_are_loaded_to_the_device_and_fit_into_its_memory(
    tmp_path: Path, model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No card is at hand here: the device without memory shows where a model goes."""
    here = ModelStore(tmp_path, starter=None, device=torch.device("cpu"))
    save(here, "one", model)
    assert here.load("one")[0].device == torch.device("cpu")
    for precision in ("fp32", "bf16", "int8"):
        store = ModelStore(tmp_path, starter=None, device=torch.device("meta"))
        loaded, _ = store.load("one", precision=precision)
        assert {t.device.type for t in (*loaded.parameters(), *loaded.buffers())} == {"meta"}
    monkeypatch.setattr("gpt_demo.store.loaded.device_memory", lambda device: (10, 20))
    with pytest.raises(UserError, match=r"0\.0 MB are available"):
        ModelStore(tmp_path, starter=None, device=torch.device("meta")).load("one")
