"""What a person sees of a training: a bar in a terminal and in a notebook, else lines; computes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TimeRemainingColumn
from rich.text import Text

from pyrovae.console import say

if TYPE_CHECKING:
    from torch import Tensor


class Shown(Protocol):
    """A bar that is on display."""

    def step(self) -> None:
        """One step more."""

    def show(self, message: str) -> None:
        """The newest message, in the place of the one before."""


class Report:
    """Shows how far a piece of work is: by a bar, or by a plain line for each message.

    Args:
        console: where to.
        bar: the bar; ``None`` where there is neither a terminal nor a notebook.
    """

    def __init__(self, console: Console, bar: Shown | None) -> None:
        self.console = console
        self.bar = bar

    def step(self) -> None:
        """One step is done."""
        if self.bar is not None:
            self.bar.step()

    def note(self, message: str) -> None:
        """Show a sentence that stays, above any bar."""
        say(self.console, message)

    def say(self, message: str) -> None:
        """Show a message: the bar's newest, or a line of its own."""
        if self.bar is not None:
            self.bar.show(message)
        else:
            self.note(message)


class _TerminalBar(Progress):
    """The newest message in as many lines as it needs, above a bar as wide as the terminal."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self.message = Text(overflow="fold")
        super().__init__(BarColumn(bar_width=None), TimeRemainingColumn(), console=console, expand=True)
        self.work = self.add_task("", total=total, completed=done)

    def get_renderables(self) -> Iterator[RenderableType]:
        if self.message:
            yield self.message
        yield self.make_tasks_table(self.tasks)

    def step(self) -> None:
        self.advance(self.work)

    def show(self, message: str) -> None:
        self.message = Text(message, overflow="fold")


class _NotebookBar:
    """The newest message above a bar, in one output of a notebook that is shown anew."""

    def __init__(self, total: int, done: int) -> None:
        from IPython.display import display

        self.message, self.total, self.done, self.shown = "", total, done, time.monotonic()
        self.output: Any = display(self, display_id=True)

    def __repr__(self) -> str:
        return f"{self.message} ({self.done / max(self.total, 1):.0%})".strip()

    def _repr_html_(self) -> str:
        bar = f'<progress style="width: 100%" max="{self.total}" value="{self.done}"></progress>'
        return f"<pre>{escape(self.message)}</pre>{bar}"

    def step(self) -> None:
        self.done += 1
        self._refresh()

    def show(self, message: str) -> None:
        self.message = message
        self._refresh()

    def _refresh(self) -> None:
        if time.monotonic() - self.shown > BETWEEN:
            self.last()

    def last(self) -> None:
        """Show what was reached."""
        self.shown = time.monotonic()
        if self.output is not None:
            self.output.update(self)


BETWEEN = 0.25
"""Seconds between two pictures of a bar in a notebook."""


@contextmanager
def reporting(console: Console, total: int, done: int = 0) -> Iterator[Report]:
    """A report that is shown while the block lasts: a bar in a terminal and in a notebook, else lines."""
    if console.quiet:
        yield Report(console, None)
    elif console.is_jupyter:
        bar = _NotebookBar(total, done)
        try:
            yield Report(console, bar)
        finally:
            bar.last()
    elif console.is_terminal and not console.is_dumb_terminal:
        with _TerminalBar(console, total, done) as terminal:
            yield Report(console, terminal)
    else:
        yield Report(console, None)


def stepping(batches: Iterable[Tensor], report: Report) -> Iterator[Tensor]:
    """The batches, each reported when the next one is asked for."""
    for batch in batches:
        yield batch
        report.step()


BELOW_ZERO = "estimated from one draw of z a datum, so it can be below 0; the KL itself cannot"
"""What to say of a KL below 0: one in closed form never is."""


def epoch_line(metrics: Any, epochs: int, terms: Mapping[str, str], *, is_kl: bool = True) -> str:
    """The numbers of an epoch in one line.

    Args:
        metrics: of the epoch.
        epochs: how many there are in all.
        terms: what ``elbo`` and ``kl`` are called.
        is_kl: whether ``kl`` is a KL, which only an estimate of it can be below 0.
    """
    validation = f", validation {metrics['validation_elbo']:.2f}" if "validation_elbo" in metrics else ""
    remark = f" ({BELOW_ZERO})" if is_kl and metrics["train_kl"] < 0 else ""
    return (
        f"epoch {metrics['epoch']}/{epochs}: {terms['elbo']} {metrics['train_elbo']:.2f}{validation}, "
        f"{terms['kl']} {metrics['train_kl']:.2f} nats{remark}, {metrics['examples_per_second']:,.0f}/s"
    )
