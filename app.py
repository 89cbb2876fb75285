"""Starts the page: `python app.py`, and the entry point of a Hugging Face Space."""

from gpt_demo.events import Event
from gpt_demo.jobs import Jobs
from gpt_demo.memory import keep_freed_memory
from gpt_demo.paths import data_home
from gpt_demo.runs.runs import Runs
from gpt_demo.store.store import ModelStore
from gpt_demo.ui import build_app, is_public, launch_options


def main() -> None:
    keep_freed_memory()
    store, runs = ModelStore(data_home(), see_all=not is_public()), Runs(data_home())
    downloads: Jobs[Event] = Jobs()
    try:
        build_app(store, runs, downloads).launch(**launch_options())
    finally:
        downloads.close()
        runs.close()


if __name__ == "__main__":
    main()
