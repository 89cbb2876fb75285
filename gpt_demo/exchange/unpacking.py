"""The files of one model from a zip, in whatever folder they are."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from gpt_demo.errors import UserError, cut, quoted
from gpt_demo.paths import check_space

MAX_ZIP_BYTES = 8_000_000_000  # what a zip may hold: a model of 1558M in float32 takes 6.2 GB
MAX_TEXT_BYTES = 20_000_000  # what config.json or another file may have that is read as a whole; GPT-2's have 1 MB
_WEIGHTS = re.compile(r".*\.(safetensors|bin|pth?)|model\.ckpt\.data-[\w-]+")
_IN_ZIP = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|"
    r"added_tokens\.json|vocab\.json|merges\.txt|vocab\.txt|model\.safetensors\.index\.json|"
    r"pytorch_model\.bin\.index\.json|[\w.-]+\.safetensors|pytorch_model[\w-]*\.bin|[\w-]+\.pth?|checkpoint|"
    r"encoder\.json|hparams\.json|vocab\.bpe|model\.ckpt\.[\w-]+"
)


def unpack(archive: Path, folder: Path) -> Path:
    """Take the files of one model out of a zip into `folder`; `folder`. Raises UserError.

    The model is what lies highest in the zip: what folders below it hold (onnx/, say) is left. Names that belong to no
    model are left, so nothing is written elsewhere.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = _model_files(packed, archive)
            _check_size(members, archive, folder)
            for name, member in members.items():
                with packed.open(member) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except UserError:
        raise
    except zipfile.BadZipFile:
        raise UserError(
            f"{archive.name} can't be unpacked: it is no zip, or is cut off or damaged. Copy or pack it again."
        ) from None
    except Exception as error:  # a dozen kinds, depending on what is damaged and how it was packed
        reason = cut(str(error)) or type(error).__name__
        raise UserError(f"{archive.name} can't be unpacked ({reason}). Pack the model's folder again.") from error
    return folder


def _model_files(packed: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    folders: dict[PurePosixPath, dict[str, zipfile.ZipInfo]] = {}
    for member in packed.infolist():
        path = PurePosixPath(member.filename)
        if member.is_dir() or path.parts[:1] == ("__MACOSX",) or not _IN_ZIP.fullmatch(path.name):
            continue
        files = folders.setdefault(path.parent, {})
        if path.name in files:
            raise UserError(f"{archive.name} holds {cut(path.name)} twice. Pack one model at a time.")
        if member.flag_bits & 1:
            raise UserError(f"{archive.name} is locked with a password. Pack the model's folder without one.")
        files[path.name] = member
    if not folders:
        raise UserError(f"{archive.name} holds no model: no config.json and no weights are in it.")
    depth = min(len(path.parts) for path in folders)
    highest = [path for path in folders if len(path.parts) == depth]
    if len(highest) > 1:
        names = " and ".join(quoted(str(path)) for path in sorted(highest)[:2])
        raise UserError(f"{archive.name} holds more than one model, in {names}. Pack one at a time.")
    return folders[highest[0]]


def _check_size(members: Mapping[str, zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    for name, member in members.items():
        if member.file_size > MAX_TEXT_BYTES and not _WEIGHTS.fullmatch(name):
            raise UserError(
                f"{archive.name} holds a {cut(name)} of {member.file_size / 1e6:,.0f} MB; no model's is larger than "
                f"{MAX_TEXT_BYTES / 1e6:g} MB. Pack the model's folder again."
            )
    needed = sum(member.file_size for member in members.values())
    if needed > MAX_ZIP_BYTES:
        raise UserError(f"{archive.name} holds {needed / 1e9:.1f} GB; {MAX_ZIP_BYTES / 1e9:g} GB can be imported.")
    check_space(folder, needed, f"What {archive.name} holds")
