"""The log-rank family by hand, and what stays the same whatever the groups are called or split into."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.survival_compare import log_rank


def book(days, outcomes, **columns):
    return pd.DataFrame({"exit_day": days, "outcome": outcomes, **columns})


def random_book(seed=5, n=400):
    rng = np.random.default_rng(seed)
    frame = book(rng.integers(1, 60, n), rng.choice(["cured", "sold", "censored"], n, p=[0.6, 0.1, 0.3]))
    return frame.assign(
        team=rng.choice(list("ABC"), n), branch=rng.integers(0, 4, n), e=rng.integers(0, 20, n)
    ).query("e < exit_day")


FOUR = book([1, 2, 3, 4], "cured", team=list("AABB"))


def test_by_hand():
    test = log_rank(FOUR, by="team")
    assert test.table["observed"].tolist() == [2, 2]
    assert test.table["expected"].tolist() == pytest.approx([1 / 2 + 1 / 3, 1 / 2 + 2 / 3 + 2])
    assert test.statistic == pytest.approx((2 - 5 / 6) ** 2 / (1 / 4 + 2 / 9))
    assert "χ²" in test.notes[0] and "1 degree of freedom" in test.notes[0]


def test_peto_by_hand():
    # Before each day everybody's S is 1, 3/4, 1/2, 1/4; those are the weights.
    test = log_rank(FOUR, by="team", rho=1)
    assert test.table["observed"].tolist() == [1.75, 0.75]
    assert test.table["expected"].tolist()[0] == pytest.approx(1 / 2 + 3 / 4 / 3)
    assert test.statistic == pytest.approx(1**2 / (1 / 4 + (3 / 4) ** 2 * 2 / 9))
    assert test.title.startswith("Peto")


def test_strata_are_summed():
    frame = pd.concat([FOUR.assign(branch="N"), FOUR.assign(branch="S", exit_day=[3, 1, 4, 2])])
    test = log_rank(frame, by="team", strata="branch")
    # In S: A leaves on days 1 and 3, B on 2 and 4.
    expected = (1 / 2 + 1 / 3) + (1 / 2 + 1 / 3 + 1 / 2)
    variance = (1 / 4 + 2 / 9) + (1 / 4 + 2 / 9 + 1 / 4)
    assert test.table["expected"].tolist()[0] == pytest.approx(expected)
    assert test.statistic == pytest.approx((4 - expected) ** 2 / variance)
    assert list(test.table.columns) == ["team", "episodes", "observed", "expected"]
    assert test.table["episodes"].tolist() == [4, 4]
    assert "Compared within branch" in test.notes[1]


def test_one_stratum_changes_nothing():
    frame = random_book().assign(bank="x")
    plain, inside = log_rank(frame, by="team"), log_rank(frame, by="team", strata="bank")
    assert inside.statistic == pytest.approx(plain.statistic, rel=1e-12)


def test_late_entry_and_strata_against_a_loop_over_days():
    frame = random_book()
    observed, variance = np.zeros(3), np.zeros((3, 3))
    for _, part in frame.groupby("branch"):
        staying = 1.0
        for day in sorted(part.loc[part["outcome"] == "cured", "exit_day"].unique()):
            here = part[(part["e"] < day) & (part["exit_day"] >= day)]
            hit = here[(here["exit_day"] == day) & (here["outcome"] == "cured")]
            n, d = len(here), len(hit)
            p = here["team"].value_counts().reindex(list("ABC"), fill_value=0).to_numpy() / n
            observed += staying * (hit["team"].value_counts().reindex(list("ABC"), fill_value=0) - d * p)
            if n > 1:
                variance += staying**2 * d * (n - d) / (n - 1) * (np.diag(p) - np.outer(p, p))
            staying *= 1 - d / n
    theirs = observed[:2] @ np.linalg.solve(variance[:2, :2], observed[:2])
    test = log_rank(frame, by="team", strata="branch", entry="e", rho=1)
    assert (test.statistic, test.df) == (pytest.approx(theirs, rel=1e-10), 2)


def test_weights_stand_for_rows():
    frame = random_book().assign(w=lambda f: 1 + f["exit_day"] % 3)
    repeated = frame.loc[frame.index.repeat(frame["w"])]
    ours, theirs = log_rank(frame, by="team", weight="w"), log_rank(repeated, by="team")
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-12)
    pd.testing.assert_frame_equal(ours.table, theirs.table)


def test_a_tiny_group_beside_a_huge_one():
    frame = book([1, 5, 3, 3, 9] * 2, "cured", team=list("AAHHH") * 2, w=[1, 1, 1e7, 2e7, 3e7] * 2)
    many = book([1, 5, 3, 3, 9] * 2, "cured", team=list("BBHHH") * 2, w=[1, 1, 1e7, 2e7, 3e7] * 2)
    two = log_rank(frame, by="team", weight="w")
    three = log_rank(pd.concat([frame, many]), by="team", weight="w")
    assert (two.df, three.df) == (1, 2)
    assert three.statistic == pytest.approx(2 * two.statistic, rel=1e-6)


def test_groups_that_never_meet_are_said():
    test = log_rank(book([1, 2, 9], "cured", team=list("AAB"), e=[0, 0, 5]), by="team", entry="e")
    assert test.df == 0 and np.isnan(test.p_value)
    assert "no test" in test.notes[0]


def test_a_group_without_events_and_one_of_one_account():
    frame = random_book()
    frame.loc[frame["team"] == "C", "outcome"] = "censored"
    frame = pd.concat([frame, book([30], "cured", team=["D"], branch=0, e=0)])
    test = log_rank(frame, by="team")
    assert test.df == 3
    assert test.table["observed"].tolist()[2:] == [0, 1]


def test_groups_named_like_the_columns_of_the_table():
    test = log_rank(FOUR.rename(columns={"team": "observed"}), by="observed")
    assert test.table.columns[0] == "by_observed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": []}, "one group"),
        ({"by": "all"}, "one group"),
        ({"by": "team", "event": "sold"}, "nobody is sold"),
        ({"by": "team", "strata": "team"}, "both in by and in strata"),
        ({"by": "team", "rho": -1}, "rho is -1"),
        ({"by": "team", "rho": float("inf")}, "rho is inf"),
        ({"by": "team", "strata": "brnch"}, "no column 'brnch'"),
        ({"by": "team", "weight": "zero"}, "'zero'"),
    ],
)
def test_bad_questions_are_refused(arguments, words):
    with pytest.raises(FrameError, match=words):
        log_rank(FOUR.assign(all=1, zero=0), **arguments)
