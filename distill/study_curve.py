"""Write what a study's records say: its tables into RECORDS/README.md, its picture beside it.

In the README the tables stand between two marks; what is written around them stays.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from augment.base.command import existing_file, run
from augment.base.commit import write_atomic

BEGIN = "<!-- made by python -m distill.study_curve: -->"
END = "<!-- to here -->"


@dataclass(frozen=True, kw_only=True)
class CurveConfig:
    """Where the records are."""

    records: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RECORDS")]
    """The folder into which `python -m distill.study` wrote its records."""


def write_curve(config: CurveConfig) -> None:
    """Write both files anew.

    Raises:
        FileNotFoundError: no README.md.
        ValueError: a README.md without the two marks, or rows that are not their record's.
    """
    from distill.studies.curve import draw, figures

    path = existing_file(config.records / "README.md", "README with the marks for the tables")
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: lacks {BEGIN!r} and {END!r}, between which the tables go")
    write_atomic(config.records / "curve.svg", draw(config.records))
    text = f"{before}{BEGIN}\n\n{figures(config.records)}\n\n{END}{after}"
    write_atomic(path, text)
    print(f"{path}: written, with curve.svg")


def main() -> None:
    """Run the command line."""
    run(CurveConfig, write_curve)


if __name__ == "__main__":
    main()
