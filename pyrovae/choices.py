"""What may be chosen of how a run is computed, as types; imports no torch: mistakes are answered at once."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

DeviceName: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        examples=["auto", "cpu", "cuda", "cuda:1", "mps"],
        description="where it is computed; auto: CUDA where there is one, else the processor",
    ),
]
PrecisionName = Literal["float32", "tf32", "bf16"]
Precision: TypeAlias = Annotated[
    PrecisionName,
    Field(description="of products of matrices in training; distributions and losses are in float32 always"),
]
Threads: TypeAlias = Annotated[
    int, Field(ge=0, description="threads of the processor; 0: as many as help, or OMP_NUM_THREADS")
]
EngineName = Literal["auto", "captured", "eager", "svi"]
OptimizerName = Literal["adam", "adamw", "rmsprop", "sgd"]
ScheduleName = Literal["constant", "linear", "cosine"]
