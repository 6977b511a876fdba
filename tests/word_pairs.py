"""Which word pairs are nearer: a sanity set for vectors, written before any was looked at."""

import numpy as np
from numpy.typing import NDArray

RELATED = """
    king queen; father son; brother sister; north south; east west; summer winter; river
    lake; ocean sea; army navy; war battle; school university; teacher student; doctor
    hospital; church bishop; music song; film actor; book novel; football team; city town;
    country nation; president government; law court; money bank; oil gas; gold silver; iron
    steel; water ice; sun moon; earth planet; plant animal; dog cat; blood heart; mother
    child; red blue; black white; january february; monday sunday; france paris; england
    london; germany berlin; japan tokyo; roman emperor; computer software; train railway;
    ship port; aircraft pilot; temperature heat; theory science; poem poet; election vote
"""
UNRELATED = """
    king temperature; father gas; brother planet; north novel; east bank; summer court;
    river software; ocean bishop; army song; war ice; school silver; teacher oil; doctor
    railway; church protein; music steel; film river; book iron; football emperor; city
    poem; country cat; president moon; law animal; money red; oil poet; gold sister; iron
    student; water actor; sun vote; earth team; plant battle; dog university; blood port;
    mother theory; red railway; black hospital; january gas; monday gold; france dog;
    england protein; germany song; japan heart; roman oil; computer queen; train bishop;
    ship teacher; aircraft novel; temperature actor; theory cat; poem bank; election ice
"""


def share_in_order(words: list[str], matrix: NDArray[np.float32]) -> float:
    """Share of the 2,500 comparisons in which the related pair has the larger cosine."""
    row = {word: number for number, word in enumerate(words)}
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    related, unrelated = (
        np.array([matrix[row[left]] @ matrix[row[right]] for left, right in map(str.split, pairs)])
        for pairs in (RELATED.split(";"), UNRELATED.split(";"))
    )
    assert len(related) == len(unrelated) == 50
    return float((related[:, None] > unrelated).mean())
