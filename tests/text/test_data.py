"""Uploads of every kind, then windows and batches against the book's loops, DataLoader and the golden figures."""

from __future__ import annotations

import codecs
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from gpt_demo.errors import UserError
from gpt_demo.text.data import (
    Preview,
    Split,
    check_length,
    covering_windows,
    epoch_batches,
    preview,
    random_batch,
    split_text,
    windows,
)
from gpt_demo.text.encodings import check_encoding
from gpt_demo.text.reading import clean_text, csv_columns, read_text, read_texts
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import END_OF_TEXT, byte_level, gpt2

quick = settings(deadline=None, max_examples=50)
# Any text but surrogates and control characters, tab and line ends among it.
PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\t\n\r"), max_size=200)


def normal(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def file(folder: Path, name: str, content: bytes | str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


# Encodings and kinds of file ------------------------------------------------------------------------------------------

SPEECH = "“Naïve café”, she said — for 5 €.\r\nÜber Ærø, garçon…\rEnd"


@pytest.mark.parametrize("suffix", [".txt", ".md", ".MD", ".csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_encoding_of_every_format_reads_the_same(tmp_path: Path, suffix: str, encoding: str) -> None:
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    quoted = 'story\r\n"' + SPEECH + '"\r\n' if suffix == ".csv" else SPEECH
    path = file(tmp_path, "speech" + suffix, marks.get(encoding, b"") + quoted.encode(encoding))
    assert read_text(path) == normal(SPEECH)


def test_latin_1_is_read_where_windows_1252_has_no_such_byte(tmp_path: Path) -> None:
    text = "Él está aquí, señor. " * 20
    assert read_text(file(tmp_path, "a.txt", text, "latin-1")) == text
    assert read_text(file(tmp_path, "b.txt", text.encode("latin-1") + b"\x81")) == text + "\x81"


def test_damaged_utf_8_stays_utf_8(tmp_path: Path) -> None:
    """Cut in the middle of a character, as a download may be: the rest must not turn into mojibake."""
    data = ("Привет, мир. " * 50 + "é").encode()[:-1]
    assert read_text(file(tmp_path, "cut.txt", data)) == "Привет, мир. " * 50 + "\ufffd"


def test_utf_16_of_odd_length_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="damaged"):
        read_text(file(tmp_path, "cut.txt", "half a character".encode("utf-16")[:-1]))


@quick
@given(PLAIN, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.sampled_from([".txt", ".md"]))
def test_any_text_reads_back(text: str, encoding: str, suffix: str) -> None:
    assume(text.strip() and text[0] != "\ufeff" and not text.startswith(("%PDF-", r"{\rtf")))
    with tempfile.TemporaryDirectory() as folder:
        path = file(Path(folder), "any" + suffix, text, encoding)
        assert read_text(path) == normal(text)


@quick
@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_any_table_reads_back(rows: list[tuple[str, str]], separator: str) -> None:
    cells = [[normal(cell) for cell in row] for row in rows]
    assume(any(cell.strip() for row in cells for cell in row))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.csv"
        pd.DataFrame(cells, columns=["first", "second"]).to_csv(path, sep=separator, index=False, quoting=1)
        expected = "\n\n".join("\n".join(filter(None, row)) for row in cells if any(row))
        assert read_text(path, columns=["first", "second"]) == expected


@quick
@given(st.binary(max_size=300), st.sampled_from([".txt", ".csv"]))
def test_any_bytes_give_text_or_a_users_error(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = file(Path(folder), "any" + suffix, data)
        try:
            text = read_text(path)
        except UserError:
            return
        assert text.strip()
        assert "\r" not in text
        assert "\x00" not in text


HOSTILE = {
    "a.txt": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF document"),
    "b.txt": (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml", "an Office document"),
    "c.csv": (b"PK\x03\x04\x14\x00\x06\x00xl/workbook.xml", "an Office document"),
    "d.md": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a PNG picture"),
    "e.txt": (rb"{\rtf1\ansi hello}", "rich text"),
    "f.txt": (b"text with a \x00 in it", "binary data"),
    "g.txt": ("UTF-16 without a mark".encode("utf-16-le"), "binary data"),
    "h.txt": (bytes(range(1, 256)), "binary data"),
    "i.csv": (b"\x01\x02\x03\x04" * 100, "binary data"),
    "j.txt": (b"", "contains no text"),
    "k.txt": (b" \r\n\t\xc2\xa0\n", "contains no text"),
    "l.txt": (b"\xef\xbb\xbf", "contains no text"),
    "m.csv": (b"", "not a well-formed table"),
    "n.csv": (b"a,b\n1,2\n3,4\n", "contains no text"),
    "o.csv": (b"text,label\n", "contains no text"),
    "p.csv": (b'a,b\nx,"never closed\nand so on', "not a well-formed table"),
    "q.csv": (b"a,b\nx,y\nx,y,z,w\n", "not a well-formed table.*line 3"),
    "r.csv": (b"a,b\nx,y,z\n", "more cells than the first line"),
    "s.pdf": (b"%PDF-1.7", "a .pdf file. Only .txt, .md and .csv"),
    "t": (b"text", "without an extension"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_explained(tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    with pytest.raises(UserError, match=message) as caught:
        read_text(file(tmp_path, name, content))
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_unreadable_paths_are_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for path in (tmp_path / "missing.txt", tmp_path / "folder.txt"):
        with pytest.raises(UserError, match="can't be read"):
            read_text(path)


def test_an_upload_goes_by_its_own_name(tmp_path: Path) -> None:
    path = file(tmp_path, "tmp1234", "id;text\n1;one\n2;two\n")
    assert read_text(path, name="story.csv") == "one\n\ntwo"
    assert csv_columns(path, name="story.csv") == ["text"]


def test_a_long_line_without_blanks_is_read(tmp_path: Path) -> None:
    text = "x" * 2_000_000
    assert read_text(file(tmp_path, "a.txt", text)) == text
    assert read_text(file(tmp_path, "a.csv", "text\n" + text)) == text


# Tables ---------------------------------------------------------------------------------------------------------------

TABLE = 'id,title,score,text\n1,One,0.5,"Hello, world"\n2,,-1e3,"two\nlines"\n3,Three,,\n,,,\n'


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_all_text_columns_are_read_unless_some_are_chosen(tmp_path: Path, separator: str) -> None:
    table = pd.DataFrame({"id": ["1", "2"], "a": ["x, y; z", "u"], "b": ["v", ""], "score": ["1.5", ""]})
    path = tmp_path / "table.csv"
    table.to_csv(path, sep=separator, index=False)
    assert csv_columns(path) == ["a", "b"]
    assert read_text(path) == "x, y; z\nv\n\nu"
    assert read_text(path, columns=["b", "id"]) == "v\n1\n\n2"


def test_quoted_cells_keep_commas_and_line_ends(tmp_path: Path) -> None:
    path = file(tmp_path, "table.csv", TABLE)
    assert csv_columns(path) == ["title", "text"]
    assert read_text(path) == "One\nHello, world\n\ntwo\nlines\n\nThree"


def test_words_that_pandas_takes_for_missing_stay_words(tmp_path: Path) -> None:
    assert read_text(file(tmp_path, "a.csv", "word\nNA\nnull\nnan\n007\n")) == "NA\n\nnull\n\nnan\n\n007"


def test_one_column_may_hold_unquoted_commas(tmp_path: Path) -> None:
    assert read_text(file(tmp_path, "a.csv", "text\nHello, you\na; b, c\n")) == "Hello, you\n\na; b, c"


def test_short_rows_are_filled(tmp_path: Path) -> None:
    assert read_text(file(tmp_path, "a.csv", "a,b,c\nx\ny,z\n")) == "x\n\ny\nz"


def test_an_unknown_column_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column body.*id, title, score, text\."):
        read_text(file(tmp_path, "table.csv", TABLE), columns=["text", "body"])


RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. "  # noqa: RUF001
CHINESE = "道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。"  # noqa: RUF001


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (CHINESE, "gb18030"), ("Grüße, naïve café. ", "cp1252")],
)
@pytest.mark.parametrize("times", [1, 30])
def test_other_encodings_are_detected_and_can_be_said(tmp_path: Path, text: str, encoding: str, times: int) -> None:
    path = file(tmp_path, "a.txt", (text * times).encode(encoding))
    assert read_text(path) == text * times
    assert read_text(path, encoding=encoding) == text * times
    assert read_text(path, encoding="cp1253") != text * times, "what is said counts"


def test_an_encoding_that_is_not_known_is_refused_by_name() -> None:
    assert check_encoding("KOI8_R") == "koi8_r"
    with pytest.raises(UserError, match="encoding is 'klingon'; it must be one of utf-8, "):
        check_encoding("klingon")


def test_of_tables_with_different_columns_each_gives_those_it_has(tmp_path: Path) -> None:
    paths = [
        file(tmp_path, "a.csv", "id,text\n1,one"),
        file(tmp_path, "b.csv", "title,body\ntwo,three"),
        file(tmp_path, "c.txt", "four"),
    ]
    assert read_texts(paths, columns=["text", "title", "body"]) == END_OF_TEXT.join(["one", "two\nthree", "four"])
    assert read_texts(paths, columns=["body", "text"]) == END_OF_TEXT.join(["one", "three", "four"])
    with pytest.raises(UserError, match=r"No file has a column story\. The columns there are: id, text, title, body\."):
        read_texts(paths, columns=["text", "story"])
    with pytest.raises(UserError, match=r"b\.csv has none of the columns text, but title, body\."):
        read_texts(paths, columns=["text"])


@pytest.mark.parametrize("by", ["characters", "tokens"])
def test_validation_from_each_file(by: Any) -> None:
    text = END_OF_TEXT.join(["a" * 20, "b" * 10, "c" * 40])
    split = split_text(text, byte_level(), 0.1, by, "each")
    train, val = (byte_level().decode(ids.tolist()) for ids in (split.train, split.val))
    counts = [(train.count(letter), val.count(letter)) for letter in "abc"]
    assert counts == [(18, 2), (9, 1), (36, 4)]
    assert [split_text(text, byte_level(), 0.1, by).val.tolist().count(ord(letter)) for letter in "ab"] == [0, 0]
    assert len(split.train) + len(split.val) == 72 + (by == "characters") * 2
    with pytest.raises(UserError, match="val_from is 'middle'"):
        split_text(text, byte_level(), 0.1, by, "middle")  # type: ignore[arg-type]


# Several files, pasted text -------------------------------------------------------------------------------------------


def test_files_are_joined_by_end_of_text_alone(tmp_path: Path) -> None:
    paths = [
        file(tmp_path, "a.txt", "one\n"),
        file(tmp_path, "b.csv", "id,text\n1,two"),
        file(tmp_path, "c.md", "three"),
    ]
    text = read_texts(paths, columns=["text"])
    assert text == f"one\n{END_OF_TEXT}two{END_OF_TEXT}three"
    assert gpt2().encode(text).count(gpt2().end_of_text) == 2
    assert read_texts(paths[:1]) == "one\n"
    with pytest.raises(UserError, match="no file"):
        read_texts([])


def test_pasted_text_is_cleaned() -> None:
    assert clean_text("\ufeffa\r\nb\rc\ud800 \ud83d\udc4d") == "a\nb\nc\ufffd 👍"
    for nothing in ("", " \r\n\t"):
        with pytest.raises(UserError, match="empty"):
            clean_text(nothing)


# Split ----------------------------------------------------------------------------------------------------------------


def test_the_golden_windows(verdict: str, golden: dict[str, Any]) -> None:
    figures = golden["windows"]
    split = split_text(verdict, gpt2(), 0.1, "characters")
    train = list(epoch_batches(*windows(split.train, 256, 256), 2, shuffle=True, drop_last=True))
    val = list(epoch_batches(*windows(split.val, 256, 256), 2, shuffle=False, drop_last=False))
    assert (len(train), len(val)) == (figures["train_batches"], figures["val_batches"])
    assert all([*x.shape] == [*y.shape] == figures["batch_shape"] for x, y in train + val)
    assert sum(x.numel() for x, _ in train) == figures["train_tokens"]
    assert sum(x.numel() for x, _ in val) == figures["val_tokens"]


@quick
@given(PLAIN, st.floats(0, 0.5))
def test_a_split_loses_nothing(text: str, val_fraction: float) -> None:
    by_characters = split_text(text, gpt2(), val_fraction, "characters")
    cut = int((1 - val_fraction) * len(text))
    assert gpt2().decode(by_characters.train.tolist()) == text[:cut]
    assert gpt2().decode(by_characters.val.tolist()) == text[cut:]
    by_tokens = split_text(text, gpt2(), val_fraction, "tokens")
    ids = gpt2().encode(text)
    assert [*by_tokens.train.tolist(), *by_tokens.val.tolist()] == ids
    assert len(by_tokens.train) == int((1 - val_fraction) * len(ids))
    assert by_tokens.train.dtype == by_characters.val.dtype == torch.int64


def test_nothing_is_held_out_at_zero() -> None:
    for split in (split_text("abc", byte_level(), 0, "characters"), split_text("abc", byte_level(), 0, "tokens")):
        assert split.train.tolist() == [97, 98, 99]
        assert split.val.shape == (0,)


def test_impossible_splits_are_refused() -> None:
    for val_fraction in (-0.1, 0.51, float("nan")):
        with pytest.raises(UserError, match="val_fraction"):
            split_text("abc", byte_level(), val_fraction, "tokens")
    with pytest.raises(UserError, match="characters, tokens"):
        split_text("abc", byte_level(), 0.1, "lines")  # type: ignore[arg-type]


def test_preview_counts_the_golden_tokens(verdict: str, golden: dict[str, Any]) -> None:
    shown = preview(verdict, gpt2(), 0.1, "characters")
    assert (shown.characters, shown.tokens) == (golden["text"]["characters"], golden["text"]["gpt2_tokens"])


def test_preview_counts_and_shows_the_first_lines() -> None:
    shown = preview(sample_story(), gpt2(), 0.1, "characters")
    split = split_text(sample_story(), gpt2(), 0.1, "characters")
    assert (shown.characters, shown.tokens) == (len(sample_story()), len(gpt2().encode(sample_story())))
    assert (shown.train_tokens, shown.val_tokens) == (len(split.train), len(split.val))
    assert preview("a\nb\nc", byte_level(), 0.2, "tokens", n_lines=2) == Preview("a\nb", 5, 5, 4, 1)
    assert len(preview("x" * 5000, byte_level(), 0, "tokens").head) == 1000


def test_a_short_text_is_explained() -> None:
    ids = torch.arange(9)
    for split in (Split(ids, ids[:0]), Split(ids, ids[:2])):
        check_length(split, 8)
    with pytest.raises(UserError, match=r"9 tokens, but n_ctx 9 needs at least 10\..*n_ctx of at most 8"):
        check_length(Split(ids, ids), 9)
    with pytest.raises(UserError, match="1 token, but at least 2"):
        check_length(Split(ids, ids[:1]), 8)


# Windows and batches --------------------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 15))
def test_windows_are_those_of_the_books_loop(n: int, length: int, stride: int) -> None:
    ids = torch.randperm(n)
    inputs, targets = windows(ids, length, stride)
    starts = range(0, n - length, stride)
    assert inputs.shape == targets.shape == (len(starts), length)
    for row, i in enumerate(starts):
        assert inputs[row].tolist() == ids[i : i + length].tolist()
        assert targets[row].tolist() == ids[i + 1 : i + length + 1].tolist()


def test_windows_are_views() -> None:
    ids = torch.arange(100)
    inputs, targets = windows(ids, 10, 1)
    assert inputs.data_ptr() == ids.data_ptr()
    assert targets.data_ptr() == ids[1:].data_ptr()
    for length, stride in ((0, 1), (1, 0), (-1, 5)):
        with pytest.raises(UserError, match="at least 1"):
            windows(ids, length, stride)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_epochs_are_those_of_a_plain_dataloader(shuffle: bool, drop_last: bool, batch_size: int) -> None:
    """The same batches, and the global generator left in the same state, over two epochs."""
    inputs, targets = windows(torch.arange(1, 90), 6, 4)
    torch.manual_seed(123)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size, shuffle=shuffle, drop_last=drop_last, num_workers=0)
    expected = [(x, y, torch.get_rng_state()) for _ in range(2) for x, y in loader]
    after = torch.get_rng_state()
    torch.manual_seed(123)
    batches = [
        (x, y, torch.get_rng_state())
        for _ in range(2)
        for x, y in epoch_batches(inputs, targets, batch_size, shuffle, drop_last)
    ]
    assert torch.equal(torch.get_rng_state(), after)
    assert len(batches) == len(expected)
    for ours, theirs in zip(batches, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_no_windows_give_no_batches() -> None:
    empty = torch.empty(0, 4, dtype=torch.int64)
    assert list(epoch_batches(empty, empty, 2, shuffle=True, drop_last=False)) == []


def test_random_batches_are_those_of_randint() -> None:
    ids = torch.randperm(50)
    torch.manual_seed(5)
    starts = torch.randint(50 - 8, (400,)).tolist()
    torch.manual_seed(5)
    x, y = random_batch(ids, 8, 400)
    assert torch.equal(x, torch.stack([ids[i : i + 8] for i in starts]))
    assert torch.equal(y, torch.stack([ids[i + 1 : i + 9] for i in starts]))
    assert set(starts) == set(range(42))
    assert random_batch(torch.arange(9), 8, 1)[1].tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]


@quick
@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 5))
def test_covering_windows_score_every_token_but_the_first_once(n: int, length: int, batch_size: int) -> None:
    batches = list(covering_windows(torch.arange(n), length, batch_size))
    assert [t for _, y in batches for t in y.flatten().tolist()] == list(range(1, n))
    for x, y in batches:
        assert torch.equal(x + 1, y)
        assert x.shape[0] <= batch_size
        assert 1 <= x.shape[1] <= length
