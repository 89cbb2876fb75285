"""The processor, shared: few computations at once, and after each it is the turn of who has waited longest: first among
network addresses, then among the visitors of one (an address is harder to invent than a visitor's token)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from gpt_demo.errors import UserError

E = TypeVar("E")
REMEMBERED = 2000  # addresses and visitors whose last turn is known


class Ticket:
    """Something that is computed for a visitor, turn by turn."""

    def __init__(self, visitor: str = "", address: str = "") -> None:
        self.visitor = visitor
        self.address = address
        self.asked = time.monotonic()  # when it was last read
        self.closed = False
        self.turn = threading.Event()


class Share:
    """Who may compute: `at_once` tickets at a time, those left out that nobody has read for `patience` seconds."""

    def __init__(self, at_once: int = 2, patience: float = 5.0) -> None:
        self.waiting: list[Ticket] = []
        self._free = at_once
        self._patience = patience
        self._lock = threading.Lock()
        self.given = 0  # turns
        self._served: dict[str, int] = {}  # the number of the last turn of each address and visitor, in that order

    @contextmanager
    def turn(self, ticket: Ticket) -> Iterator[None]:
        """Waits for the ticket's turn, which ends with the block."""
        ticket.turn.clear()
        with self._lock:
            self.waiting.append(ticket)
        self.hand_out()
        ticket.turn.wait()
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
            self.hand_out()

    def each(self, events: Iterator[E], address: str) -> Iterator[E]:
        """The events, each computed when it is the turn of this address."""
        ticket, end = Ticket(address=address), object()
        while True:
            ticket.asked = time.monotonic()
            with self.turn(ticket):
                event = next(events, end)
            if event is end:
                return
            yield event  # type: ignore[misc]

    def hand_out(self) -> None:
        """Call this when a turn may start: a place is free, or a ticket is being read again."""
        with self._lock:
            ready = [ticket for ticket in self.waiting if self._awaited(ticket)]
            while self._free and ready:
                ticket = min(ready, key=self._last_turn)  # of equals the first that came
                ready.remove(ticket)
                self.given += 1
                self.waiting.remove(ticket)
                self._serve(f"address {ticket.address}")
                self._serve(f"visitor {ticket.visitor}")
                self._free -= 1
                ticket.turn.set()

    def _last_turn(self, ticket: Ticket) -> tuple[int, int]:
        served = self._served
        return served.get(f"address {ticket.address}", 0), served.get(f"visitor {ticket.visitor}", 0)

    def _serve(self, who: str) -> None:
        self._served.pop(who, None)
        self._served[who] = self.given
        if len(self._served) > REMEMBERED:
            del self._served[next(iter(self._served))]

    def _awaited(self, ticket: Ticket) -> bool:
        return ticket.closed or time.monotonic() - ticket.asked < self._patience


class Places:
    """How much may go on at once: `most` in all, and `each` for one visitor or address."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def one(self, visitor: str) -> Iterator[None]:
        """Inside, one more is going on. Raises UserError where there is no place."""
        with self._lock:
            if self._taken[visitor] >= self._each:
                raise UserError(f"{self._each} requests of yours are being answered. Wait until one has ended.")
            if self._taken.total() >= self._most:
                raise UserError("The server is answering too many requests. Try again in a moment.")
            self._taken[visitor] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[visitor] -= 1
                self._taken += Counter()  # without those that have none
