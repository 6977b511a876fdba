"""Build the augmented set from SQuAD, as checked Arrow shards.

Every question appears once as it was and `--copies-per-example` times with words of its context
replaced. Questions and answers stay as they are, and every answer_start moves with its text.
If the command was interrupted, run it again: it goes on where it stopped.
"""

import math
import re
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import tyro

from augment.base.command import (
    UsageError,
    is_url_as_path,
    needing,
    run,
    to_json,
    usable_cores,
    versions,
)
from augment.base.commit import write_atomic
from augment.base.folders import OutFolder
from augment.base.records import as_json, is_url, shown
from augment.base.set_records import (
    MANIFEST,
    RUN,
    GlovePlan,
    InputPlan,
    MaskedLMPlan,
    Plan,
    Receipt,
    RunRecord,
)
from augment.building.blocks import AllContexts, Blocks, Reading, read_blocks
from augment.building.bucket_set import BucketSet, FinishedByOthers
from augment.building.effect import check_candidates, check_copies
from augment.building.examples import make_examples
from augment.building.local_set import LocalSet
from augment.building.manifest import make_manifest, summary
from augment.building.plan import plan_shards
from augment.building.sources import (
    Model,
    Sources,
    find_model,
    find_vectors,
    read_keep_words,
    set_up_finding,
)
from augment.building.stages import compute_candidates, write_shards
from augment.cards.data_card import EXAMPLES, PICTURE, write_card
from augment.cards.facts import Told, inherited
from augment.engines.array_job import ArrayPart, LeftToOthers, never_seen
from augment.engines.cluster import Cluster
from augment.engines.options import LOCAL, EngineOptions
from augment.remote.bucket import Bucket
from augment.remote.bucket_parts import parts_at
from augment.remote.storage_options import AS_CONFIGURED, StorageOptions
from augment.remote.urls import check_place
from augment.squad import TRAIN_PART, OnBadAnswer, Part
from augment.variants.masking import MaskingRule
from augment.variants.parts import Parts
from augment.variants.store import Stored, context_setting, neighbour_setting
from augment.variants.words import ENGLISH, WordRule

FORMAT = 3
"""Raised whenever the same inputs and settings would give other bytes. 3: plan.json without a
list of shards; their rows are those of 2."""

BYTES_OF_A_CHARACTER = 0.35
"""Of the contexts of all copies, in a compressed shard; at a replace probability of 0.4.

Source: bytes in the manifests of data_cards/, over SQuAD's contexts of 735 characters."""


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What to build, from what, and how."""

    train: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRAIN")]
    """SQuAD JSON, or flat rows as JSON, JSON lines, CSV, Parquet or Arrow, also packed.
    One file, several with commas between them, a folder of them, a built set, or a hub id."""
    out: Annotated[tyro.conf.Positional[str | Path], tyro.conf.arg(metavar="OUT")]
    """Folder for the set. Until it is complete, it is called OUT.incomplete.
    Or a place such as s3://bucket/set, where the set is complete when it has its manifest."""
    copies_per_example: int = 20
    """Copies of each question's row besides the original (N_a in the paper)."""
    num_candidates: int = 15
    """Candidates that a replacement is drawn from (K in the paper)."""
    replace_probability: float = 0.4
    """Chance that a word of a copy is replaced (p_t in the paper)."""
    seed: int = 0
    """Seed of every random draw."""
    mlm: str = "google-bert/bert-base-uncased"
    """Masked LM for words that are one wordpiece: a hub id, a folder, `embedded`, or `none`."""
    glove: str = "fit"
    """Vectors for all other words: `fit` (made from TRAIN's contexts), `embedded`, or `none`.
    Or a file in Stanford's format: plain, .gz or .zip."""
    masking: MaskingRule = "spread"
    """`one`: mask one word at a time, as in the paper.
    `spread`: mask several words at a time, far apart, for a twentieth of the work."""
    words: WordRule = "content"
    """Words that may be replaced.
    `content`: words of letters that are not stop words, as in the paper.
    `all`: all words."""
    language: str = ENGLISH
    """Language of TRAIN: a code such as `de` or `zh`.
    It decides what a word is, which words are stop words, and which candidates look like words."""
    keep_words: Path | None = None
    """A file of words and phrases that are never replaced, one a line, in upper or lower case."""
    candidates: str | Path | None = None
    """Folder where candidates are stored for later builds, or a place such as s3://bucket/name.
    By default OUT.candidates."""
    part: tyro.conf.OmitArgPrefixes[Part] = TRAIN_PART
    """Part of TRAIN to read."""
    on_bad_answer: OnBadAnswer = "fail"
    """What to do with an answer that does not stand at its answer_start.
    `fail`: stop with an error.
    `drop`: leave it out.
    `fix`: move answer_start to the nearest place where the answer does stand.
    Accents and blanks that only look the same are then taken from the context."""
    limit_contexts: int | None = None
    """Use only the first N paragraphs."""
    num_shards: int | None = None
    """Number of shards; by default one for every 300 paragraphs."""
    contexts_per_shard: int | None = None
    """Paragraphs in a shard at most, instead of --num-shards."""
    num_workers: int | None = None
    """Number of processes; by default one per core, or per GPU. It does not change the output."""
    batch_tokens: int | None = None
    """Wordpieces in a batch of the masked LM; by default 2,048 on a CPU and 65,536 on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the masked LM runs."""
    accelerator: str | None = None
    """Compute candidates on GPUs of this name alone, as `nvidia-smi -L` shows it.
    Needed where there are several kinds."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the masked LM's encoder; auto: the fastest that the hardware has."""
    runs_on: tyro.conf.OmitArgPrefixes[EngineOptions] = LOCAL
    """What runs the tasks. It does not change the output."""
    storage: tyro.conf.OmitArgPrefixes[StorageOptions] = AS_CONFIGURED
    """How stores are reached that URLs lead to."""
    share: Annotated[str | None, tyro.conf.arg(name="part", metavar="K/N")] = None
    """Do every N-th task of what is next, from the K-th on, and leave the rest to other parts.
    They may run at once, on machines that share OUT. Without --part, the command finishes it."""
    input: Told = field(default_factory=Told)
    """What is known of TRAIN, for the card; its own card, if it has one, is read."""
    allow_unchanged: bool = False
    """Build the set even if hardly a word has candidates, or most copies equal their original."""
    overwrite: bool = False
    """Replace a set in OUT that was built with other settings."""

    def __post_init__(self) -> None:
        whole = ("copies_per_example", "num_candidates", "limit_contexts", "num_shards")
        for name in (*whole, "contexts_per_shard", "num_workers", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{_flag(name)} {value}: must be 1 or more")
        if self.num_shards and self.contexts_per_shard:
            raise ValueError("--num-shards and --contexts-per-shard: give one of the two")
        if not 0 <= self.replace_probability <= 1:  # false for NaN
            raise ValueError(f"--replace-probability {self.replace_probability}: must be 0 to 1")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"--seed {self.seed}: must be 0 or more, below 2**64")
        for name, place in (("OUT", self.out), ("--candidates", self.candidates_place)):
            if is_url_as_path(place):
                raise ValueError(
                    f"{name} {place}: a URL with one slash, or as a path; write two, in a text"
                )
            if is_url(place):
                check_place(name, str(place))
        if is_url(self.out):
            if self.overwrite:
                raise ValueError("--overwrite: replaces nothing in a bucket; choose another OUT")
            if not urlsplit(str(self.out)).path.strip("/"):
                raise ValueError(
                    f"OUT {self.place}: name a place in the bucket, as in {self.place}/set"
                )
            places = (str(place).rstrip("/") for place in (self.candidates_place, self.out))
            candidates, out = (f"{re.sub('^s3a:', 's3:', place)}/" for place in places)
            inside = candidates.startswith(out)
        else:
            inside = self._holds_candidates(Path(self.out))
        if inside:
            raise ValueError(
                f"--candidates {shown(self.candidates)}: inside OUT; keep them elsewhere"
            )
        if self.num_workers and self.runs_on.engine == "ray":
            raise ValueError("--num-workers: Ray does as many tasks at a time as it has CPUs")
        if self.array_part and (self.overwrite or self.runs_on.engine == "ray"):
            raise ValueError("--part: goes with neither --overwrite nor --engine ray")
        if self.mlm == self.glove == "none":
            raise ValueError("--mlm none --glove none: nothing to take candidates from")

    def _holds_candidates(self, out: Path) -> bool:
        if not out.name:
            raise ValueError(f"OUT {out}: name the folder that is to be made")
        if is_url(self.candidates_place):
            return False
        candidates = Path(self.candidates_place).resolve()
        folders = (out.resolve(), self.folder.incomplete.resolve())
        return any(candidates.is_relative_to(folder) for folder in folders)

    @property
    def place(self) -> LocalSet | BucketSet:
        """OUT, and what is done there."""
        return (
            BucketSet(Bucket(str(self.out).rstrip("/")))
            if is_url(self.out)
            else LocalSet(self.folder)
        )

    @property
    def folder(self) -> OutFolder:
        """The set's folder, and where it is built."""
        return OutFolder(
            out=Path(self.out),
            what="a set",
            mark=MANIFEST,
            overwrite=self.overwrite,
            shared=self.array_part is not None,
        )

    @property
    def array_part(self) -> ArrayPart | None:
        """This job's part of the tasks."""
        return ArrayPart.parse(self.share) if self.share else None

    @property
    def candidates_place(self) -> str | Path:
        """Where candidates are kept."""
        if self.candidates:
            return self.candidates
        if is_url(self.out):
            return f"{str(self.out).rstrip('/')}.candidates"
        return Path(self.out).with_name(Path(self.out).name + ".candidates")


def build(config: BuildConfig) -> RunRecord:
    """Build the set and give its run record; `config.out` is whole afterwards.

    Raises:
        UsageError: OUT holds something else.
        ValueError: a fault in the input, with its place.
        LeftToOthers: with `share`, when this part is done; OUT is not there yet.
    """
    place = config.place
    with config.runs_on.joined(config.storage.as_environment()) as cluster, place.working():
        try:
            return _build(config, place, cluster)
        except FinishedByOthers:
            _say(f"{place}: was finished by the same build elsewhere")
            return place.finished()


def _build(config: BuildConfig, place: LocalSet | BucketSet, cluster: Cluster | None) -> RunRecord:
    started = time.monotonic()
    place.look()
    blocks = read_input(config)
    try:
        return _made_of(config, place, blocks, cluster, started)
    finally:
        place.tidy(blocks)


def _made_of(
    config: BuildConfig,
    place: LocalSet | BucketSet,
    blocks: Blocks,
    cluster: Cluster | None,
    started: float,
) -> RunRecord:
    sources = find_sources(config, blocks, cluster)
    plan = make_plan(config, sources)
    num_bytes = _bytes_of_shards(config, blocks)
    with needing(num_bytes), place.claimed(plan) as finished:
        if finished:
            record = place.finished()
            _say(f"{place} is complete and was built with this configuration")
            return record
        place.prepare(plan)
        if part := config.array_part:
            place.sign(part)
        elif absent := never_seen(place.signatures()):
            _say(
                f"{place.unfinished}: --part {', '.join(absent)} never worked here: not run, or "
                "on a machine that does not share this folder"
            )
        place.look(num_bytes)
        seconds = {"inputs": time.monotonic() - started}
        parts = _parts(config, sources)
        if cluster:
            blocks = place.for_all(blocks)
            sources = replace(sources, blocks=blocks)
        folders = [*place.shared, *parts[0].shared]
        files = [sources.model.folder] if sources.model.folder else []
        with cluster.sharing(folders, files) if cluster else nullcontext() as engine:
            with _timed(seconds, "candidates"):
                number = config.num_workers
                computed = compute_candidates(sources, *parts, number, engine, part)
                texts = AllContexts(blocks)
                check_candidates(Stored(*parts), texts, plan, config.allow_unchanged)
            with _timed(seconds, "writing"):
                shards = place.shards(plan)
                receipts = write_shards(blocks, plan, parts, shards, number, engine, part)
        with place.finishing(plan, receipts) as folder:
            record = _finish(config, blocks, plan, parts, receipts, folder, computed, seconds)
    return record


def read_input(config: BuildConfig) -> Blocks:
    """Read and check TRAIN."""
    reading = Reading(
        part=config.part,
        on_bad_answer=config.on_bad_answer,
        limit_contexts=config.limit_contexts,
        copies=config.copies_per_example,
    )
    return read_blocks(config.train, reading, config.place.input_folder)


def find_sources(config: BuildConfig, blocks: Blocks, cluster: Cluster | None = None) -> Sources:
    """Find and hash the inputs besides TRAIN, which was read."""
    if not blocks.counts["questions"]:
        raise ValueError(f"{blocks.name}: no questions in it; is this the right file?")
    if config.num_shards and config.num_shards > len(blocks):
        raise UsageError(
            f"--num-shards {config.num_shards}: there are only {len(blocks)} paragraphs"
        )
    with needing(_bytes_of_shards(config, blocks)):
        return _find_models(config, blocks, cluster)


def _find_models(config: BuildConfig, blocks: Blocks, cluster: Cluster | None) -> Sources:
    """Find the masked LM and the vectors, which may be fitted now."""
    model = _find_model(
        cluster,
        name=config.mlm,
        num_candidates=config.num_candidates,
        masking=config.masking,
        words=config.words,
        batch_tokens=config.batch_tokens,
        device=config.device,
        dtype=config.dtype,
        language=config.language,
        accelerator=config.accelerator,
    )
    vectors, name = find_vectors(config.glove, AllContexts(blocks), config.language)
    return Sources(blocks, model, vectors, name, read_keep_words(config.keep_words))


def _find_model(cluster: Cluster | None, **settings: Any) -> Model:
    """Find the masked LM, and settle how it runs where it will run: this may lack what is there."""
    if cluster is None or settings["name"] == "none":
        return find_model(**settings)
    if Path(settings["name"]).exists():
        settings["name"] = str(Path(settings["name"]).absolute())
    device = "cuda" if cluster.has_gpus and settings["device"] != "cpu" else "cpu"
    [model] = cluster.run([settings], set_up_finding, (), device)
    return model


def make_plan(config: BuildConfig, sources: Sources) -> Plan:
    """Gather everything that decides the set's bytes."""
    model, vectors = sources.model, sources.vectors
    masked_lm = glove = None
    if model.sha256:
        masked_lm = MaskedLMPlan(
            name=model.name,
            sha256=model.sha256,
            masking=model.settings.masking,
            batch_tokens=model.settings.batch_tokens,
            dtype=model.settings.dtype,
            device_class=model.settings.device_class,
            accelerator=model.settings.accelerator,
        )
    if vectors:
        glove = GlovePlan(
            name=sources.vectors_name, sha256=vectors.sha256, skipped_lines=vectors.skipped_lines
        )
    return Plan(
        format=FORMAT,
        input=InputPlan(
            name=sources.blocks.name,
            sha256=sources.blocks.sha256,
            on_bad_answer=config.on_bad_answer,
            limit_contexts=config.limit_contexts,
        ),
        masked_lm=masked_lm,
        glove=glove,
        words=config.words,
        language=None if config.language == ENGLISH else config.language,
        keep_words=tuple(sorted(sources.keep_words)),
        num_candidates=config.num_candidates,
        replace_probability=config.replace_probability,
        copies_per_example=config.copies_per_example,
        seed=config.seed,
        shards=plan_shards(len(sources.blocks), config.num_shards, config.contexts_per_shard),
    )


def _bytes_of_shards(config: BuildConfig, blocks: Blocks) -> int:
    """Estimate what the shards will take."""
    share = BYTES_OF_A_CHARACTER * config.replace_probability / 0.4
    return int(blocks.characters * (config.copies_per_example + 1) * share)


def _parts(config: BuildConfig, sources: Sources) -> tuple[Parts, Parts | None]:
    place = config.candidates_place
    contexts = parts_at(place, context_setting(sources.model.sha256, sources.model.settings))
    if sources.vectors is None:
        return contexts, None
    setting = neighbour_setting(sources.vectors.sha256, config.num_candidates, config.language)
    return contexts, parts_at(place, setting)


def _finish(
    config: BuildConfig,
    blocks: Blocks,
    plan: Plan,
    parts: tuple[Parts, Parts | None],
    receipts: Sequence[Receipt],
    folder: Path,
    computed: int,
    seconds: dict[str, float],
) -> RunRecord:
    """Write manifest, card and record into a folder."""
    with _timed(seconds, "finishing"):
        manifest = make_manifest(plan, blocks.counts, receipts)
        check_copies(manifest, config.allow_unchanged)
        write_atomic(folder / MANIFEST, to_json(manifest.as_json()))
        texts = make_examples(blocks.paragraphs(range(len(blocks))), Stored(*parts), plan)
        write_atomic(folder / EXAMPLES, to_json({"texts": texts}))
        (folder / PICTURE).unlink(missing_ok=True)  # drawn anew: a killed run's is not proven
        write_card(folder, {**inherited(blocks.card), **config.input.facts()})
    record = RunRecord(
        config={name: shown(value) for name, value in asdict(config).items()},
        versions=versions(),
        seconds={name: round(value, 2) for name, value in seconds.items()},
        contexts_through_the_model=computed,
        peak_memory_mib=_peak_memory_mib(),
        num_workers=config.num_workers or usable_cores(),
    )
    write_atomic(folder / RUN, to_json(as_json(record)))
    return record


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds that a block takes."""
    started = time.monotonic()
    yield
    seconds[name] = time.monotonic() - started


def _peak_memory_mib() -> int:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(each).ru_maxrss for each in who)
    return math.ceil(peak / (2**20 if sys.platform == "darwin" else 2**10))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _main(config: BuildConfig) -> None:
    try:
        record = build(config)
    except LeftToOthers as left:
        print(
            f"{config.place}: part {config.share} has done its share of what was next. Still "
            f"lacking: {left}. "
            "When the other parts are done, the same command does its share of what "
            "follows; without --part it does all that is left and finishes the set"
        )
        return
    print(summary(config.place.manifest(), record))
    print(f"\n{config.place}: shards in data/, data card in README.md")


if __name__ == "__main__":
    run(BuildConfig, _main)
