"""What the Models tab says of models, and who may download, cancel, unload and import what."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Tiny

from gpt_demo.errors import UserError
from gpt_demo.events import Converting, Downloading, Event
from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.runs.runs import Runs
from gpt_demo.store.loaded import memory_needed
from gpt_demo.store.store import ModelStore, owner_key
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import make
from gpt_demo.ui.models import fetching, loading
from gpt_demo.ui.models.fetching import Fetches
from gpt_demo.ui.models.importing import suggest
from gpt_demo.ui.models.table import HEAD, SIZE_OF, download_bytes, estimate, fit_line, fitting, table
from gpt_demo.ui.quotas import check_import
from gpt_demo.ui.services import Limits, Services
from gpt_demo.ui.theme import launch_options
from gpt_demo.ui.train.text_source import MOST_BYTES, UPLOAD, Reading, read

GB = 10**9
ONE, OTHER = "one" * 20, "other" * 20  # visitors' tokens


def make_services(home: Path, *, public: bool = False, budget: int = 10 * GB) -> Services:
    return Services(ModelStore(home, starter=None, budget=budget), Runs(home), Limits() if public else None)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = make_services(tmp_path)
    yield services
    services.downloads.close()
    services.runs.close()


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Services]:
    services = make_services(tmp_path, public=True)
    yield services
    services.downloads.close()
    services.runs.close()


def add(services: Services, tiny: Tiny, name: str, **about: Any) -> None:
    model = tiny()
    services.store.save(name, model.config, model.state_dict(), make("bytes"), about)


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (10.0, "124M, 355M, 774M and 1558M fit in fp32."),
        (4.0, "124M, 355M and 774M fit in fp32; 1558M only in bf16 or int8."),
        (1.0, "124M fits in fp32; 355M only in bf16 or int8; 774M and 1558M not at all."),
        (0.1, "124M, 355M, 774M and 1558M not at all."),
    ],
)
def test_what_fits_is_said_first(services: Services, budget: float, words: str) -> None:
    services.store.memory.budget = int(budget * GB)
    line = fit_line(services)
    assert line["text"].endswith(f"{budget:.1f} GB for models: {words}".replace("0.1 GB", "100 MB"))
    assert "none of it in use" in line["note"]
    for config in GPT2_SIZES.values():
        assert all(memory_needed(config, precision) <= budget * GB for precision in fitting(config, int(budget * GB)))


def rows(services: Services, token: str | None = None, **fetching: str) -> dict[str, list[str]]:
    data = table(services, token, fetching)
    assert all(len(row["cells"]) == len(HEAD) - 1 for group in data["groups"] for row in group["rows"])
    return {row["name"]: row["cells"] for group in data["groups"] for row in group["rows"]}


def test_every_size_has_a_row_whether_it_is_here_or_not(services: Services, tiny: Tiny) -> None:
    found = rows(services)
    assert list(found) == list(SIZE_OF)
    assert found["gpt2-124M"][:4] == ["not here", "124.4 million", "12", "12"]
    assert found["gpt2-124M"][8:11] == ["500 MB", "676 MB", "\N{EN DASH}"]
    add(services, tiny, "gpt2-124M", source="openai", size="124M")
    add(services, tiny, "mine", val_loss=3.21)
    found = rows(services)
    assert found["gpt2-124M"][2] == "2", "its own shape once it is here"
    assert found["gpt2-124M"][0] == found["mine"][0] == "on disk"
    assert found["mine"][7] == "3.21"
    speed = loading.load(services, services.store.get("mine"), "bf16", None)
    assert rows(services)["mine"][0] == "in memory, bf16"
    assert float(rows(services)["mine"][10].replace(",", "")) == pytest.approx(speed, abs=0.6)
    assert rows(services, **{"gpt2-355M": "downloading 43 %"})["gpt2-355M"][0] == "downloading 43 %"


def test_a_model_of_that_name_is_nobody_elses(services: Services, tiny: Tiny) -> None:
    add(services, tiny, "gpt2-124M", source="import")
    data = table(services, None, {})
    assert [row["name"] for row in data["groups"][0]["rows"]] == ["gpt2-124M"]
    assert [row["name"] for row in data["groups"][1]["rows"]] == list(SIZE_OF)[1:]


def test_sizes_to_download_are_those_of_the_release(golden: dict[str, Any]) -> None:
    for name, files in golden["release_files"].items():
        assert download_bytes(name) == pytest.approx(sum(files.values()), rel=2e-4)


def test_the_estimate_says_what_would_fit(services: Services, tiny: Tiny) -> None:
    add(services, tiny, "mine")
    info = services.store.get("mine")
    assert estimate(services, info, "mine", "fp32")["trouble"] is False
    services.store.memory.budget = memory_needed(info.config, "fp32") - 1
    said = estimate(services, info, "mine", "fp32")
    assert said["trouble"]
    assert said["text"].endswith("Choose bf16 or int8.")
    services.store.memory.budget = 10
    assert estimate(services, info, "mine", "fp32")["text"].endswith("It can't be loaded here.")
    assert "more memory than this machine has" in estimate(services, None, "gpt2-1558M", "fp32")["text"]


# Loading --------------------------------------------------------------------------------------------------------------


def test_another_precision_takes_the_place_of_the_first(services: Services, tiny: Tiny) -> None:
    add(services, tiny, "mine")
    info = services.store.get("mine")
    for precision in ("fp32", "int8"):
        loading.load(services, info, precision, None)
    assert services.store.memory.precision_of(info.folder) == "int8"
    assert services.store.memory.reserved() == memory_needed(info.config, "int8")
    services.store.memory.budget = memory_needed(info.config, "fp32") - 1
    with pytest.raises(UserError, match=r"mine is in memory in int8\. In fp32 it needs"):
        loading.load(services, info, "fp32", None)
    assert services.store.memory.precision_of(info.folder) == "int8", "it stays as it was"


def test_measuring_fills_a_table_row_by_row(services: Services, tiny: Tiny) -> None:
    add(services, tiny, "mine")
    tables = list(loading.measure(services, services.store.get("mine"), None))
    assert [len(data["rows"]) for data in tables] == [1, 2, 3, 3]
    assert tables[1]["rows"][1] == ["bf16", "", "", "", "being measured"]
    assert [row[0] for row in tables[-1]["rows"]] == ["fp32", "bf16", "int8"]
    assert tables[-1]["rows"][0][2] == "\N{EN DASH}"
    assert all(row[2].endswith(" %") for row in tables[-1]["rows"][1:])
    assert tables[-1]["caption"].endswith("2,047 tokens of the sample story")


def test_measuring_says_where_the_model_has_read_the_text(services: Services, tiny: Tiny) -> None:
    add(services, tiny, "shipped", source="story.txt")
    add(services, tiny, "mine", source="the page", run="one")
    add(services, tiny, "other", source="the page", run="two")
    for run, text in (("one", f"Before. {sample_story()}"), ("two", "Something else.")):
        folder = services.runs.home / run
        folder.mkdir(parents=True)
        (folder / "text.txt").write_text(text, encoding="utf-8")
    said = {}
    for name in ("shipped", "mine", "other"):
        said[name] = list(loading.measure(services, services.store.get(name), None))[-1]["caption"]
    assert ["trained on" in words for words in said.values()] == [True, True, False]


def test_on_a_public_server_others_keep_what_they_use(public: Services, tiny: Tiny) -> None:
    add(public, tiny, "shared")
    add(public, tiny, "mine", owner=owner_key(ONE))
    for name in ("shared", "mine"):
        loading.load(public, public.store.get(name, owner_key(ONE)), "fp32", ONE)
    with pytest.raises(UserError, match="Other visitors may be using shared"):
        loading.unload(public, public.store.get("shared"), ONE)
    loading.unload(public, public.store.get("mine", owner_key(ONE)), ONE)
    assert public.store.memory.precision_of(public.store.get("shared").folder) == "fp32"
    assert public.store.memory.precision_of(public.store.get("mine", owner_key(ONE)).folder) is None


# Fetching -------------------------------------------------------------------------------------------------------------


class Slow:
    """A download that goes on until it is let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.events: list[Event] = [Downloading("a", 1, 4, 1, 8)]
        self.told = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self.error: Exception | None = None
        monkeypatch.setattr(fetching, "download_model", self.job)

    def job(self, _: ModelStore, size: str, source: str) -> Generator[Event, None, None]:
        self.asked.append((size, source))
        yield from self.events
        self.told.set()
        self.go_on.wait(20)
        if self.error:
            raise self.error
        yield self.events[-1]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow(monkeypatch)
    yield slow
    slow.go_on.set()


def wait(services: Services, name: str) -> str:
    job = services.downloads.get(name)
    assert job is not None
    job.join(20)
    return job.state


def test_a_download_is_shared_and_one_at_a_time(services: Services, slow: Slow) -> None:
    fetches = Fetches(services)
    fetches.start("gpt2-124M", "huggingface", ONE)
    assert slow.told.wait(20)
    fetches.start("gpt2-124M", "openai", OTHER)
    assert slow.asked == [("124M", "huggingface")]
    with pytest.raises(UserError, match="gpt2-124M is being downloaded; one at a time"):
        fetches.start("gpt2-355M", "openai", OTHER)
    assert fetches.labels() == {"gpt2-124M": "downloading 12 %"}
    assert fetches.shown("gpt2-355M", OTHER) == "gpt2-124M"
    assert fetches.buttons("gpt2-124M") == ("Cancel", "")
    data = fetches.data("gpt2-124M")
    assert data is not None
    assert data["title"] == "gpt2-124M from Hugging Face"
    assert data["parts"] == [("In all", 0.125, "0.0 MB of 0.0 MB"), ("a", 0.25, "0.0 MB of 0.0 MB")]
    slow.go_on.set()
    assert wait(services, "gpt2-124M") == "done"
    assert fetches.labels() == {}


def test_a_failure_is_told_and_retried_from_the_same_source(services: Services, slow: Slow) -> None:
    fetches = Fetches(services)
    slow.error = UserError("example.org refused the connection.")
    slow.go_on.set()
    fetches.start("gpt2-355M", "huggingface", ONE)
    assert wait(services, "gpt2-355M") == "failed"
    data = fetches.data("gpt2-355M")
    assert data is not None
    assert (data["state"], data["message"]) == ("failed", "example.org refused the connection.")
    assert [fetches.shown("starter", token) for token in (ONE, OTHER)] == ["gpt2-355M", None]
    assert fetches.buttons("gpt2-355M") == ("", "Retry")
    slow.error = None
    fetches.retry("gpt2-355M", OTHER)
    assert wait(services, "gpt2-355M") == "done"
    assert slow.asked == [("355M", "huggingface")] * 2


def test_cancelling(services: Services, slow: Slow) -> None:
    fetches = Fetches(services)
    fetches.cancel(ONE)  # nothing goes on: nothing happens
    fetches.start("gpt2-124M", "openai", ONE)
    with pytest.raises(UserError, match="is being downloaded"):
        fetches.delete_files("gpt2-124M")
    fetches.cancel(OTHER)
    data = fetches.data("gpt2-124M")
    assert data is not None
    assert data["state"] == "cancelling"
    slow.go_on.set()
    assert wait(services, "gpt2-124M") == "stopped"
    data = fetches.data("gpt2-124M")
    assert data is not None
    assert data["state"] == "cancelled"
    assert fetches.buttons("gpt2-124M") == ("", "Go on")


def test_a_host_that_breaks_off_while_a_download_is_cancelled_is_no_failure(services: Services, slow: Slow) -> None:
    fetches = Fetches(services)
    slow.error = UserError("127.0.0.1 does not answer.")
    fetches.start("gpt2-124M", "openai", ONE)
    assert slow.told.wait(20)
    fetches.cancel(ONE)
    slow.go_on.set()
    assert wait(services, "gpt2-124M") == "failed"
    data = fetches.data("gpt2-124M")
    assert data is not None
    assert (data["state"], fetches.buttons("gpt2-124M")) == ("cancelled", ("", "Go on"))


def test_who_did_not_ask_sees_no_failure_and_who_did_can_put_it_away(public: Services, slow: Slow) -> None:
    fetches = Fetches(public)
    slow.error = UserError("127.0.0.1 does not answer.")
    fetches.start("gpt2-124M", "openai", ONE)
    assert fetches.shown(None, OTHER) == "gpt2-124M", "while it goes on, everybody waits for it"
    slow.go_on.set()
    assert wait(public, "gpt2-124M") == "failed"
    assert [fetches.shown("gpt2-355M", token) for token in (ONE, OTHER)] == ["gpt2-124M", None]
    fetches.dismiss("gpt2-124M", ONE)
    assert fetches.shown("gpt2-124M", ONE) is None
    fetches.retry("gpt2-124M", ONE)
    wait(public, "gpt2-124M")
    assert fetches.shown("gpt2-124M", ONE) == "gpt2-124M"


def test_a_host_that_is_asked_again_is_named(services: Services, slow: Slow) -> None:
    fetches = Fetches(services)
    slow.events = [Downloading("a", 1, 4, 1, 8, "127.0.0.1 does not answer; trying again")]
    fetches.start("gpt2-124M", "openai", ONE)
    assert slow.told.wait(20)
    data = fetches.data("gpt2-124M")
    assert data is not None
    assert data["message"] == "127.0.0.1 does not answer; trying again."


def test_a_model_of_the_hub_is_asked_for_by_its_id(services: Services, public: Services, slow: Slow) -> None:
    fetches = Fetches(services)
    for wrong in ("", "gpt2", "a/b/c", "https://example.org/a/b"):
        with pytest.raises(UserError, match="is not an id of the Hub"):
            fetches.start_repository(wrong, ONE)
    fetches.start_repository(" https://huggingface.co/distilbert/distilgpt2/ ", ONE)
    assert slow.told.wait(20)
    assert slow.asked == [("distilbert/distilgpt2", "huggingface")]
    assert fetches.shown(None, ONE) == "distilgpt2"
    with pytest.raises(UserError, match="distilgpt2 is being downloaded; one at a time"):
        fetches.start("gpt2-124M", "openai", ONE)
    slow.go_on.set()
    wait(services, "distilgpt2")
    assert fetches.shown("gpt2-124M", ONE) == "distilgpt2", "nobody could choose it before"
    with pytest.raises(UserError, match="only the GPT-2 sizes"):
        Fetches(public).start_repository("distilbert/distilgpt2", ONE)


def test_on_a_public_server_nobody_ends_what_another_wants(public: Services, slow: Slow) -> None:
    fetches = Fetches(public)
    fetches.start("gpt2-124M", "openai", ONE)
    with pytest.raises(UserError, match="Another visitor started this download"):
        fetches.cancel(OTHER)
    fetches.start("gpt2-124M", "openai", OTHER)
    with pytest.raises(UserError, match="Another visitor wants this model too"):
        fetches.cancel(ONE)
    fetches.cancel(OTHER)
    slow.go_on.set()
    assert wait(public, "gpt2-124M") == "stopped"


def test_what_can_not_be_held_is_not_fetched(public: Services, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = Fetches(public)
    for name, source in (("gpt2-1M", "openai"), ("../x", "openai"), ("gpt2-124M", "elsewhere")):
        with pytest.raises(UserError, match="Choose one of the GPT-2 sizes"):
            fetches.start(name, source, ONE)
    public.store.memory.budget = GB
    with pytest.raises(UserError, match=r"gpt2-1558M would need \d.\d GB of memory"):
        fetches.start("gpt2-1558M", "openai", ONE)
    monkeypatch.setattr("gpt_demo.paths.free_space", lambda _: 900_000_000)
    with pytest.raises(UserError, match=r"converting gpt2-124M needs 1\.0 GB of disk space, but only 900 MB are free"):
        fetches.start("gpt2-124M", "openai", ONE)
    assert slow.asked == []


def test_a_conversion_is_told_too(services: Services, slow: Slow) -> None:
    fetches = Fetches(services)
    slow.events = [Converting(3, 12)]
    fetches.start("gpt2-124M", "openai", ONE)
    assert slow.told.wait(20)
    data = fetches.data("gpt2-124M")
    assert data is not None
    assert data["title"] == "Converting gpt2-124M"
    assert data["parts"][1] == ("Conversion", 0.25, "3 of 12 tensors")
    assert fetches.labels() == {"gpt2-124M": "converting"}


def test_what_was_left_is_seen_and_deleted(services: Services) -> None:
    fetches = Fetches(services)
    folder = services.store.home / "downloads" / "gpt2-124M-openai"
    folder.mkdir(parents=True)
    (folder / ".checkpoint.part").touch()
    (folder / ".checkpoint.part.json").write_text("{}")
    assert fetches.labels() == {}, "nothing has come"
    (folder / ".checkpoint.part").write_bytes(bytes(2_000_000))
    assert fetches.labels() == {"gpt2-124M": "partial, 2.0 MB"}
    assert rows(services, **fetches.labels())["gpt2-124M"][0] == "partial, 2.0 MB"
    said = estimate(services, None, "gpt2-124M", "fp32")["text"]
    assert "500 MB to download, 2.0 MB already received from OpenAI's release. Loaded" in said
    assert fetches.delete_files("gpt2-124M") == 2_000_002
    assert fetches.labels() == {}


# Uploads --------------------------------------------------------------------------------------------------------------


def test_models_may_be_uploaded_and_texts_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_DEMO_PUBLIC", "0")
    assert launch_options()["max_file_size"] == "8gb"
    monkeypatch.setenv("GPT_DEMO_PUBLIC", "1")
    assert launch_options()["max_file_size"] == "160mb"
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    reading, _ = read(Reading(), UPLOAD, [str(tmp_path / "large.csv")], [], "")
    assert reading.error == "These files have 20.0 MB; the limit is 20 MB. Choose fewer."


# Importing ------------------------------------------------------------------------------------------------------------


def test_imports_are_limited_on_a_public_server_only(public: Services, tmp_path: Path, tiny: Tiny) -> None:
    private = make_services(tmp_path / "private")
    check_import(private, ONE, 10**12)
    private.runs.close()
    with pytest.raises(UserError, match="imports up to 160 MB"):
        check_import(public, ONE, 161_000_000)
    for i in range(Limits().imports):
        check_import(public, ONE, 1000)
        add(public, tiny, f"m{i}", owner=owner_key(ONE), source="import")
    with pytest.raises(UserError, match="keeps 3 imported models per visitor"):
        check_import(public, ONE, 1000)
    check_import(public, OTHER, 1000)


@pytest.mark.parametrize(
    ("path", "name"), [("/x/my model.zip", "my-model"), ("/x/.hidden.pth", "hidden"), ("/x/a.b.safetensors", "a.b")]
)
def test_a_name_is_suggested(path: str, name: str) -> None:
    assert suggest(path, "") == name
    assert suggest(path, "own") != name
