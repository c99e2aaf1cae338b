"""Diagnostics: what else can be said of a trained program; they train, picture and print nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from pyrovae import component
from pyrovae.data import Split
from pyrovae.evaluate import inspected
from pyrovae.programs import Program
from pyrovae.quantities import Findings, Histogram, Quantity

__all__ = ["Diagnostic", "Findings", "Histogram", "Quantity", "Subject", "Unavailable", "diagnose"]


@dataclass(frozen=True)
class Subject:
    """What is diagnosed: a trained program on rows of data.

    Args:
        program: model and guide.
        rows: the data, in an order and drawn once for all.
        seed: of all noise.
        batch_size: data at a time; no number depends on it.
    """

    program: Program
    rows: Split
    seed: int = 0
    batch_size: int = 100


class Unavailable(Exception):  # noqa: N818 - an answer, and no error
    """A diagnostic says nothing of this program; the message is the reason, as a part of a sentence."""


class Diagnostic(component.Component, ABC, family="diagnostic"):
    """A question to a trained program, asked by name: ``pyrovae evaluate RUN --with NAME``.

    Its options are keyword-only arguments of the constructor: ``--set NAME.OPTION=VALUE``.
    """

    @abstractmethod
    def __call__(self, subject: Subject) -> Findings:
        """What it finds. Gradients are off, and the program is in evaluation mode.

        Raises:
            Unavailable: it has nothing to say of this program.
        """


def diagnose(diagnostic: Diagnostic, subject: Subject) -> Findings:
    """What a diagnostic finds, or why it has nothing to say; the program is as it was afterwards."""
    try:
        with inspected(subject.program):
            return diagnostic(subject)
    except Unavailable as reason:
        return Findings(component.name_of(type(diagnostic)), unavailable=str(reason))


def __getattr__(name: str) -> Any:
    return component.find_class("diagnostic", name)
