"""What the settings do is seen in a fresh process: the pages it has to fault in, and the memory it gives back."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from gpt_demo.memory import give_back_memory, keep_freed_memory

BLOCK = 40_000_000  # bytes; above 32 MB glibc never keeps a freed block by itself
SCRIPT = f"""
import resource, threading
from gpt_demo.memory import keep_freed_memory, give_back_memory
{{}}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        b"x" * {BLOCK}
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
counts = []
def work():
    faults()
    counts.append(faults())
for _ in range(2):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
held = rss()
give_back_memory()
print(*counts, held - rss())
"""


def in_fresh_process(setup: str) -> list[int]:
    command = [sys.executable, "-c", SCRIPT.format(setup)]
    return [int(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def test_kept_memory_is_reused_by_every_thread_and_can_be_given_back() -> None:
    assert platform.libc_ver()[0] == "glibc"  # elsewhere the functions do nothing
    *first_and_second_thread, given_back = in_fresh_process("assert keep_freed_memory()")
    assert max(first_and_second_thread) < 100
    assert given_back > BLOCK // 2
    assert min(in_fresh_process("")[:2]) > 100  # what it avoids: pages are mapped and faulted in again and again


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
    give_back_memory()
