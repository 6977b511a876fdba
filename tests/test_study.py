"""distill.study: the rule of the rows, the arithmetic by hand, a whole study and its resume."""

import json
from dataclasses import replace

import numpy as np
import pytest

from augment.base.paragraphs import Answer, Paragraph, Question
from augment.shards import read_rows as read_shards
from augment.squad import read_squad
from distill.studies import arms, labels, running
from distill.studies.arms import ARMS, Arm, chosen_rate, trials
from distill.studies.curve import arm_title, shown
from distill.studies.records import read_records, read_rows, write_record
from distill.studies.sets import Sets, fitting_questions, make_sets, one_a_paragraph
from distill.studies.worth import lead, worth
from distill.study import StudyConfig, study
from distill.study_curve import BEGIN, END, CurveConfig, write_curve
from eval.reading.windows import WindowRule
from tests import tiny_distil
from tests.tiny_readers import bert_tokenizer

RULE = WindowRule(max_seq_length=16, doc_stride=4, max_query_length=8)


def paragraph(context, *questions, title="t"):
    asked = [
        Question(f"{context[:7]}-{number}", text, (Answer("cat", context.index("cat")),), False)
        for number, text in enumerate(questions)
    ]
    return Paragraph(title, context, tuple(asked))


def article(number, num_paragraphs=2):
    """One of a SQuAD file: its contexts are its own, and short."""
    paragraphs = []
    for place in range(num_paragraphs):
        context = f"the cat sat on mat {'a b c'.split()[place]} {number} ."
        answer = {"text": "cat", "answer_start": 4}
        qas = [
            {"id": f"q{number}-{place}-{name}", "question": f"who {name} ?", "answers": [answer]}
            for name in ("sat", "on")
        ]
        paragraphs.append({"context": context, "qas": qas})
    return {"title": f"Title {number}", "paragraphs": paragraphs}


def squad_file(path, num_articles):
    data = [article(number) for number in range(num_articles)]
    path.write_text(json.dumps({"version": "1.1", "data": data}))
    return str(path)


def test_questions_that_do_not_fit_are_left_out():
    """[CLS] 3 tokens [SEP] 10 tokens [SEP] is 16, which fits; one more of either does not."""
    ten, eleven = "the cat sat on mat a b c a b", "the cat sat on mat a b c a b c"
    given = [paragraph(ten, "who sat ?", "who sat on ?"), paragraph(eleven, "who sat ?")]
    fits = fitting_questions(given, bert_tokenizer(), RULE)
    assert [(p.context, q.text) for p, q in fits] == [(ten, "who sat ?")]
    longer = fitting_questions([paragraph("the cat", "who " * 9)], bert_tokenizer(), RULE)
    assert longer == []  # cut to 8 tokens it would fit


def test_one_question_of_a_context_whatever_their_order():
    questions = [paragraph("the cat sat", "who ?", "what ?", "where ?")]
    pairs = [(p, q) for p in questions for q in p.questions]
    assert len(one_a_paragraph(pairs)) == 1
    assert one_a_paragraph(pairs) == one_a_paragraph(pairs[::-1])


def test_articles_are_set_apart_and_originals_are_nested(tmp_path):
    sets = Sets(tmp_path / "sets", "embedded")
    train, dev = squad_file(tmp_path / "train.json", 31), squad_file(tmp_path / "dev.json", 3)
    make_sets(sets, train, dev, 5, bert_tokenizer(), replace(RULE, max_seq_length=32))
    held_out, ceiling = read_squad(sets.held_out), read_squad(sets.ceiling)
    # the tenth article, and every twentieth from there
    assert {p.title for p in held_out.paragraphs} == {"Title 9", "Title 29"}
    assert len(ceiling.paragraphs) == 2 * 29
    assert sum(len(p.questions) for p in read_squad(sets.dev).paragraphs) == 5
    drawn = {}
    for number, seed in ((8, 1), (16, 1), (8, 2)):
        arm = Arm(name="x", kind="originals", num_originals=number, passes=(1,), seed=seed)
        found = read_squad(sets.rows(arm)).paragraphs
        drawn[number, seed] = {q.id for p in found for q in p.questions}
    assert len(drawn[8, 1]) == 8
    assert drawn[8, 1] < drawn[16, 1]
    assert drawn[8, 1] != drawn[8, 2]
    too_many = Arm(name="x", kind="originals", num_originals=99, passes=(1,))
    with pytest.raises(ValueError, match="58 questions fit, 99 are wanted"):
        sets.originals(too_many)


def test_worth_by_hand():
    """Losses 4, 3 and 2: copies close half of the way; every row alike, so nothing varies."""
    four, three, two = (np.full(50, value, np.float32) for value in (4, 3, 2))
    assert worth(four, three, two) == pytest.approx((0.5, 0.5, 0.5))
    assert worth(four, four, two) == pytest.approx((0.0, 0.0, 0.0))
    assert lead(four, three) == pytest.approx((-1.0, -1.0, -1.0))
    assert worth(four, three, four) is None  # a ceiling that is not ahead
    noise = np.random.default_rng(0).normal(0, 1, 50).astype(np.float32)
    found = worth(four + noise, three + noise[::-1], two)
    assert found is not None
    assert found.low < found.value < found.high
    assert shown(found).startswith(f"{found.value:+.2f} ({found.low:+.2f}")


def test_steps_and_names():
    arm = Arm(name="x", kind="copies", num_originals=130, passes=(1, 2))
    assert [arm.steps(number, 8) for number in arm.passes] == [17, 34]
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    titles = {arm_title(vars(arm)) for arm in ARMS}
    assert {"originals", "ceiling", "20 copies, balanced", "20 copies, masked LM alone"} < titles


def test_the_rate_with_the_lowest_held_out_loss_is_chosen():
    rates = (3e-4, 1e-3)
    losses = {0: 2.0, 1: 1.5}
    records = {
        arm.name: {"points": [{"held_out_loss": 0.0}, {"held_out_loss": losses[number]}]}
        for number, arm in enumerate(trials(rates))
    }
    assert chosen_rate(records, rates) == 1e-3


def test_rows_belong_to_their_record(tmp_path):
    rows = [{"f1": np.array([0.5, 1.0], np.float32)}]
    write_record(tmp_path, rows, {"arm": {"name": "a"}})
    record = read_records(tmp_path)["a"]
    assert read_rows(tmp_path, record)["f1"].tolist() == [[0.5, 1.0]]
    (tmp_path / "a.npz").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"a\.npz: not the file that its record names"):
        read_rows(tmp_path, record)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of two tiny arms and one of labels, killed once after its second training."""
    folder = tmp_path_factory.mktemp("study")
    config = StudyConfig(
        train=squad_file(folder / "train.json", 11),
        dev=squad_file(folder / "dev.json", 3),
        teacher=tiny_distil.bert(folder / "teacher"),
        mlm="embedded",
        layers=(2, 4),
        work=folder / "work",
        records=folder / "records",
        rates=(1e-3,),
        batch_size=4,
        num_dev=6,
        max_seq_length=32,
    )
    tiny = {"num_originals": 4, "passes": (1, 2), "glove": "none"}
    small = [Arm(name=kind, kind=kind, **tiny) for kind in ("originals", "copies")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms, "ARMS", tuple(small))
        short = [replace(arm, **tiny) for arm in trials(config.rates)]
        patch.setattr(arms, "trials", lambda rates: short)
        agreeing = replace(labels.LABEL_ARMS[2], name="agreeing", num_originals=16, passes=1)
        patch.setattr(labels, "LABEL_ARMS", (agreeing,))
        study(replace(config, arms=("none",)))  # the teacher and the trial alone
        measure = running.dev_scores
        patch.setattr(running, "dev_scores", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            study(config)
        left = [path.name for path in config.work.glob("originals/stage-*")]
        patch.setattr(running, "dev_scores", measure)
        study(config)
        patch.setattr(running, "run_arm", lambda *_: pytest.fail("a finished arm ran again"))
        study(config)
    return config, left


def test_a_study_goes_on_and_runs_nothing_twice(finished):
    config, left = finished
    assert sorted(left) == ["stage-1", "stage-2"]  # trained before the kill, not again after it
    records = read_records(config.records)
    assert set(records) == {"trial-0.001", "originals", "copies", "agreeing", "teacher"}
    assert not list(config.work.glob("originals*"))
    for name in ("originals", "copies"):
        record = records[name]
        assert [(p["passes"], p["steps"]) for p in record["points"]] == [(1, 1), (2, 2)]
        assert record["training"][0]["stage"]["learning_rate"] == 1e-3
        rows = read_rows(config.records, record)
        assert rows["f1"].shape == (3, 6)
        assert rows["held_out_loss"].shape == (3, 2)
        f1 = record["after_stage_2"]["f1"]
        assert f1 == pytest.approx(100 * rows["f1"][2].mean(), abs=1e-3)
    # stage 1 leaves the teacher's spans alone and brings the student nearer to its hidden states
    losses = [point["held_out_loss"] for point in records["copies"]["points"]]
    assert losses[1] < losses[0]
    trained = {name: records[name]["training"][0]["rows"][0] for name in ("originals", "copies")}
    assert trained["copies"]["name"].endswith("copies-0.4-content-none")
    assert records["copies"]["training"][1]["rows"] == records["originals"]["training"][1]["rows"]


def test_labels_are_learned_from_copies_that_the_originals_reader_agrees_with(finished):
    config, _ = finished
    record = read_records(config.records)["agreeing"]
    training = record["training"][0]
    assert training["rows"][0]["min_agreement"] == labels.MIN_AGREEMENT
    judged = config.work / "sets" / training["rows"][0]["name"]
    kept = [
        row
        for row in read_shards(judged)
        if row["copy_index"] == 0 or row["reader_f1"] >= labels.MIN_AGREEMENT
    ]
    assert training["windows"]["rows"] == len(kept)
    assert training["stage"]["kind"] == "supervised"
    assert record["dev"]["f1"] == pytest.approx(
        100 * read_rows(config.records, record)["f1"].mean(), abs=1e-3
    )


def finished_arm(folder, arm, f1, loss):
    """Write a record of figures that are the same for every row."""
    figures = {"f1": 100 * f1, "held_out_loss": loss, "span_divergence": loss}
    rows = {name: np.full(8, value, np.float32) for name, value in figures.items()}
    rows["f1"] /= 100
    points = [{"passes": number, "steps": number, **figures} for number in arm.passes]
    made = {"arm": vars(arm), "learning_rate": 1e-3, "points": points, "after_stage_2": figures}
    write_record(folder, [rows] * (len(points) + 1), made)


def test_the_curve_is_made_from_the_records(tmp_path):
    """Losses 4, 3 and 2, F1 50, 40 and 70: worth a half by the one, and -0.5 by the other."""
    pytest.importorskip("matplotlib")
    by_kind = {"originals": (0.5, 4.0), "copies": (0.4, 3.0), "ceiling": (0.7, 2.0)}
    for kind, (f1, loss) in by_kind.items():
        arm = Arm(name=kind, kind=kind, num_originals=4, passes=(1, 2))
        finished_arm(tmp_path, arm, f1, loss)
        if kind != "ceiling":  # the first seed's stands in
            finished_arm(tmp_path, replace(arm, name=f"{kind}-2", seed=2), f1, loss)
    for taught_by, f1 in (("originals", 0.5), ("copies", 0.6)):
        arm = labels.LabelArm(name=f"labels-{taught_by}", taught_by=taught_by)
        made = {"arm": vars(arm), "dev": {"f1": 100 * f1}, "training": [{"windows": {"rows": 7}}]}
        write_record(tmp_path, [{"f1": np.full(8, f1, np.float32)}], made)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}old{END}\nafter\n")
    write_curve(CurveConfig(records=tmp_path))
    text = readme.read_text()
    assert (text[:7], text[-7:]) == ("before\n", "\nafter\n")
    assert "old" not in text
    assert text.count("| passes | originals | 20 copies | ceiling |") == 3 * 2
    assert text.count("| after stage 2 | 50.00 | 40.00 | 70.00 |") == 2
    worth_of_copies = "-10.00 (-10.00 to -10.00) | -0.50 (-0.50 to -0.50) |"
    worth_by_loss = "-1.00 (-1.00 to -1.00) | +0.50 (+0.50 to +0.50) |"
    assert text.count(f"| 2 | 20 copies | {worth_of_copies} {worth_by_loss}") == 2
    assert "| copies | 7 | 60.00 | +10.00 (+10.00 to +10.00) |" in text
    picture = (tmp_path / "curve.svg").read_bytes()
    assert picture.count(b"4 originals, 2 passes, seed 2") == 2
    write_curve(CurveConfig(records=tmp_path))
    assert (readme.read_text(), (tmp_path / "curve.svg").read_bytes()) == (text, picture)
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="lacks"):
        write_curve(CurveConfig(records=tmp_path))
