"""Tables in parquet, through pyarrow (the optional extra parquet).

open_parquet(Path("train-00000-of-00294.parquet")).read(columns=["label"])
"""

from __future__ import annotations

from pathlib import Path

from bench.core.data.pictures import readable


def open_parquet(path: Path):
    """pyarrow's ParquetFile. Raises ValueError where pyarrow is missing, and naming a file that
    cannot be read.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ValueError(
            "parquet needs pyarrow (the optional extra parquet): pip install pyarrow"
        ) from error
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise ValueError(f"{readable(path)} cannot be read ({error}): fetch it again") from error
