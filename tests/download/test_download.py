"""Downloads end with the right bytes or with a sentence, whatever the host does."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Fault, FileServer

from gpt_demo.download import files as download
from gpt_demo.download import transfer
from gpt_demo.download.files import DownloadFailed, RemoteFile, fetch_all
from gpt_demo.download.part_file import PartFile, size_of
from gpt_demo.download.transfer import Facts
from gpt_demo.errors import UserError
from gpt_demo.events import Downloading

DATA = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
PATH = "/a/model.bin"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.0,) * 5)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({PATH: DATA}) as server:
        yield server


def fetch(server: FileServer, folder: Path, **more: object) -> list[Downloading]:
    return list(fetch_all([RemoteFile("model.bin", (server.url + PATH,), **more)], folder))  # type: ignore[arg-type]


def assert_whole(folder: Path, data: bytes = DATA) -> None:
    """The file is right, and nothing else is left but its lock."""
    assert (folder / "model.bin").read_bytes() == data
    assert {path.name for path in folder.iterdir()} <= {"model.bin", ".model.bin.lock"}


def part_of(folder: Path) -> int:
    path = folder / ".model.bin.part"
    return path.stat().st_size if path.exists() else 0


def starts(server: FileServer, path: str = PATH) -> list[int]:
    """Where each GET asked to begin."""
    return [r.start for r in server.requests if r.method == "GET" and r.path == path]


# All is well ----------------------------------------------------------------------------------------------------------


def test_files_come_whole_and_only_once(tmp_path: Path) -> None:
    files = {f"/{i}": random.Random(i).randbytes(size) for i, size in enumerate([0, 1, 70_000, 300_000])}
    with FileServer(files) as server:
        remote = [RemoteFile(path[1:], (server.url + path,)) for path in files]
        events = list(fetch_all(remote, tmp_path / "new" / "folder"))
        for path, data in files.items():
            assert (tmp_path / "new" / "folder" / path[1:]).read_bytes() == data
        assert server.count("GET") == 4  # an empty one is asked for once, because no length of 0 is believed from HEAD
        again = list(fetch_all(remote, tmp_path / "new" / "folder"))
        assert server.count("GET") == 5
    total = sum(map(len, files.values()))
    last = {event.file: event for event in events}
    assert [(e.received, e.total) for e in last.values()] == [(len(data), len(data)) for data in files.values()]
    assert (events[-1].all_received, events[-1].all_total) == (total, total) == (again[-1].all_received, total)


def test_progress_never_runs_backwards_nor_beyond(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "EVENT_SECONDS", 0.0)
    events = fetch(server, tmp_path)
    received = [event.received for event in events]
    assert len(received) > 5
    assert received == sorted(received)
    assert {event.total for event in events} == {len(DATA)}
    assert all(event.received == event.all_received for event in events)


def test_events_are_few(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "EVENT_SECONDS", 1000.0)
    events = fetch(server, tmp_path)
    assert [event.received for event in events] == [0, 0, len(DATA)]  # it is asked for, it begins, it is here


def test_what_is_known_beforehand_needs_no_request(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(DATA)
    events = fetch(server, tmp_path, size=len(DATA), checksum="sha256:" + hashlib.sha256(DATA).hexdigest().upper())
    assert events[-1].received == len(DATA)
    assert not server.requests


@pytest.mark.parametrize("old", [OTHER, DATA[:-1], b""])
def test_a_file_that_is_not_the_one_is_replaced(old: bytes, server: FileServer, tmp_path: Path) -> None:
    server.headers[PATH] = {"Content-MD5": MD5}
    (tmp_path / "model.bin").write_bytes(old)
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_a_file_of_the_right_length_only_is_replaced(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(OTHER)
    fetch(server, tmp_path, size=len(DATA), checksum="md5:" + hashlib.md5(DATA).hexdigest())
    assert_whole(tmp_path)


@pytest.mark.parametrize("status", [403, 405, 501])
def test_hosts_without_head(status: int, server: FileServer, tmp_path: Path) -> None:
    server.always[PATH] = Fault(status=status, head=True)
    assert fetch(server, tmp_path)[0].total == len(DATA)
    assert_whole(tmp_path)


def test_a_checksum_of_a_part_is_not_that_of_the_file(server: FileServer, tmp_path: Path) -> None:
    server.always[PATH] = Fault(status=405, head=True)
    first = base64.b64encode(hashlib.md5(DATA[:1]).digest()).decode()
    server.faults[PATH] = [Fault(headers={"Content-MD5": first})]
    fetch(server, tmp_path)
    assert starts(server) == [0, 0]
    assert_whole(tmp_path)


def test_a_host_that_says_no_length_but_where_the_end_is(server: FileServer, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(chunked=True, head=True), Fault(chunked=True)]
    events = fetch(server, tmp_path)
    assert (events[0].total, events[-1].total) == (None, len(DATA))
    assert_whole(tmp_path)


# Going on -------------------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 150_000), max_size=6))
def test_broken_connections_resume(cuts: list[int]) -> None:
    """Each attempt but the last gives so many bytes more; none is asked for twice."""
    import tempfile

    with tempfile.TemporaryDirectory() as name, FileServer({PATH: DATA}) as server:
        server.faults[PATH] = [Fault(cut=cut) for cut in cuts]
        fetch(server, Path(name))
        assert_whole(Path(name))
        reached = [0]
        for cut in cuts:
            if reached[-1] + cut < len(DATA):
                reached.append(reached[-1] + cut)
            else:
                break
        assert starts(server) == reached


def test_a_closed_download_goes_on_later(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "EVENT_SECONDS", 0.0)
    server.always[PATH] = Fault(stall=100_000)
    events = fetch_all([RemoteFile("model.bin", (server.url + PATH,))], tmp_path)
    assert next(event for event in events if event.received == 100_000).total == len(DATA)
    events.close()  # type: ignore[attr-defined]
    assert part_of(tmp_path) == 100_000
    assert not (tmp_path / "model.bin").exists()
    server.always.clear()
    first = fetch(server, tmp_path)[0]
    assert first.received == 100_000
    assert starts(server) == [0, 100_000]
    assert_whole(tmp_path)


def test_what_is_here_already_does_not_look_like_what_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed is what came between two events, so the first one counts all that an earlier download has left."""
    monkeypatch.setattr(download, "EVENT_SECONDS", 0.0)
    files = {"/whole": OTHER, "/half": DATA}
    with FileServer(files) as server:
        remote = [RemoteFile(path[1:], (server.url + path,)) for path in files]
        for event in (events := fetch_all(remote, tmp_path)):
            if event.file == "half" and event.received >= len(DATA) // 2:
                events.close()  # type: ignore[attr-defined]
                break
        here = len(OTHER) + (tmp_path / ".half.part").stat().st_size
        assert next(iter(fetch_all(remote, tmp_path))).all_received == here


def test_a_stalled_connection_is_given_up(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "READ_TIMEOUT", 0.1)
    server.faults[PATH] = [Fault(stall=50_000), Fault(stall=0)]
    fetch(server, tmp_path)
    assert starts(server) == [0, 50_000, 50_000]
    asked = [r.headers for r in server.requests if r.start]
    assert all(headers["If-Range"].startswith('"') for headers in asked)
    assert all(r.headers["Accept-Encoding"] == "identity" for r in server.requests)
    assert_whole(tmp_path)
    server.always[PATH] = Fault(stall=0)
    with pytest.raises(DownloadFailed, match="did not answer in time"):
        fetch(server, tmp_path / "other")


def test_without_range_it_begins_anew(server: FileServer, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(cut=1000), Fault(cut=200_000, no_range=True), Fault(no_range=True)]
    fetch(server, tmp_path)
    assert starts(server) == [0, 1000, 200_000]
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    "answer", [{"Content-Range": "bytes 7-9/300000"}, {"Content-Range": "bytes 1000-1/5"}, {"ETag": '"x"'}]
)
def test_an_answer_about_other_bytes_begins_anew(answer: dict[str, str], server: FileServer, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(cut=1000), Fault(headers=answer)]
    fetch(server, tmp_path)
    assert starts(server) == [0, 1000, 0]
    assert_whole(tmp_path)


@pytest.mark.parametrize("tag", ['"two"', 'W/"two"', None])
def test_a_file_that_changes_on_the_host_begins_anew(tag: str | None, server: FileServer, tmp_path: Path) -> None:
    """Between two attempts, with another ETag or, without one, another date."""
    new = {"ETag": tag} if tag else {"Last-Modified": "Fri, 20 Nov 2026 00:00:00 GMT"}
    old = {"ETag": tag.replace("two", "one")} if tag else {"Last-Modified": "Thu, 19 Nov 2026 00:00:00 GMT"}
    server.headers[PATH] = old
    server.faults[PATH] = [Fault(cut=1000)]
    events = fetch_all([RemoteFile("model.bin", (server.url + PATH,))], tmp_path)
    next(events)
    server.files[PATH], server.headers[PATH] = OTHER, new
    list(events)
    assert_whole(tmp_path, OTHER)


def test_a_part_of_another_version_is_not_used(server: FileServer, tmp_path: Path) -> None:
    server.always[PATH] = Fault(cut=0)
    server.faults[PATH] = [Fault(cut=1000)]
    with pytest.raises(DownloadFailed, match="1,000 bytes already downloaded are kept"):
        fetch(server, tmp_path)
    server.always.clear()
    for data in (OTHER, OTHER + b"x"):
        server.files[PATH] = data
        fetch(server, tmp_path)
        assert_whole(tmp_path, data)
    assert starts(server)[-2:] == [0, 0]


@pytest.mark.parametrize("mine", [b"", b"{", b"[]", b'{"url": 3}', b'{"url": "x", "facts": {"size": "y"}}'])
def test_a_part_nobody_vouches_for_is_not_used(mine: bytes, server: FileServer, tmp_path: Path) -> None:
    (tmp_path / ".model.bin.part").write_bytes(OTHER[:1000])
    (tmp_path / ".model.bin.part.json").write_bytes(mine)
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_a_part_that_is_whole_needs_its_name_only(server: FileServer, tmp_path: Path) -> None:
    """The process died between the last byte and the renaming."""
    server.headers[PATH] = {"Content-MD5": MD5, "ETag": '"one"'}
    part = PartFile(tmp_path / "model.bin")
    part.prepare(server.url + PATH, Facts(len(DATA), '"one"'))
    part.path.write_bytes(DATA)
    fetch(server, tmp_path)
    assert server.count("GET") == 0
    assert_whole(tmp_path)


ONE, TWO = "http://127.0.0.1/one", "http://127.0.0.1/two"
MD5_ONE, MD5_TWO = {"md5": "1" * 32}, {"md5": "2" * 32}


@pytest.mark.parametrize(
    ("old", "url", "new", "kept"),
    [
        (Facts(99, '"a"'), ONE, Facts(99, '"a"'), True),
        (Facts(99, '"a"'), ONE, Facts(99, '"b"'), False),
        (Facts(99, '"a"'), ONE, Facts(98, '"a"'), False),
        (Facts(99, '"a"'), TWO, Facts(99, '"a"'), False),
        (Facts(None, '"a"'), ONE, Facts(99, '"a"'), True),
        (Facts(None, '"a"'), ONE, Facts(9, '"a"'), False),  # more bytes than the file has
        (Facts(99, None, "Mon"), ONE, Facts(99, None, "Mon"), True),
        (Facts(99, None, "Mon"), ONE, Facts(99, None, "Tue"), False),
        (Facts(99, '"a"', "Mon"), ONE, Facts(99, '"b"', "Mon"), False),
        (Facts(99), ONE, Facts(99), True),
        (Facts(), ONE, Facts(), False),
        (Facts(99, '"a"', None, MD5_ONE), TWO, Facts(99, '"b"', None, MD5_ONE), True),
        (Facts(99, '"a"', None, MD5_ONE), TWO, Facts(None, '"b"', None, MD5_ONE), False),
        (Facts(99, '"a"', None, MD5_ONE), ONE, Facts(99, '"a"', None, MD5_TWO), False),
        (Facts(99, '"a"', None, MD5_ONE), TWO, Facts(99, '"a"', None, {"sha1": "1" * 40}), False),
    ],
)
def test_when_a_part_is_gone_on_with(old: Facts, url: str, new: Facts, kept: bool, tmp_path: Path) -> None:
    part = PartFile(tmp_path / "x")
    part.prepare(ONE, old)
    part.path.write_bytes(bytes(10))
    PartFile(tmp_path / "x").prepare(url, new)
    assert part.size == (10 if kept else 0)


# Never done when it is not --------------------------------------------------------------------------------------------

ALWAYS_WRONG = {
    "ends too early": (Fault(short=1), "instead of|was lost"),
    "says too little": (Fault(less=1), "sent 299,999 bytes instead of 300,000"),
    "sends too much": (Fault(more=b"x"), "sent 300,001 bytes instead of 300,000"),
    "sends too much, chunked": (Fault(more=b"x", chunked=True), "sent 300,001 bytes instead of 300,000"),
    "ends too early, chunked": (Fault(cut=0, chunked=True), "was lost"),
    "ends cleanly too early": (Fault(body=DATA[:-1], chunked=True), "sent 299,999 bytes instead of 300,000"),
    "wrong bytes": (Fault(body=OTHER, headers={"Content-MD5": MD5}), "checksum"),
    "HTML": (Fault(headers={"Content-Type": "text/html; charset=utf-8"}), "an HTML page instead"),
    "HTML in disguise": (Fault(body=b"\n<!DOCTYPE html><p>Sign in" + bytes(299_974)), "an HTML page instead"),
    "404": (Fault(status=404), "answered 404 Not Found"),
    "403": (Fault(status=403), "answered 403 Forbidden"),
    "429": (Fault(status=429), "Too many requests"),
    "500": (Fault(status=500), "answered 500 Internal Server Error"),
    "compressed": (Fault(headers={"Content-Encoding": "gzip"}), "sends the file compressed"),
    "redirects in circles": (Fault(redirect=PATH), "redirects in a loop"),
    "redirects to a file": (Fault(redirect="file:///etc/passwd"), "not an http or https address"),
    "nothing": (Fault(cut=0), "was lost"),
}  # fmt: skip


@pytest.mark.parametrize("what", ALWAYS_WRONG)
def test_a_host_that_is_always_wrong(what: str, server: FileServer, tmp_path: Path) -> None:
    fault, sentence = ALWAYS_WRONG[what]
    if what == "wrong bytes":
        server.headers[PATH] = {"Content-MD5": MD5}
    server.always[PATH] = fault
    with pytest.raises(DownloadFailed, match=sentence) as error:
        fetch(server, tmp_path)
    assert "127.0.0.1:" in str(error.value) or "not an http" in str(error.value)
    assert str(error.value).startswith("model.bin could not be downloaded: ")
    assert not (tmp_path / "model.bin").exists()
    assert server.count("GET") <= 12
    server.always.clear()
    fetch(server, tmp_path)  # and once the host is well, so is the download
    assert_whole(tmp_path)


def test_without_any_sign_of_the_end_nothing_is_done(server: FileServer, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(no_length=True, head=True), Fault(no_length=True, cut=1000)]
    with pytest.raises(DownloadFailed, match="does not report the file's length"):
        fetch(server, tmp_path)


@pytest.mark.parametrize("status", [404, 410, 403, 500])
def test_how_often_a_host_is_asked(status: int, server: FileServer, tmp_path: Path) -> None:
    server.always[PATH] = Fault(status=status)
    with pytest.raises(DownloadFailed):
        fetch(server, tmp_path)
    assert server.count("GET") == (5 if status >= 500 else 1)


def test_trouble_that_passes(server: FileServer, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(status=500, head=True), *[Fault(status=503)] * 4]
    fetch(server, tmp_path)
    assert_whole(tmp_path)


CHECKSUMS = {
    "md5 as ETag": {"ETag": f'"{hashlib.md5(DATA).hexdigest()}"'},
    "sha256 as ETag": {"ETag": f'"{hashlib.sha256(DATA).hexdigest()}"'},
    "sha1": {"x-bz-content-sha1": hashlib.sha1(DATA).hexdigest()},
    "md5 of a blob": {"x-ms-blob-content-md5": MD5},
    "Content-MD5": {"Content-MD5": MD5},
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_checksums_of_the_host(name: str, server: FileServer, tmp_path: Path) -> None:
    server.headers[PATH] = CHECKSUMS[name]
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    server.always[PATH] = Fault(body=OTHER)
    with pytest.raises(DownloadFailed, match="checksum"):
        fetch(server, tmp_path / "other")
    assert part_of(tmp_path / "other") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"x-bz-content-sha1": "none"},
        {"x-bz-content-sha1": "unverified:" + "0" * 40},
        {"ETag": 'W/"' + "0" * 32 + '"'},
        {"ETag": '"' + "0" * 32 + '-3"'},
        {"ETag": '"' + "0" * 32 + '"', "Content-MD5": MD5},
        {"Content-MD5": "no base64"},
    ],
)
def test_what_is_no_checksum(headers: dict[str, str], server: FileServer, tmp_path: Path) -> None:
    server.headers[PATH] = headers
    server.faults[PATH] = [Fault(cut=1000)]
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_what_is_known_beforehand_holds(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="sent 300,000 bytes instead of 5"):
        fetch(server, tmp_path, size=5)
    with pytest.raises(DownloadFailed, match="checksum"):
        fetch(server, tmp_path, checksum="sha256:" + "0" * 64)
    server.headers[PATH] = {"ETag": '"' + "0" * 64 + '"'}  # looks like a checksum, but a better one is known
    fetch(server, tmp_path, checksum="sha1:" + hashlib.sha1(DATA).hexdigest())
    assert_whole(tmp_path)


def test_bytes_that_do_not_belong_together(server: FileServer, tmp_path: Path) -> None:
    """Resumed without anything to tell the versions apart, the sum is wrong: it begins anew, once."""
    server.headers[PATH] = {"Content-MD5": MD5, "ETag": '"same"'}
    server.faults[PATH] = [Fault(body=OTHER, cut=1000)]
    fetch(server, tmp_path)
    assert starts(server) == [0, 1000, 0]
    assert_whole(tmp_path)


# Several hosts --------------------------------------------------------------------------------------------------------


def closed_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


def test_the_next_host_is_tried(server: FileServer, tmp_path: Path) -> None:
    dead = closed_port()
    urls = (dead + PATH, server.url + "/gone", server.url + PATH)
    list(fetch_all([RemoteFile("model.bin", urls)], tmp_path))
    assert_whole(tmp_path)
    assert server.count("HEAD", PATH) == 1
    with pytest.raises(DownloadFailed, match="refused the connection") as error:
        list(fetch_all([RemoteFile("b", urls[:2])], tmp_path))
    assert "answered 404" in str(error.value)
    assert dead[7:] in str(error.value)


def test_a_host_in_trouble_is_asked_last(server: FileServer, tmp_path: Path) -> None:
    """Once for the first file, and no more for the others while another host serves them."""
    server.always["/busy"] = Fault(status=500)
    server.faults["/busy"] = [Fault(status=500, head=True)] * 9
    files = [
        RemoteFile(name, (f"{server.url.replace('127.0.0.1', 'localhost')}/busy", server.url + PATH)) for name in "abc"
    ]
    list(fetch_all(files, tmp_path))
    assert server.count("HEAD", "/busy") == 1
    assert server.count("GET", "/busy") == 0
    assert server.count("GET", PATH) == 3


def test_a_host_that_breaks_down_midway(server: FileServer, tmp_path: Path) -> None:
    """What came from it is only used for another host's file if length and checksum say that it is the same."""
    remote = RemoteFile("model.bin", (server.url + PATH, server.url + "/backup"))
    for same, begins in ((False, 0), (True, 1000)):
        server.files["/backup"] = DATA if same else OTHER
        server.requests.clear()
        server.headers = {path: {"Content-MD5": MD5} for path in (PATH, "/backup")}
        if not same:  # the hosts number their versions alike
            server.headers = {path: {"ETag": '"1"'} for path in (PATH, "/backup")}
        server.faults[PATH] = [Fault(cut=1000)]
        server.always[PATH] = Fault(status=500)
        folder = tmp_path / str(same)
        list(fetch_all([remote], folder))
        assert starts(server, "/backup") == [begins]
        assert_whole(folder, DATA if same else OTHER)


def test_a_name_that_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"the host no-such-host\.invalid was not found"):
        list(fetch_all([RemoteFile("x", ("http://no-such-host.invalid/x",))], tmp_path))


@pytest.mark.parametrize("url", ["", "x", "ftp://127.0.0.1/x", "http://", "http://[", "http://a b/"])
def test_what_is_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed):
        list(fetch_all([RemoteFile("x", (url,))], tmp_path))
    with pytest.raises(DownloadFailed, match="has no address"):
        list(fetch_all([RemoteFile("x", ())], tmp_path))


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/x", "a\\b"])
def test_names_stay_in_the_folder(name: str) -> None:
    with pytest.raises(UserError):
        RemoteFile(name, ("http://127.0.0.1/",))


def test_secrets_stay_with_their_host(server: FileServer, tmp_path: Path) -> None:
    """localhost is another host than 127.0.0.1."""
    secret = {"Authorization": "Bearer secret", "X-Token": "secret"}
    elsewhere = f"http://localhost:{server.port}/elsewhere"
    server.files |= {"/elsewhere": DATA, "/here": DATA}
    server.faults["/elsewhere"] = [Fault(cut=1000)]
    server.always = {PATH: Fault(redirect=elsewhere), "/first": Fault(redirect="/here")}
    server.files["/first"] = b"replaced by the redirect"
    fetch(server, tmp_path, headers=secret)
    assert_whole(tmp_path)
    assert starts(server, "/elsewhere") == [0, 1000]
    list(fetch_all([RemoteFile("x", (server.url + "/first",), headers=secret)], tmp_path))
    sent = {r.path: "secret" in str(r.headers) for r in server.requests if r.method == "GET"}
    assert sent == {PATH: True, "/elsewhere": False, "/first": True, "/here": True}


# The disk, and others -------------------------------------------------------------------------------------------------


def test_room_on_the_disk_is_checked_first(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = [RemoteFile(name, (server.url + PATH,)) for name in ("a", "b", "c")]
    (tmp_path / "a").write_bytes(DATA)
    monkeypatch.setattr("gpt_demo.paths.free_space", lambda folder: 599_999)
    with pytest.raises(UserError, match=r"needs 0\.6 MB of disk space, but only 0\.6 MB are free"):
        list(fetch_all(remote, tmp_path))
    assert server.count("GET") == 0
    monkeypatch.setattr("gpt_demo.paths.free_space", lambda folder: 600_000)
    list(fetch_all(remote, tmp_path))
    assert (tmp_path / "c").read_bytes() == DATA


def test_a_disk_that_can_not_be_written_to(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadFailed, match="can't be written"):
        fetch(server, tmp_path / "file")

    def full(self: PartFile) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartFile, "finish", full)
    with pytest.raises(DownloadFailed, match="No space left on device"):
        fetch(server, tmp_path)


def test_two_at_once_share_one_download(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "EVENT_SECONDS", 0.0)
    server.faults[PATH] = [Fault(stall=100_000)]
    remote = [RemoteFile("model.bin", (server.url + PATH,))]
    first, second = fetch_all(remote, tmp_path), fetch_all(remote, tmp_path)
    next(event for event in first if event.received == 100_000)
    seen = next(event for event in second if event.received)  # waits, and shows how far the other one is
    assert seen.received == 100_000
    assert server.count("GET") == 1
    first.close()  # type: ignore[attr-defined]
    list(second)  # takes over
    assert starts(server) == [0, 100_000]
    assert_whole(tmp_path)


def test_many_threads_fetch_a_file_once(server: FileServer, tmp_path: Path) -> None:
    last: list[Downloading] = []
    threads = [threading.Thread(target=lambda: last.append(fetch(server, tmp_path)[-1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.received for event in last] == [len(DATA)] * 4
    assert server.count("GET") == 1
    assert_whole(tmp_path)


def test_a_record_says_where_the_part_comes_from(server: FileServer, tmp_path: Path) -> None:
    server.always[PATH] = Fault(cut=0)
    server.faults[PATH] = [Fault(cut=1000)]
    with pytest.raises(DownloadFailed):
        fetch(server, tmp_path)
    record = json.loads((tmp_path / ".model.bin.part.json").read_text())
    assert record["url"] == server.url + PATH
    assert record["facts"]["size"] == len(DATA)


def test_a_part_file_may_vanish_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that fetches the same file gives it its name just then."""
    monkeypatch.setattr(Path, "is_file", lambda _path: True)
    assert size_of(tmp_path / "gone") is None
