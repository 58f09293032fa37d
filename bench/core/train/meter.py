"""The numbers of the steps since the last line of metrics: kept on the device,
read when a line is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class NotFinite(Exception):
    """A loss or a gradient norm became NaN or infinite; the message names the step and the term."""


class Window:
    """Rows of one step each; columns are "loss.<term>", "diagnostics.<name>" and "grad_norm".

    Nothing here waits for the device but `read`.
    """

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.rows: list[Tensor] = []

    def fits(self, columns: list[str]) -> bool:
        """Whether a step with these columns belongs to the window: where a term began or ended,
        it does not.
        """
        return not self.rows or self.columns == columns

    def add(self, columns: list[str], row: Tensor) -> None:
        """A step's numbers, in the order of its columns."""
        assert self.fits(columns)
        self.columns = columns
        self.rows.append(row)

    def read(self, average: Callable[[Tensor], Tensor], first: int, remedy: str) -> Tensor:
        """The rows [steps, columns] on the CPU, float64, averaged over processes; first:
        the number of the first step.

        Raises NotFinite, naming the first bad step and the remedy.
        """
        if not self.rows:
            return torch.zeros(0)
        values = average(torch.stack(self.rows)).double().cpu()
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            step, column = (int(i) for i in bad[0])
            raise NotFinite(
                f"{self.columns[column]} became {values[step, column]} in step "
                f"{first + step}: {remedy}"
            )
        return values

    def means(self, values: Tensor) -> dict[str, Any]:
        """{"loss": {term: mean}, "diagnostics": {..}, "grad_norm": mean} of rows that were read;
        empties the window.
        """
        found: dict[str, Any] = {"loss": {}, "diagnostics": {}}
        for column, mean in zip(self.columns, values.mean(dim=0).tolist(), strict=True):
            group, _, name = column.partition(".")
            if name:
                found[group][name] = mean
            else:
                found[group] = mean
        self.rows = []
        return found
