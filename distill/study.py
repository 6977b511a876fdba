"""Measure what copies are worth: originals, their copies, and as much real data as there is.

Every arm is a run of `distill.train` on SQuAD's answerable questions of at most 128 tokens,
measured along its way on articles set apart and on dev questions. An arm that has its record is
skipped, and one that was cut short goes on; start the command once for every core.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from augment.base.command import run
from augment.base.folders import claimed


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """On what, with which models, and where the records go."""

    train: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """SQuAD's training set: a JSON file or a hub id."""
    dev: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DEV")]
    """SQuAD's dev set, asked for F1 alone."""
    teacher: str
    """A reader: a hub id or a folder."""
    mlm: str = "google-bert/bert-base-uncased"
    """The masked LM of the copies: a hub id, a folder, or `embedded`."""
    layers: tuple[int, ...] = (2, 4, 6)
    """Layers of the teacher that make the student, which keeps the span head: F1 can be read."""
    work: Path = Path("study")
    """Sets, and the trainings that are not finished."""
    records: Path = Path("study/records")
    """A record for every finished arm."""
    arms: tuple[str, ...] = ()
    """Run these alone, by name; all of them by default."""
    rates: tuple[float, ...] = (3e-4, 1e-3)
    """Learning rates that are tried on the originals; the best one is all arms'."""
    batch_size: int = 8
    """Rows of a step."""
    num_dev: int = 2000
    """Dev questions."""
    max_seq_length: int = 128
    """Tokens of question and context together; longer ones are left out."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the matrix products, and of the reader that is asked the dev questions.
    Losses are measured in float32."""


def study(config: StudyConfig) -> None:
    """Run every arm that nobody has run or is running."""
    from distill.studies.arms import ARMS, Arm, chosen_rate, trials
    from distill.studies.labels import LABEL_ARMS, LabelArm, run_label_arm
    from distill.studies.records import read_records
    from distill.studies.running import TEACHER, Setup, measure_teacher, run_arm
    from distill.studies.sets import Sets, make_sets
    from eval.reading.windows import WindowRule

    length = config.max_seq_length
    rule = WindowRule(max_seq_length=length, doc_stride=length // 4, max_query_length=length // 2)
    setup = Setup(
        sets=Sets(config.work / "sets", config.mlm),
        teacher=config.teacher,
        layers=config.layers,
        rule=rule,
        batch_size=config.batch_size,
        dtype=config.dtype,
        work=config.work,
        records=config.records,
    )
    make_sets(setup.sets, config.train, config.dev, config.num_dev, setup.tokenizer, rule)
    with claimed(config.work / TEACHER, wait=True):
        if not _is_done(config, TEACHER):
            measure_teacher(setup)
    for trial in trials(config.rates):
        with claimed(config.work / trial.name, wait=True):
            if not _is_done(config, trial.name):
                assert trial.learning_rate is not None
                run_arm(setup, trial, trial.learning_rate)
    rate = chosen_rate(read_records(config.records), config.rates)
    queue: tuple[Arm | LabelArm, ...] = (*ARMS, *LABEL_ARMS)
    for arm in queue:
        if (config.arms and arm.name not in config.arms) or _is_done(config, arm.name):
            continue
        with ExitStack() as claim:
            try:
                claim.enter_context(claimed(config.work / arm.name))
            except RuntimeError as error:
                print(error, flush=True)
                continue
            if not _is_done(config, arm.name):
                print(f"{arm.name}: begins", flush=True)
                if isinstance(arm, Arm):
                    run_arm(setup, arm, rate)
                else:
                    run_label_arm(setup, arm)


def _is_done(config: StudyConfig, name: str) -> bool:
    return (config.records / f"{name}.json").is_file()


def main() -> None:
    """Run the command line."""
    run(StudyConfig, study)


if __name__ == "__main__":
    main()
