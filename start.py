"""Set up and start: `python3 start.py` opens the page, `start.py cli ...` is the command line, `start.py test` tests.

Needs only Python 3.10 or newer. Everything is installed into `.venv` next to this file, and again when the
requirements change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NODE, NPM = PYTHON.with_stem("node"), PYTHON.with_stem("npm")  # come with requirements-dev.txt


def main() -> int:
    if sys.version_info < (3, 10):  # noqa: UP036 (the one file that an older Python may run)
        return fail(f"This is Python {sys.version.split()[0]}; gpt_demo needs 3.10 or newer.")
    task, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("app", [])
    if task == "app":
        return install("requirements.txt") or become(PYTHON, ROOT / "app.py", *rest)
    if task == "cli":
        return install("requirements.txt") or become(PYTHON, "-m", "gpt_demo", *rest)
    if task == "test":
        return install("requirements-dev.txt") or install_node_modules() or install_browser() or test(rest)
    return fail(f"Unknown task {task!r}. Use: python3 start.py [app | cli COMMAND ... | test]")


def install(requirements: str) -> int:
    """Install the requirements into .venv; a stamp of them makes the next start instant."""
    stamp, wanted = VENV / f"installed-{requirements}", digest("requirements.txt", requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    if not PYTHON.exists() and run(sys.executable, "-m", "venv", VENV):
        shutil.rmtree(VENV, ignore_errors=True)
        return fail("Python can't make a virtual environment. On Debian or Ubuntu: sudo apt-get install python3-venv")
    print("Installing the requirements into .venv; the first time takes a few minutes.", flush=True)
    if run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements):
        return fail("The installation failed; see the lines above. Check the network and start again.")
    stamp.write_text(wanted)
    return 0


def install_node_modules() -> int:
    """What checks the scripts of the page, as the lock file has it."""
    stamp, wanted = ROOT / "node_modules" / "installed", digest("package-lock.json")
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    if run(NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"):
        return fail("npm could not install what checks the scripts; see the lines above. Check the network, try again.")
    stamp.write_text(wanted)
    return 0


def digest(*names: str) -> str:
    """Of these files together."""
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def install_browser() -> int:
    """A browser for the browser tests: an installed one, Debian's, or Playwright's own."""
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        return 0
    if shutil.which("apt-get"):
        sudo = [] if os.name == "nt" or os.geteuid() == 0 else ["sudo"]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(*sudo, "apt-get", "update", "-qq", env=quiet)
        if run(*sudo, "apt-get", "install", "-y", "-qq", "chromium", env=quiet) == 0:
            return 0
    if run(PYTHON, "-m", "playwright", "install", "chromium"):
        print("No browser could be installed, so the browser tests will fail.", flush=True)
    return 0


def test(rest: list[str]) -> int:
    """Style and types of both halves, then the tests."""
    checks: dict[str, tuple[str | Path, ...]] = {
        "ruff check": (PYTHON, "-m", "ruff", "check", "."),
        "ruff format": (PYTHON, "-m", "ruff", "format", "--check", "."),
        "mypy": (PYTHON, "-m", "mypy"),
        "eslint": (NODE, "node_modules/eslint/bin/eslint.js", "assets", "tests", "eslint.config.js"),
        "tsc": (NODE, "node_modules/typescript/bin/tsc"),
        "node --test": (NODE, "--test", "--test-reporter=dot", "tests/**/*.test.js"),
    }
    failed = [name for name, check in checks.items() if not rest and run(*check)]
    # Two processes: each waits for its own browser most of the time.
    shared = () if rest else ("-n", "2", "--dist", "worksteal")
    code = run(PYTHON, "-m", "pytest", "-q", *shared, *rest)
    return fail(f"These checks failed: {', '.join(failed)}.") if failed else code


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = ROOT) -> int:
    """The command's exit code. Ctrl-C reaches the command too, which may need time to save its state."""
    with subprocess.Popen([str(part) for part in command], cwd=cwd, env=env) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def become(*command: str | Path) -> int:
    """Run the command in the current folder and in place of this process, so that signals reach it alone."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path}
    if os.name == "nt":  # there, the shell would not wait
        return run(*command, env=env, cwd=None)
    os.execve(str(command[0]), [str(part) for part in command], env)


def fail(sentence: str) -> int:
    """Print the message; the exit code of all failures except failed tests, for which pytest returns 1."""
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
