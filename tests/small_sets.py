"""A SQuAD set of three paragraphs with the awkward cases in it."""

from typing import Any

CONTEXT = (
    "The old lighthouse near Calais was built in 1848. Its keeper, Anne Leroy, lit the lamp every "
    "evening; ships paid $5.00 for the light. The keeper's daughter later wrote a famous book."
)
SECOND = (
    "Bees visit a clover field twice a day.\n\nThe “queen” never leaves the hive — café-bees do."
)


def answer(context: str, text: str) -> dict[str, Any]:
    return {"text": text, "answer_start": context.index(text)}


def squad(
    paragraphs: list[tuple[str, list[dict[str, Any]]]], version: str = "v2.0"
) -> dict[str, Any]:
    """Wrap paragraphs as SQuAD does, one article each."""
    data = [
        {"title": f"Title {number}", "paragraphs": [{"context": context, "qas": questions}]}
        for number, (context, questions) in enumerate(paragraphs)
    ]
    return {"version": "v2.0", "data": data}


def question(qid: str, *answers: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {
        "id": qid,
        "question": f"What about {qid}?",
        "answers": list(answers),
        "is_impossible": not answers,
        **extra,
    }


def small_set() -> dict[str, Any]:
    return squad(
        [
            (
                CONTEXT,
                [
                    question("year", answer(CONTEXT, "1848")),
                    question("who", answer(CONTEXT, "Anne Leroy"), answer(CONTEXT, "Leroy")),
                    question("price", answer(CONTEXT, "5.00")),
                    question("first", answer(CONTEXT, "The old")),
                    question("last", answer(CONTEXT, "famous book.")),
                    question("none", plausible_answers=[answer(CONTEXT, "ships")]),
                ],
            ),
            (SECOND, [question("inside", answer(SECOND, "lover")), question("none-2")]),
            ("。。。 \u200b 😀", [question("symbols")]),
        ]
    )
