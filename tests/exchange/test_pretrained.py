"""Download, import and export: whole in the store or not there at all, and the same numbers at both ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from hub_server import HubServer
from others import IDS, logits, write_repo
from safetensors.torch import save_file
from servers import Fault
from transformers import AutoTokenizer, GPT2LMHeadModel, GPT2Tokenizer

import gpt_demo.download.files
from gpt_demo.download.files import DownloadFailed
from gpt_demo.errors import UserError
from gpt_demo.events import Converting, Downloading, Event, Kept, Saved
from gpt_demo.exchange import openai_release
from gpt_demo.exchange.hub import FILES, REPOS
from gpt_demo.exchange.huggingface_tokenizer import vocabulary
from gpt_demo.exchange.pretrained import (
    delete_downloads,
    download_model,
    downloads_folder,
    export_model,
    import_model,
)
from gpt_demo.model.gpt import GPT, GPT2_SIZES, GPTConfig
from gpt_demo.store.folder import save_model
from gpt_demo.store.store import ModelStore
from gpt_demo.text.tokenizer import byte_level, gpt2, train_bpe


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home", starter=None, see_all=True)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GPT2LMHeadModel]:
    folder = tmp_path_factory.mktemp("repos") / "124M"
    return folder, write_repo(folder, gpt2(), n_positions=16, n_embd=8, n_head=2, n_layer=2)


@pytest.fixture
def hub(repo: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(gpt_demo.download.files, "PAUSES", (0.0,) * len(gpt_demo.download.files.PAUSES))
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setitem(GPT2_SIZES, "124M", GPTConfig(50257, 16, 8, 2, 2))
    with HubServer({REPOS["124M"]: repo[0]}) as server:
        server.replaces_the_hub(monkeypatch, tmp_path / "cache")
        yield server


def kinds(events: list[Any]) -> list[str]:
    """Kinds of events in order, repetitions left out."""
    return [kind for i, kind in enumerate(e.kind for e in events) if not i or kind != events[i - 1].kind]


def names(store: ModelStore) -> list[str]:
    return [info.name for info in store.list()]


def nothing_half_done(store: ModelStore) -> bool:
    """No model, no converted file and no scratch folder."""
    models, downloads = store.home / "models", store.home / "downloads"
    left = [path for path in downloads.glob("*") if path.suffix == ".safetensors" or path.name.startswith(".import")]
    return not left and not (models.exists() and any(models.iterdir()))


# Download -------------------------------------------------------------------------------------------------------------


def test_from_the_hub_into_the_store(hub: HubServer, store: ModelStore, repo: tuple[Path, GPT2LMHeadModel]) -> None:
    events = list(download_model(store, "124M", "huggingface"))
    assert kinds(events) == ["downloading", "converting", "saved", "finished"]
    info = store.get("gpt2-124M")
    folder = store.home / "downloads" / "gpt2-124M-huggingface"
    assert events[-2] == Saved(str(folder))
    assert isinstance(events[-1], Kept)
    assert (events[-1].model, events[-1].path, events[-1].bytes) == ("gpt2-124M", str(info.folder), info.bytes)
    assert info.about["source"] == "huggingface"
    assert info.about["repo"] == "openai-community/gpt2"
    assert info.about["size"] == "124M"
    assert info.about["created"] > 1.7e9
    assert info.config.dropout == 0.0
    model, tokenizer = store.load("gpt2-124M")
    assert tokenizer is gpt2()
    ids = torch.randint(50257, (2, 8), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(logits(model, ids), logits(repo[1], ids), atol=1e-5)
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == set(FILES)
    assert not [path for path in folder.parent.iterdir() if path.suffix == ".safetensors"]


def test_a_second_time_it_is_done_at_once(hub: HubServer, store: ModelStore) -> None:
    list(download_model(store, "124M", "huggingface", keep_files=False))
    hub.requests.clear()
    for source in ("huggingface", "openai"):
        assert kinds(list(download_model(store, "124M", source))) == ["finished"]
    assert not hub.requests


@pytest.mark.parametrize(
    ("space", "keep", "kept"), [("", None, True), ("a/b", None, False), ("a/b", True, True), ("", False, False)]
)
def test_files_are_deleted_on_a_space(
    space: str, keep: bool | None, kept: bool, hub: HubServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_ID", space)
    events = list(download_model(store, "124M", "huggingface", keep_files=keep))
    assert downloads_folder(store, "124M", "huggingface").exists() is kept
    assert ("saved" in kinds(events)) is kept
    assert names(store) == ["gpt2-124M"]


def test_kept_files_are_converted_again_without_a_network(hub: HubServer, store: ModelStore) -> None:
    list(download_model(store, "124M", "huggingface"))
    store.delete("gpt2-124M")
    hub.status = 500
    assert "converting" in kinds(list(download_model(store, "124M", "huggingface")))
    assert names(store) == ["gpt2-124M"]


def test_an_interrupted_download_goes_on(hub: HubServer, store: ModelStore) -> None:
    path = hub.cdn_path("model.safetensors")
    hub.cdn.always[path] = Fault(cut=50_000)
    events = download_model(store, "124M", "huggingface")
    for event in events:
        if isinstance(event, Downloading) and event.file == "model.safetensors" and event.received:
            break
    events.close()  # type: ignore[attr-defined]
    assert nothing_half_done(store)
    hub.cdn.always.clear()
    hub.cdn.requests.clear()
    list(download_model(store, "124M", "huggingface"))
    assert next(r.start for r in hub.cdn.requests if r.method == "GET") > 0
    assert names(store) == ["gpt2-124M"]


def test_an_interrupted_conversion_leaves_nothing(hub: HubServer, store: ModelStore) -> None:
    events = download_model(store, "124M", "huggingface")
    next(event for event in events if isinstance(event, Converting) and event.done == 3)
    assert list((store.home / "downloads").glob("*.safetensors"))
    events.close()  # type: ignore[attr-defined]
    assert nothing_half_done(store)
    list(download_model(store, "124M", "huggingface"))
    assert names(store) == ["gpt2-124M"]


def test_a_failed_download_leaves_nothing(hub: HubServer, store: ModelStore) -> None:
    hub.cdn.always[hub.cdn_path("model.safetensors")] = Fault(status=404)
    with pytest.raises(DownloadFailed, match="404"):
        list(download_model(store, "124M", "huggingface"))
    assert nothing_half_done(store)


def test_no_room_for_the_converted_file(hub: HubServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt_demo.paths.free_space", lambda folder: 1000)
    monkeypatch.setattr(gpt_demo.exchange.hub, "fetch_all", lambda files, folder: iter(()))
    shutil.copytree(hub.repos[REPOS["124M"]], downloads_folder(store, "124M", "huggingface"))
    with pytest.raises(UserError, match=r"The model needs \d\.\d MB of disk space, but only 0\.0 MB are free"):
        list(download_model(store, "124M", "huggingface"))
    assert nothing_half_done(store)


def test_a_model_of_the_hub_by_its_id(hub: HubServer, store: ModelStore, tmp_path: Path) -> None:
    """Whatever files it has: here shards, another shape, another activation, and an end of its own."""
    theirs = write_repo(
        tmp_path / "repo", byte_level(), n_positions=16, n_embd=24, n_head=3, n_layer=2, activation_function="gelu"
    )
    (tmp_path / "repo" / "model.safetensors").unlink()
    theirs.save_pretrained(tmp_path / "repo", max_shard_size="10KB")
    (tmp_path / "repo" / "generation_config.json").write_text('{"eos_token_id": 10}')
    hub.repos["some-one/Tiny.model"] = tmp_path / "repo"
    events = list(download_model(store, "some-one/Tiny.model", "huggingface"))
    assert kinds(events) == ["downloading", "converting", "saved", "finished"]
    assert names(store) == ["Tiny.model"]
    assert store.get("Tiny.model").about["repo"] == "some-one/Tiny.model"
    model, tokenizer = store.load("Tiny.model")
    assert torch.allclose(logits(model, IDS % 257), logits(theirs, IDS % 257), atol=1e-5)
    text = "a\nb<|endoftext|>c"
    assert tokenizer.encode(text) == AutoTokenizer.from_pretrained(tmp_path / "repo").encode(text)
    assert tokenizer.end_of_text == 10
    hub.requests.clear()
    assert kinds(list(download_model(store, "some-one/Tiny.model", "huggingface"))) == ["saved", "finished"]
    with pytest.raises(UserError, match=r"already a model named Tiny\.model"):
        list(download_model(store, "other/Tiny.model", "huggingface"))
    with pytest.raises(UserError, match="Choose huggingface as the source"):
        list(download_model(store, "some-one/Tiny.model", "openai"))
    assert not hub.requests
    assert delete_downloads(store, "some-one/Tiny.model") > 0


@pytest.mark.parametrize(
    ("file", "record", "sentence"),
    [
        ("config.json", {"model_type": "llama"}, "a model of type 'llama'; only GPT-2"),
        ("config.json", {"activation_function": "relu"}, "activation_function as 'relu'"),
        ("tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"}, "tokenizer_class is 'T5Tokenizer'"),
    ],
)
def test_what_can_not_be_used_is_refused_before_its_weights_come(
    file: str, record: dict[str, Any], sentence: str, hub: HubServer, store: ModelStore, tmp_path: Path
) -> None:
    shutil.copytree(hub.repos[REPOS["124M"]], tmp_path / "repo")
    path = tmp_path / "repo" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **record}))
    hub.repos["some/one"] = tmp_path / "repo"
    with pytest.raises(UserError, match=sentence):
        list(download_model(store, "some/one", "huggingface"))
    assert not any("safetensors" in request.path for request in [*hub.requests, *hub.cdn.requests])
    assert nothing_half_done(store)


def test_ids_that_the_hub_does_not_have(hub: HubServer, store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"404: it has no config\.json of some/one. Check the id of the model"):
        list(download_model(store, "some/one", "huggingface"))
    shutil.copytree(hub.repos[REPOS["124M"]], tmp_path / "repo")
    (tmp_path / "repo" / "model.safetensors").unlink()
    hub.repos["some/one"] = tmp_path / "repo"
    with pytest.raises(DownloadFailed, match="some/one holds no weights that can be read here"):
        list(download_model(store, "some/one", "huggingface"))
    with pytest.raises(UserError, match="is reserved for a model of the app"):
        list(download_model(store, "some/starter", "huggingface"))


@pytest.mark.parametrize("source", ["huggingface", "openai"])
def test_a_host_that_sends_another_model(
    source: str, hub: HubServer, release_of: Any, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 0.4 million parameters under the name of a larger one is refused, and its files are gone."""
    monkeypatch.setitem(GPT2_SIZES, "124M", GPTConfig(50257, 16, 16, 2, 2))
    with pytest.raises(UserError, match=r"The file is not GPT-2 124M: its config gives .* not 8.* was deleted"):
        list(download_model(store, "124M", source))
    assert nothing_half_done(store)
    assert not downloads_folder(store, "124M", source).exists()


@pytest.mark.parametrize(
    ("size", "source", "sentence"),
    [("125M", "openai", "Choose one of 124M"), ("../x", "openai", "Choose one"), ("124M", "x", "openai, huggingface")],
)
def test_unknown_size_or_source(size: str, source: str, sentence: str, store: ModelStore) -> None:
    for use in (lambda: list(download_model(store, size, source)), lambda: downloads_folder(store, size, source)):
        with pytest.raises(UserError, match=sentence):
            use()


def test_another_model_of_that_name(hub: HubServer, store: ModelStore, tiny: Tiny) -> None:
    """It is neither taken for GPT-2 nor overwritten, also where it is a visitor's."""
    model = tiny()
    store.save("gpt2-124M", model.config, model.state_dict(), byte_level(), {"owner": "somebody"})
    for see_all in (True, False):
        with pytest.raises(UserError, match="already has the name of this download, gpt2-124M"):
            list(download_model(ModelStore(store.home, starter=None, see_all=see_all), "124M", "huggingface"))
    assert torch.equal(store.load("gpt2-124M")[0].wte.weight, model.wte.weight)
    assert not hub.requests


def release(folder: Path, model: GPT, merges: list[str]) -> None:
    """A folder like OpenAI's, but for the checkpoint, which `fake_convert` replaces."""
    folder.mkdir(parents=True)
    shape = model.config
    hparams = {name: getattr(shape, name) for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")}
    (folder / "hparams.json").write_text(json.dumps(hparams))
    for name in openai_release.FILES[3:5]:
        (folder / name).write_bytes(b"x")
    (folder / "encoder.json").write_text(json.dumps({str(i): i for i in range(shape.n_vocab)}))
    (folder / "vocab.bpe").write_text("#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges))


@pytest.fixture
def release_of(monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> Any:
    """OpenAI's release without TensorFlow: test_openai_release.py has the real conversion."""
    tokenizer = train_bpe("the cat and the hat and the bat " * 9, 262)
    model = tiny(n_vocab=tokenizer.n_vocab)
    monkeypatch.setitem(GPT2_SIZES, "355M", model.config)

    def fetch(size: str, folder: Path) -> Iterator[Event]:
        release(folder, model, list(tokenizer.merges))
        yield Downloading("checkpoint", 1, 1, 1, 1)

    def convert(folder: Path, target: Path) -> Iterator[Event]:
        save_file(model.state_dict(), target)
        yield Converting(1, 1)

    monkeypatch.setattr(openai_release, "fetch_release", fetch)
    monkeypatch.setattr(openai_release, "convert", convert)
    return fetch, model, tokenizer


def test_from_openai_into_the_store(release_of: Any, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_DEMO_OPENAI_URLS", "http://127.0.0.1:1/a,http://127.0.0.1:1/b")
    _, model, tokenizer = release_of
    events = list(download_model(store, "355M"))
    assert kinds(events) == ["downloading", "converting", "saved", "finished"]
    about = store.get("gpt2-355M").about
    assert (about["source"], about["size"]) == ("openai", "355M")
    assert about["base_urls"] == ["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"]
    loaded, theirs = store.load("gpt2-355M")
    assert theirs.merges == tokenizer.merges
    assert torch.equal(logits(loaded), logits(model.eval()))


def test_a_folder_of_openais(release_of: Any, store: ModelStore, tmp_path: Path) -> None:
    fetch, model, _ = release_of
    list(fetch("124M", tmp_path / "release"))
    list(import_model(store, tmp_path / "release", "mine"))
    assert torch.equal(logits(store.load("mine")[0]), logits(model.eval()))


def test_delete_downloads(hub: HubServer, store: ModelStore) -> None:
    list(download_model(store, "124M", "huggingface"))
    folder = downloads_folder(store, "124M", "huggingface")
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert delete_downloads(store, "124M") == size > 0
    assert not folder.exists()
    assert names(store) == ["gpt2-124M"]
    assert delete_downloads(store, "124M") == 0


# Import and export ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_a_round_trip(zipped: bool, qkv_bias: bool, store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    """Out, opened by transformers, and in again: equal logits."""
    tokenizer = train_bpe("the cat and the hat and the bat " * 9, 262)
    model = tiny(n_vocab=tokenizer.n_vocab, qkv_bias=qkv_bias, dropout=0.1).eval()
    store.save("one", model.config, model.state_dict(), tokenizer, {})
    events = list(export_model(store, "one", tmp_path / "to" / "out"))
    assert kinds(events) == ["converting", "finished"]
    out = tmp_path / "to" / "out"
    assert isinstance(events[-1], Kept)
    assert events[-1].path == str(out)
    assert events[-1].bytes == sum(path.stat().st_size for path in out.iterdir())
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    theirs = GPT2LMHeadModel.from_pretrained(out).eval()
    assert torch.allclose(logits(theirs), logits(model), atol=1e-5)
    assert GPT2Tokenizer.from_pretrained(out).get_vocab() == vocabulary(tokenizer)

    path = Path(shutil.make_archive(str(tmp_path / "x"), "zip", out.parent, "out")) if zipped else out
    events = list(import_model(store, path, "two"))
    assert kinds(events) == ["converting", "finished"]
    info = store.get("two")
    assert info.config == model.config
    assert info.about == {"source": "import", "file": path.name, "created": info.about["created"]}
    again, same = store.load("two")
    assert same.merges == tokenizer.merges
    assert torch.equal(logits(again), logits(model))
    assert not list((store.home / "downloads").iterdir())


def test_this_apps_own_download(store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    """The zip that the page gives, from a visitor; whose it was before is forgotten."""
    model = tiny().eval()
    save_model(tmp_path / "own" / "run", model.config, model.state_dict(), byte_level(), {"owner": "x", "run": "run"})
    path = Path(shutil.make_archive(str(tmp_path / "own"), "zip", tmp_path / "own"))
    list(import_model(store, path, "two", owner="somebody"))
    assert store.get("two").owner == "somebody"
    assert "run" not in store.get("two").about
    assert torch.equal(logits(store.load("two")[0]), logits(model))
    private = ModelStore(store.home, starter=None)
    assert names(private) == []
    assert list(export_model(private, "two", tmp_path / "out", owner="somebody"))
    with pytest.raises(UserError, match="no model named"):
        list(export_model(private, "two", tmp_path / "other"))


@pytest.mark.parametrize("name", ["taken", "starter", "gpt2-124M", "../x", ""])
def test_names_that_can_not_be_taken(name: str, store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    own = save_folder(tmp_path, model)
    store.save("taken", model.config, model.state_dict(), byte_level(), {})
    with pytest.raises(UserError, match="name"):
        list(import_model(store, own, name))
    assert names(store) == ["taken"]


def save_folder(tmp_path: Path, model: GPT) -> Path:
    save_model(tmp_path / "own", model.config, model.state_dict(), byte_level(), {})
    return tmp_path / "own"


def test_a_name_that_is_taken_meanwhile(store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    model = tiny(seed=1)
    events = import_model(store, save_folder(tmp_path, tiny(seed=2)), "one")
    next(events)
    store.save("one", model.config, model.state_dict(), byte_level(), {})
    with pytest.raises(UserError, match="already a model named one"):
        list(events)
    assert torch.equal(store.load("one")[0].wte.weight, model.wte.weight)


def test_an_interrupted_import_leaves_nothing(store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    events = import_model(store, save_folder(tmp_path, tiny()), "one")
    for _ in range(3):
        next(events)
    events.close()  # type: ignore[attr-defined]
    assert nothing_half_done(store)


@pytest.mark.parametrize("path", ["missing", "text.txt", "empty"])
def test_what_is_no_model(path: str, store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{path}.*(Check the path|can't be imported|no config)"):
        list(import_model(store, tmp_path / path, "one"))
    assert nothing_half_done(store)


def test_where_something_is_nothing_is_exported(store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    store.save("one", model.config, model.state_dict(), byte_level(), {})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(UserError, match="already there"):
            list(export_model(store, "one", tmp_path / name))
    assert (tmp_path / "full" / "x").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    list(export_model(store, "one", tmp_path / "empty"))
    assert (tmp_path / "empty" / "config.json").exists()


def test_an_interrupted_export_leaves_nothing(store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    store.save("one", model.config, model.state_dict(), byte_level(), {})
    before = set(tmp_path.iterdir())
    events = export_model(store, "one", tmp_path / "out")
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert set(tmp_path.iterdir()) == before


def test_the_peak_is_one_tensor(store: ModelStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every tensor is asked for alone and let go before the next one: no two are alive at once."""
    import weakref

    import gpt_demo.exchange.huggingface
    import gpt_demo.exchange.model_import
    from gpt_demo.exchange.tensor_files import TensorFiles, open_file, open_folder

    config = GPTConfig(n_vocab=257, n_ctx=8, n_embd=8, n_head=2, n_layer=3)
    save_model(tmp_path / "own", config, GPT(config).state_dict(), byte_level(), {})
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watched(files: TensorFiles) -> TensorFiles:
        def read(name: str) -> torch.Tensor:
            nonlocal most
            tensor = files.read(name)
            alive.append(weakref.ref(tensor))
            most = max(most, sum(ref() is not None for ref in alive))
            return tensor

        return TensorFiles(files.label, files.shapes, files.bytes, read)

    monkeypatch.setattr(gpt_demo.exchange.model_import, "open_folder", lambda folder: watched(open_folder(folder)))
    monkeypatch.setattr(gpt_demo.exchange.huggingface, "open_file", lambda path: watched(open_file(path)))
    list(import_model(store, tmp_path / "own", "one"))
    list(export_model(store, "one", tmp_path / "out"))
    list(import_model(store, tmp_path / "out", "two"))
    assert len(alive) == 3 * len(GPT(config).state_dict())
    assert most <= 2  # a loop's variable holds the last one until the next is there
    assert torch.equal(logits(store.load("two")[0], IDS % 257), logits(store.load("one")[0], IDS % 257))


def test_a_sentence_about_a_zip_names_the_zip(store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    """Where its files lie for the moment tells nobody anything."""
    save_model(tmp_path / "own", tiny().config, tiny().state_dict(), byte_level(), {})
    (tmp_path / "own" / "config.json").write_text("{")
    path = Path(shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path / "own"))
    with pytest.raises(UserError, match=r"^mine\.zip/config\.json is no valid JSON") as error:
        list(import_model(store, path, "x"))
    assert ".import-" not in str(error.value)
