"""The order of the modules, as gpt_demo/__init__.py states it, and the size of what they hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "gpt_demo").rglob("*.py")), ROOT / "app.py", ROOT / "start.py"]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def layer_of() -> dict[str, int]:
    """Module -> layer, 0 at the top: what the docstring's indented lines say."""
    docstring = ast.get_docstring(tree(ROOT / "gpt_demo" / "__init__.py")) or ""
    order = " ".join(line for line in docstring.splitlines() if line.startswith("    "))
    return {name.strip(): i for i, layer in enumerate(order.split(">")) for name in layer.split(",")}


def module(path: Path) -> str:
    """What the order calls the module of a file: its own name, or that of its package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if len(parts) > 1 else parts[0]


def imports(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in the file, in functions and for type checking too, by its full name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} is a relative import"
            bare = node.module == "gpt_demo"
            yield from (f"{node.module}.{alias.name}" for alias in node.names) if bare else [node.module or ""]


def ours(path: Path) -> set[str]:
    """The modules of gpt_demo that the file imports, as the order calls them."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("gpt_demo.")}


def test_order_names_every_package() -> None:
    modules = {module(path) for path in FILES} - {"__init__", "start"}
    assert modules == set(layer_of()), "Put new packages into the order in gpt_demo/__init__.py's docstring."


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    layers, name = layer_of(), module(path)
    if name in layers:
        assert not [other for other in ours(path) - {name} if layers[other] <= layers[name]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_page_knows_gradio(path: Path) -> None:
    if module(path) not in ("app", "ui"):
        assert not [name for name in imports(path) if name.split(".")[0] in ("gradio", "gradio_client", "spaces")]


def weights_only(call: ast.Call) -> bool:
    return any(keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True" for keyword in call.keywords)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_and_no_code_from_text(path: Path) -> None:
    """Whatever a user gives is read as data. (A model folder may come from anywhere.)"""
    assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & {name.split(".")[0] for name in imports(path)}
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    if path.name == "tensor_files.py":  # the one place where others' .pth files are read: tensors, nothing else
        calls = [node for node in calls if not (ast.unparse(node.func) == "torch.load" and weights_only(node))]
    assert not {"torch.load", "eval", "exec", "np.load", "numpy.load"} & {ast.unparse(node.func) for node in calls}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 320
    functions = (node for node in ast.walk(tree(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    assert not [f"{f.name}: {f.end_lineno - f.lineno + 1} lines" for f in functions if f.end_lineno - f.lineno >= 60]


@pytest.mark.parametrize(
    "source",
    [
        "from gpt_demo.runs.recipes import x",
        "def f():\n    import gpt_demo.ui",
        "if TYPE_CHECKING:\n    from gpt_demo import compare",
    ],
)
def test_the_test_sees_every_kind_of_import(source: str, tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text(source)
    layers = layer_of()
    assert [other for other in ours(tmp_path / "store.py") if layers[other] <= layers["store"]]
