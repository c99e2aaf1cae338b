"""The option that straight-through posteriors share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Temperature = Annotated[
    float, Field(ge=0.01, le=100, description="of the relaxed draw that gives the gradient; no unit")
]
