"""/health and /metrics (in Prometheus's text format): how the server is, without a word about its visitors."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gpt_demo.devices import used_memory
from gpt_demo.paths import free_space
from gpt_demo.ui.logs import LOG, Counts
from gpt_demo.ui.services import Services


class Measures:
    """What a server tells of itself; it counts what is logged from now on."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.counts = Counts()
        LOG.addHandler(self.counts)

    def text(self) -> str:
        """Prometheus's exposition format 0.0.4."""
        services, lines = self.services, list[str]()
        speeds = [run.history.steps["tokens_per_second"][-1:] for run in services.runs.running()]
        gauges: list[tuple[str, str, float]] = [
            ("runs_running", "runs that train now", len(speeds)),
            ("runs_waiting", "runs in the queue", services.runs.waiting()),
            ("training_tokens_per_second", "tokens trained on, at the last step", sum(map(sum, speeds))),
            ("texts_waiting", "texts that wait for their turn to be computed", len(services.share.waiting)),
            ("memory_bytes", "physical memory of this process", used_memory()),
            ("models_memory_bytes", "memory reserved for models", services.store.memory.reserved()),
            ("disk_free_bytes", "room on the disk of models and runs", free_space(services.store.home)),
        ]
        for name, words, value in gauges:
            lines += [*_head(name, "gauge", words), f"gpt_demo_{name} {value:.10g}"]
        lines += [*_head("turns_total", "counter", "tokens and beam steps that were written")]
        lines += [f"gpt_demo_turns_total {services.share.given}"]
        lines += [*_head("events_total", "counter", "lines of the log")]
        lines += [f'gpt_demo_events_total{{event="{event}"}} {n}' for event, n in sorted(self.counts.of.items())]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, words: str) -> tuple[str, str]:
    return f"# HELP gpt_demo_{name} {words}", f"# TYPE gpt_demo_{name} {kind}"


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _metrics(request: Request) -> Response:
    measures: Measures = request.app.get_blocks().measures
    return PlainTextResponse(measures.text(), media_type="text/plain; version=0.0.4")


def routes() -> list[Route]:
    """For the server of a page that has `measures`."""
    return [Route("/health", _health), Route("/metrics", _metrics)]
