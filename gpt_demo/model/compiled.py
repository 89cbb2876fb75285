"""product.cpp, compiled for this processor: in the background when it is first wanted, once for each machine."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.paths import data_home, writing

SOURCE = Path(__file__).with_name("product.cpp")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
LANES = 16  # numbers a row must be a multiple of
SECONDS = 120  # a compilation that takes longer has failed; two are usual
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.int8: "int8"}


class Product:
    """y = W x by the compiled library."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._functions = {dtype: getattr(self._library, name) for dtype, name in NAMES.items()}
        for function in self._functions.values():
            function.argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_long] * 3 + [ctypes.c_int]
            function.restype = None

    def __call__(self, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        """x (B, in) float32 -> (B, out) float32. All contiguous on the CPU; weight (out, in) of a type in NAMES,
        scale and bias (out,) float32."""
        B, (out, width) = len(x), weight.shape
        y = torch.empty(B, out)
        places = (None if t is None else t.data_ptr() for t in (weight, scale, bias, x, y))
        self._functions[weight.dtype](*places, out, width, B, torch.get_num_threads())
        return y


def build(folder: Path) -> Path:
    """The library in `folder`, compiled unless it is there. Raises UserError if that can't be done here."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise UserError("There is no C++ compiler here. Install g++ or clang++.")
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join((*FLAGS, _processor())).encode()).hexdigest()[:16]
    target = folder / f"product-{key}.so"
    if not target.exists():
        with writing("What is compiled"):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as fresh:
                _run([compiler, *FLAGS, str(SOURCE), "-o", str(Path(fresh, "new.so"))])
                Path(fresh, "new.so").replace(target)
    return target


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip() or str(error)
        raise UserError(f"{command[0]} could not compile {SOURCE.name}: {said.splitlines()[0][:200]}") from error


def _processor() -> str:
    """What the compiled code depends on, so that a folder may move to another machine."""
    try:
        lines = re.findall(r"^(?:model name|flags|Features)\s*:.*", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        lines = []
    return " ".join([platform.machine(), platform.processor(), *sorted(set(lines))])


def checked(product: Product) -> Product:
    """`product`, if it computes what torch computes. Raises UserError."""
    x, scale = torch.linspace(-1, 1, 2 * LANES).repeat(3, 1), torch.linspace(1, 2, 11)
    for dtype in NAMES:
        weight = torch.arange(11 * 2 * LANES).view(11, -1).sub(170).remainder(100).to(dtype)
        if not torch.allclose(product(x, weight, scale, scale), x @ weight.float().t() * scale + scale, atol=1e-2):
            raise UserError("The compiled product computes something else here.")
    return product


class Background:
    """A product that is built on a thread when it is first asked for."""

    def __init__(self, find: Callable[[], Product]) -> None:
        self._find = find
        self._product: Product | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.trouble = ""  # why there is none

    def get(self) -> Product | None:
        """The product, if it is ready; never waits."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._work, name="compile")
                    thread.start()
                    self._thread = thread  # others may wait for it from here on
        return self._product

    def wait(self) -> Product | None:
        """The product, when it is ready; None if it can't be had."""
        self.get()
        assert self._thread is not None
        self._thread.join()
        return self._product

    def _work(self) -> None:
        try:
            self._product = self._find()
        except (UserError, OSError) as error:
            self.trouble = str(error)


PRODUCT = Background(lambda: checked(Product(build(data_home() / "compiled"))))
