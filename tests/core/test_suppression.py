"""Small cells are not shown, and cannot be worked out from what is."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from collectlab.core.errors import FrameError
from collectlab.core.suppression import suppress
from collectlab.core.suppression_names import cells_of
from collectlab.core.suppression_words import coarse


def shown(table: pd.DataFrame, column: str = "cases", **options) -> list:
    values = suppress(table, **options).table[column]
    return [None if pd.isna(v) else int(v) for v in values]


def teams(*cases: int) -> pd.DataFrame:
    return pd.DataFrame({"team": [f"T{i}" for i in range(len(cases))], "cases": cases, "cost": 7.5})


@pytest.mark.parametrize(
    ("cases", "left"),
    [
        ((40, 12, 90), [40, 12, 90]),  # nothing small
        ((40, 0, 90), [40, 0, 90]),  # none is not few
        ((40, 5, 90), [40, 5, 90]),  # the minimum itself is shown
        ((40, 3, 12, 90), [40, None, None, 90]),  # the next smallest hides it
        ((40, 3, 4, 90), [40, None, None, 90]),  # two hide one another: 7 together
        ((40, 1, 1, 90), [None, None, None, 90]),  # but not 2 together: both would be 1
        ((3, 0, 40), [None, 0, None]),  # a zero hides little: another goes first
        ((3, 0), [None, 0]),  # the total is small itself, and nowhere published
        ((3,), [None]),
    ],
)
def test_one_dimension_by_hand(cases, left):
    result = suppress(teams(*cases))
    assert [None if pd.isna(v) else int(v) for v in result.table["cases"]] == left
    # The other figures of the row go too.
    assert (result.table["cost"].isna() == result.table["cases"].isna()).all()
    assert list(result.rows) == [v is None for v in left]
    assert bool(result.notes) == (None in left)


def test_where_nothing_is_small_the_table_is_the_same_object():
    table = teams(40, 12, 90)
    assert suppress(table).table is table and suppress(table).to_write() is not None
    assert "suppressed" not in suppress(table).to_write().columns


def test_a_file_says_which_rows_and_keeps_counts_whole():
    written = suppress(teams(40, 3, 12, 90)).to_write()
    assert written["suppressed"].tolist() == [False, True, True, False]
    assert str(written["cases"].dtype) == "Int64"
    assert written.to_csv(index=False).splitlines()[1:3] == ["T0,40,7.5,False", "T1,,,True"]


def test_two_dimensions_leave_no_line_with_one_gap():
    table = pd.DataFrame(
        [
            (p, r, n)
            for p, row in zip("abc", ([3, 20, 30], [40, 50, 60], [70, 80, 90]))
            for r, n in zip("xyz", row)
        ],
        columns=["product", "region", "cases"],
    )
    gaps = suppress(table).table["cases"].isna().to_numpy().reshape(3, 3)
    assert gaps[0, 0]
    assert all(n != 1 for n in (*gaps.sum(axis=0), *gaps.sum(axis=1)))
    assert gaps.sum() == 4  # a rectangle: no fewer would do


def test_a_part_takes_its_share_along_and_leaves_the_base():
    loans = pd.DataFrame(
        {"product": list("abcd"), "loans": [100, 80, 90, 70], "bad": [2, 9, 20, 30],
         "estimate": [0.02, 0.1125, 20 / 90, 30 / 70], "conf_high": 0.5}
    )  # fmt: skip
    out = suppress(loans).table
    assert out["loans"].tolist() == [100, 80, 90, 70]
    assert out["bad"].isna().tolist() == out["estimate"].isna().tolist() == [True, True, False, False]
    assert out["conf_high"].isna().tolist() == [True, True, False, False]
    # And so does the rest beside it: all but 2 were bad.
    loans["bad"], loans["estimate"] = [98, 9, 20, 30], np.nan
    assert suppress(loans).table["bad"].isna().sum() == 2


def test_a_share_gives_its_numerator_away():
    shares = pd.DataFrame({"team": list("abc"), "measure": "at_night", "unit": "share", "actions": [50, 40, 60],
                           "estimate": [0.04, 0.5, 0.25]})  # fmt: skip
    assert suppress(shares).table["estimate"].isna().tolist() == [True, False, True]
    # A mean of scores is no share of its answers.
    scores = shares.assign(unit="number")
    assert not suppress(scores).rows.any()


def test_measures_of_a_group_go_together_and_totals_are_not_taken_over_them():
    rows = [(t, m, n, 0.123) for t, n in zip("abc", (3, 50, 60)) for m in ("cured", "recovered")]
    table = pd.DataFrame(rows, columns=["team", "measure", "cases", "estimate"])
    assert suppress(table).rows.tolist() == [True, True, True, True, False, False]


def test_a_curve_loses_its_ends_and_its_events_by_day():
    curve = pd.DataFrame({"day": [1, 2, 3, 4], "at_risk": [20, 9, 4, 0], "events": [2, 5, 1, 0],
                          "estimate": [0.1, 0.6, 0.7, 0.7]})  # fmt: skip
    result = suppress(curve)
    # By day 1 it had happened to 2; on day 3 only 4 were left.
    assert result.table["estimate"].isna().tolist() == [True, False, True, False]
    assert result.table["at_risk"].isna().tolist() == [False, False, True, False]
    assert "events" not in result.table.columns and "events" not in result.to_write().columns


def test_the_oldest_month_goes_first_and_the_latest_last():
    months = [f"2026-{m:02d}" for m in range(1, 7)]
    table = pd.DataFrame({"month": months, "complaints": [30, 9, 3, 40, 8, 7], "contacts": 500})
    gaps = suppress(table).table["complaints"].isna().tolist()
    assert gaps == [True, False, True, False, False, False]  # the smallest would have been the latest


def test_a_rest_beside_a_share_is_a_count_too():
    table = pd.DataFrame({"agency": list("abc"), "accounts": [50, 40, 60], "estimate": [0.96, 0.5, 0.25]})
    assert suppress(table).table["estimate"].isna().tolist() == [True, True, False]  # 2 of 50 were not
    # Two contacts without a record are nobody.
    assert not suppress(table.rename(columns={"accounts": "contacts"})).rows.any()


def test_what_happened_between_two_horizons_is_a_count_too():
    table = pd.DataFrame({"horizon": [30, 60, 90], "at_risk": 100, "events": [10, 12, 30],
                          "estimate": [0.1, 0.12, 0.3]})  # fmt: skip
    out = suppress(table).table
    assert out["events"].isna().tolist() == [True, False, False]  # the longest is what matters most
    within = table.assign(measure=[f"within {h} days" for h in table["horizon"]]).drop(
        columns=["horizon", "events"]
    )
    assert suppress(within).table["estimate"].isna().tolist() == [True, False, False]
    # Where the shorter horizon looks at others, a difference says nothing.
    assert not suppress(table.assign(at_risk=[100, 90, 80], estimate=np.nan)).rows.any()


def test_shares_of_one_group_that_make_up_the_whole():
    rows = [(s, m, 100, n / 100) for s, counts in (("x", (80, 3, 17)), ("y", (50, 20, 30)), ("z", (40, 25, 35)))
            for m, n in zip(("done", "late", "missing"), counts)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["step", "measure", "judged", "estimate"])
    gaps = suppress(table).table["estimate"].isna().to_numpy().reshape(3, 3)
    assert gaps[0].tolist() == [False, True, True] and not gaps[1:].any()


def test_a_small_number_beside_the_figures_goes_alone():
    table = pd.DataFrame({"step": ["a", "b"], "judged": [80, 90], "exempt": [2, 9], "estimate": [0.35, 0.5]})
    out = suppress(table).table
    assert out["exempt"].isna().tolist() == [True, False] and out["estimate"].notna().all()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("4 of 169 episodes were left out.", "Fewer than 5 of 169 episodes were left out."),
        ("166 of 169 episodes (98.2 %) were seen.", "All but fewer than 5 of 169 episodes were seen."),
        ("1 plan was kept, 16 plans began before.", "Fewer than 5 plans were kept, 16 plans began before."),
        ("2.0 % of the 100 accounts", "Few of the 100 accounts"),
        ("At least 3 accounts are needed.", "At least 3 accounts are needed."),
        ("Call team 2 cases", "Call team 2 cases"),
        ("3 rows were set aside; 2 teams; 1,004 accounts; within 3 days; 0 cases", None),
        ("12 of 40 accounts", None),
    ],
)  # fmt: skip
def test_sentences_lose_small_counts_of_people(text, left):
    assert coarse(text, 5) == (text if left is None else left)


def test_tables_without_people_are_left_alone():
    table = pd.DataFrame({"parameter": ["sms", "call"], "value": [2, 3]})
    assert suppress(table).table is table
    assert suppress(table.iloc[:0]).table.empty


def test_what_is_asked_for_must_be_there():
    with pytest.raises(FrameError, match="no column 'people'"):
        suppress(teams(3, 4), counts=["people"])
    with pytest.raises(FrameError, match="minimum is 0"):
        suppress(teams(3, 4), minimum=0)


def test_the_same_table_gives_the_same_gaps_in_any_order():
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        [(a, b, int(rng.integers(0, 20))) for a in "abcd" for b in "vwxyz"],
        columns=["product", "region", "cases"],
    )
    gaps = suppress(table).table.set_index(["product", "region"])["cases"].isna()
    other = (
        suppress(table.sample(frac=1, random_state=1)).table.set_index(["product", "region"])["cases"].isna()
    )
    assert gaps.sort_index().equals(other.sort_index())


def test_how_tables_are_read():
    table = pd.DataFrame(
        {"from": list("aabb"), "channel": list("xyxy"), "attempts": 50, "contacts": 30, "unit": "share",
         "median_days": 4, "tickets": [1, 2, 3, 4]}
    )  # fmt: skip
    read = cells_of(table)
    assert read.by == ("from", "channel")
    assert read.counts == ("attempts",)
    assert set(read.parts) == {"contacts", "tickets"}  # another whole number is taken for a part


cubes = st.tuples(st.integers(2, 4), st.integers(2, 4)).flatmap(
    lambda shape: st.lists(
        st.one_of(st.integers(0, 8), st.integers(0, 60)),
        min_size=shape[0] * shape[1],
        max_size=shape[0] * shape[1],
    ).map(lambda cells: np.array(cells).reshape(shape))
)


@settings(max_examples=25, deadline=None)
@given(cubes)
def test_no_small_cell_can_be_worked_out(cube):
    """With every total published (that is not small itself), a small cell may be anything up to the minimum or more."""
    rows, columns = cube.shape
    table = pd.DataFrame(
        [(f"p{i}", f"r{j}", cube[i, j]) for i, j in itertools.product(range(rows), range(columns))],
        columns=["product", "region", "cases"],
    )
    gaps = suppress(table).table["cases"].isna().to_numpy().reshape(cube.shape)
    assert gaps[(cube > 0) & (cube < 5)].all()
    # The totals of rows and columns are suppressed as tables of their own.
    sides = [
        suppress(teams(*map(int, cube.sum(axis=axis)))).table["cases"].isna().to_numpy() for axis in (1, 0)
    ]
    left, right = [np.ones(cube.size)], [cube.sum()]
    for axis, hidden in enumerate(sides):
        for place in np.flatnonzero(~hidden):
            line = np.zeros(cube.shape)
            line[place if axis == 0 else (slice(None), place)] = 1
            left.append(line.ravel())
            right.append(line.ravel() @ cube.ravel())
    for cell in np.flatnonzero(~gaps.ravel()):
        left.append(np.eye(cube.size)[cell])
        right.append(cube.ravel()[cell])
    if cube.sum() < 5:
        return
    for cell in np.flatnonzero((cube.ravel() > 0) & (cube.ravel() < 5)):
        ends = [
            linprog(sign * np.eye(cube.size)[cell], A_eq=np.array(left), b_eq=right, bounds=(0, None)).x[cell]
            for sign in (1, -1)
        ]
        assert ends[1] - ends[0] > 0.5, (cube, gaps, cell)


@pytest.mark.parametrize("dimension", ["scheme", "slice", "attribute"])
def test_two_ways_of_dividing_the_same_accounts_are_two_tables(dimension):
    """Each adds up to all accounts, so a gap in the other would hide nothing here."""
    table = pd.DataFrame(
        {dimension: list("aaabbb"), "class": list("uvwxyz"), "accounts": [90, 8, 3, 60, 34, 7], "cost": 1.0}
    )
    found = suppress(table)
    assert found.rows.tolist() == [False, True, True, False, False, False]
