"""What a person sees of a training: one bar in a terminal, plain lines elsewhere; computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from torch import Tensor


class Report:
    """Shows how far a piece of work is: one bar in a terminal, a plain line for each message elsewhere.

    Args:
        console: where to.
        progress: the bar; ``None`` where there is no terminal.
        total: how many steps the work has.
        done: how many of them were taken before.
    """

    def __init__(self, console: Console, progress: Progress | None, total: int, done: int) -> None:
        self.console = console
        self.progress = progress
        self.task = progress.add_task("", total=total, completed=done) if progress else TaskID(0)

    def step(self) -> None:
        """One step is done."""
        if self.progress is not None:
            self.progress.advance(self.task)

    def note(self, message: str) -> None:
        """Show a sentence that stays, above any bar."""
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """Show a message: the bar's newest, or a line of its own."""
        if self.progress is not None:
            self.progress.update(self.task, description=message)
        else:
            self.console.print(message, highlight=False, soft_wrap=True)


@contextmanager
def reporting(console: Console, total: int, done: int = 0) -> Iterator[Report]:
    """A report that is shown while the block lasts."""
    if not console.is_terminal:
        yield Report(console, None, total, done)
        return
    columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        yield Report(console, progress, total, done)


def stepping(batches: Iterable[Tensor], report: Report) -> Iterator[Tensor]:
    """The batches, each reported when the next one is asked for."""
    for batch in batches:
        yield batch
        report.step()


def epoch_line(metrics: Any, epochs: int, terms: Mapping[str, str]) -> str:
    """The numbers of an epoch in one line.

    Args:
        metrics: of the epoch.
        epochs: how many there are in all.
        terms: what ``elbo`` and ``kl`` are called.
    """
    validation = f", validation {metrics['validation_elbo']:.2f}" if "validation_elbo" in metrics else ""
    return (
        f"epoch {metrics['epoch']}/{epochs}: {terms['elbo']} {metrics['train_elbo']:.2f}{validation}, "
        f"{terms['kl']} {metrics['train_kl']:.2f} nats, {metrics['examples_per_second']:,.0f}/s"
    )
