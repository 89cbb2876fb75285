"""Starts the page: `python app.py`, and the entry point of a Hugging Face Space."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.jobs import Jobs
from gpt_demo.memory import keep_freed_memory
from gpt_demo.paths import check_home, data_home
from gpt_demo.runs.runs import Runs
from gpt_demo.store.store import ModelStore
from gpt_demo.ui import build_app, check_port, is_public, launch_options, said_at_start
from gpt_demo.ui.logs import write_to_stderr
from gpt_demo.ui.sweeping import PRIVATE, PUBLIC, Sweeper
from gpt_demo.ui.visitors import trust_proxy_of_space


def main() -> int:
    """Serve until Ctrl-C or SIGTERM, then save the runs. The exit code."""
    try:
        check_home()
        port = check_port()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for said in filter(None, (said_at_start(), port)):
        print(said)
    trust_proxy_of_space()
    write_to_stderr()
    keep_freed_memory()
    cache = Path(os.environ.setdefault("GRADIO_TEMP_DIR", str(data_home().resolve() / "cache")))
    store, runs = ModelStore(data_home(), see_all=not is_public()), Runs(data_home())
    sweeper = Sweeper(store, runs, PUBLIC if is_public() else PRIVATE, cache)
    downloads: Jobs[Event] = Jobs()

    def end(*_: Any) -> None:
        runs.pause()  # at once: they save while Gradio waits for its connections
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        sweeper.start()
        build_app(store, runs, downloads).launch(**launch_options())
    except KeyboardInterrupt:  # before the server was up
        pass
    finally:
        sweeper.close()
        runs.close()
        downloads.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
