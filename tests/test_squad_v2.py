"""eval.squad_v2: the official figures to the last digit, and errors that name the ids."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.base.command import UsageError
from eval.benches.plain import plain_scores
from eval.scoring.gold import read_gold
from eval.scoring.no_answer import find_best_threshold, precision_recall
from eval.squad_v1 import normalize_answer
from eval.squad_v2 import SquadV2, question_scores, score, score_files

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data: the SQuAD dev sets")


def squad(*questions):
    """A data set of one paragraph: (id, gold texts) each."""
    qas = [
        {"id": qid, "question": "q", "answers": [{"text": t, "answer_start": -7} for t in texts]}
        for qid, texts in questions
    ]
    return {
        "version": "v2.0",
        "data": [{"title": "t", "paragraphs": [{"context": "", "qas": qas}]}],
    }


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The U.S. Army", "us army"),
        ("A-team", "ateam"),  # the hyphen goes first, so "a" is no word of its own
        ("  an\tanswer\n", "answer"),
        ("theatre", "theatre"),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation is dropped
        ("1990–1995", "1990–1995"),
        ("the", ""),
        (".", ""),
        ("$5,000", "5000"),
        ("Beyoncé", "beyoncé"),
        ("a b the c", "b c"),
    ],
)
def test_normalize_answer(text, normalised):
    assert normalize_answer(text) == normalised


@pytest.mark.parametrize(
    ("prediction", "gold", "exact", "f1"),
    [
        ("the cat", ("cat",), 1, 1.0),
        ("cat sat", ("cat",), 0, 2 / 3),  # precision 1/2, recall 1
        ("cat", ("dog", "black cat"), 0, 2 / 3),  # the best gold answer counts
        ("", (), 1, 1),
        ("cat", (), 0, 0),
        ("", ("cat",), 0, 0),
        ("The", ("the",), 1, 1),  # both normalise to nothing, so the gold answer is ""
        (".", ("the", "cat"), 0, 0),  # "the" is dropped, "cat" is left
        ("cat cat", ("cat",), 0, 2 / 3),  # counted with multiplicity
    ],
)
def test_question_scores(prediction, gold, exact, f1):
    assert question_scores(prediction, gold) == (exact, pytest.approx(f1, abs=1e-15))


def test_thresholds_and_curve_by_hand():
    """Four questions, a and b answerable, from the surest answer to the least sure.

    Answering none scores 2 (c, d). Then a is right: 3; c is answered, wrongly: 2; b half: 2.5.
    """
    has_answer = {"a": True, "b": True, "c": False, "d": False}
    na_probs = {"a": 0.1, "c": 0.2, "b": 0.3, "d": 0.9}
    scores = {"a": 1, "b": 0.5, "c": 0, "d": 1}
    predictions = {"a": "x", "b": "y", "c": "z", "d": ""}
    assert find_best_threshold(predictions, scores, na_probs, has_answer) == (75.0, 0.1)
    curve = precision_recall(scores, na_probs, has_answer)
    assert curve.precisions == (1.0, 1.0, 0.5, 0.5, 1.5 / 4)
    assert curve.recalls == (0.0, 0.5, 0.5, 0.75, 0.75)
    assert curve.average_precision == 100 * (1.0 * 0.5 + 0.5 * 0.25)


def test_equal_probabilities_share_one_point():
    curve = precision_recall({"a": 1, "b": 1}, {"a": 0.5, "b": 0.5}, {"a": True, "b": True})
    assert curve.recalls == (0.0, 1.0)


def test_empty_groups_are_null_and_best_needs_probabilities():
    scores = score(squad(("a", ["x"])), {"a": "x"}).as_dict()
    assert scores["NoAns_exact"] is scores["NoAns_f1"] is None
    assert (scores["NoAns_total"], scores["HasAns_exact"]) == (0, 100.0)
    assert not [key for key in scores if key.startswith(("best_", "pr_"))]
    only_null = score(squad(("a", [])), {"a": ""}, {"a": 0.5}).as_dict()
    assert only_null["HasAns_f1"] is None
    assert only_null["pr_exact_ap"] is None
    assert only_null["best_exact"] == 100.0


def test_threshold_turns_answers_into_null():
    data, said = squad(("a", ["x"]), ("b", [])), {"a": "x", "b": "x"}
    strict = score(data, said, {"a": 0.2, "b": 0.7}, na_prob_thresh=0.7)
    assert strict.exact == 50.0  # above, not at, the threshold
    assert score(data, said, {"a": 0.2, "b": 0.7}, na_prob_thresh=0.6).exact == 100.0


TEXTS = st.text(st.sampled_from("aAnthe .,-'\n“é1x"), max_size=12)
PROBABILITIES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)


@given(
    rows=st.lists(st.tuples(st.lists(TEXTS, max_size=3), TEXTS, PROBABILITIES), min_size=1),
    threshold=st.sampled_from([0.25, 0.5, 1.0]),
)
def test_equals_the_plain_transcription(rows, threshold):
    data = squad(*((str(i), golds) for i, (golds, _, _) in enumerate(rows)))
    said = {str(i): text for i, (_, text, _) in enumerate(rows)}
    probs = {str(i): prob for i, (_, _, prob) in enumerate(rows)}
    ours = score(data, said, probs, na_prob_thresh=threshold).as_dict()
    plain = plain_scores(data["data"], said, probs, threshold)
    assert {key: ours[key] for key in plain} == plain


@real
def test_equals_the_official_figures_to_the_last_digit():
    expected = json.loads((DATA / "predictions/expected.json").read_text())
    content = json.loads((DATA / "squad/dev-v2.0.json").read_text())
    said = json.loads((DATA / "predictions/bert-large-dev-v2.0.json").read_text())
    name = "synthetic-na-probs-dev-v2.0.json"
    probs = json.loads((DATA / "predictions" / name).read_text())
    alone = expected["bert-large-dev-v2.0.json"]["scores"]
    ours = score(content, said).as_dict()
    assert {key: ours[key] for key in alone} == alone
    both = expected[f"bert-large-dev-v2.0.json with {name}"]
    ours = score(content, said, probs).as_dict()
    wanted = both["scores"] | both["average_precision_percent"]
    assert {key: ours[key] for key in wanted} == wanted
    assert set(ours) == set(wanted) | {"signature"}


@real
def test_golden_tables_of_the_dev_set():
    questions, _ = read_gold(DATA / "squad/dev-v2.0.json")
    content = json.loads((DATA / "squad/dev-v2.0.json").read_text())
    gold = score(content, {q.id: (q.answers or ("",))[0] for q in questions})
    assert (gold.exact, gold.f1, gold.HasAns_f1, gold.NoAns_f1) == (100.0, 100.0, 100.0, 100.0)
    empty = score(content, {q.id: "" for q in questions})
    assert round(empty.exact, 4) == round(empty.f1, 4) == 50.0716
    assert (empty.HasAns_total, empty.NoAns_total) == (5928, 5945)


DATASET = squad(("one", ["x"]), ("two", []))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"one": "x"}', "question two: no prediction"),
        ('{"one": "x", "two": "", "six": "y"}', "question six: a prediction, but no such question"),
        ('{"one": "x", "two": null}', "question two: the prediction is null"),
        ('{"one": "x", "two": 3}', "question two: the prediction is int"),
        ('{"one": "x", "two": ["y"]}', "is this nbest_predictions.json?"),
        ('{"one": "x", "two": "", "one": "y"}', "question id 'one' occurs more than once"),
        ('["x", ""]', "expected one object"),
        ('{"one": "x"', "not a JSON file"),
    ],
)
def test_faulty_predictions_name_the_ids(tmp_path, text, message):
    (tmp_path / "dev.json").write_text(json.dumps(DATASET))
    (tmp_path / "said.json").write_text(text)
    config = SquadV2(dev=str(tmp_path / "dev.json"), predictions=tmp_path / "said.json")
    with pytest.raises(ValueError, match=r"said\.json") as caught:
        score_files(config)
    assert message in str(caught.value)


def test_a_folder_is_no_file_of_predictions(tmp_path):
    (tmp_path / "dev.json").write_text(json.dumps(DATASET))
    with pytest.raises(ValueError, match=r"a folder; name the file in it, such as predictions"):
        score_files(SquadV2(dev=str(tmp_path / "dev.json"), predictions=tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"one": 0.5, "two": NaN}', "question two: the no-answer probability is nan"),
        ('{"one": 0.5, "two": null}', "question two: the no-answer probability is null"),
        ('{"one": 0.5, "two": "0.1"}', "question two: the no-answer probability is '0.1'"),
        ('{"one": 0.5, "two": true}', "question two: the no-answer probability is True"),
        (f'{{"one": 0.5, "two": 1{"0" * 400}}}', "question two: the no-answer probability is 1000"),
        ('{"one": 0.5}', "question two: no no-answer probability"),
    ],
)
def test_faulty_probabilities_name_the_ids(tmp_path, text, message):
    (tmp_path / "dev.json").write_text(json.dumps(DATASET))
    (tmp_path / "said.json").write_text('{"one": "x", "two": ""}')
    (tmp_path / "probs.json").write_text(text)
    config = SquadV2(
        dev=str(tmp_path / "dev.json"),
        predictions=tmp_path / "said.json",
        na_prob_file=tmp_path / "probs.json",
    )
    with pytest.raises(ValueError, match=r"probs\.json") as caught:
        score_files(config)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": {}}, 'no list "data" in it; is this a SQuAD file?'),
        ({"id": "x"}, 'no list "data" in it'),
        ({"data": [{"title": "t"}]}, "paragraphs: expected list, found nothing"),
        (squad(), "no questions"),
        (squad(("one", []), ("one", [])), "'one' occurs 2 times"),
        (
            {"data": [{"paragraphs": [{"qas": [{"id": "one"}]}]}]},
            "question one: no list of answers",
        ),
        ({"data": [{"paragraphs": [{"qas": [{"id": 1}]}]}]}, "question 1: no list of answers"),
    ],
)
def test_faulty_data_sets(content, message):
    with pytest.raises(ValueError, match=r"expected|no |occurs|must") as caught:
        score(content, {"one": ""})
    assert message in str(caught.value)


def test_the_first_ten_faults_and_their_number():
    data = squad(*((f"q{i:02}", []) for i in range(30)))
    with pytest.raises(ValueError, match="30 faults in all") as caught:
        score(data, {})
    assert "q09" in str(caught.value)
    assert "q10" not in str(caught.value)


def test_command_line(tmp_path):
    (tmp_path / "dev.json").write_text(json.dumps(DATASET))
    (tmp_path / "said.json").write_text('{"one": "x", "two": ""}')
    command = [sys.executable, "-m", "eval.squad_v2", "dev.json", "said.json"]

    def start(*more):
        return subprocess.run(
            [*command, *more],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    done = start("--out-file", "out/scores.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads((tmp_path / "out/scores.json").read_text())
    assert "protocol:unknown|n:2|data:" in json.loads(done.stdout)["signature"]
    assert start("--out-image-dir", "x").returncode == 2
    (tmp_path / "said.json").write_text("{}")
    failed = start()
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "question one: no prediction" in failed.stderr


def test_usage_errors(tmp_path):
    for wrong in ({"na_prob_thresh": 0.5}, {"out_image_dir": tmp_path}):
        with pytest.raises(UsageError, match="--na-prob-file"):
            SquadV2(dev="d", predictions=tmp_path, **wrong)


def test_pictures_are_drawn_and_equal_on_every_run(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "dev.json").write_text(json.dumps(DATASET))
    (tmp_path / "said.json").write_text('{"one": "x", "two": ""}')
    (tmp_path / "probs.json").write_text('{"one": 0.2, "two": 0.6}')
    drawn = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        score_files(
            SquadV2(
                dev=str(tmp_path / "dev.json"),
                predictions=tmp_path / "said.json",
                na_prob_file=tmp_path / "probs.json",
                out_image_dir=folder,
            )
        )
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    names = ("pr_exact", "pr_f1", "pr_oracle", "na_prob_hist_hasAns", "na_prob_hist_noAns")
    assert set(drawn[0]) == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("module", ["eval.squad_v1", "eval.squad_v2", "eval.benches.plain"])
def test_scorers_start_without_torch(module):
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'transformers'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0
