"""The stream over sorted snapshots counts what the window counts, and gives up where it would not."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from collectlab.core.engine import connection, scan
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import replicate_of
from collectlab.core.stream import hashed, in_order
from collectlab.measures import roll_count
from collectlab.measures.roll_count import count_steps
from collectlab.measures.roll_rates import roll_rates

FIRST = dt.date(2023, 1, 1)

row = st.tuples(
    st.integers(0, 6),  # account
    st.integers(0, 200),  # day
    st.one_of(st.none(), st.integers(0, 70)),
    st.sampled_from(["open", "open", "open", None, "charged_off", "closed"]),
    st.one_of(st.none(), st.floats(-5, 50), st.just(float("nan"))),
    st.sampled_from(["x", "y", None]),
)
books = st.lists(row, min_size=20, max_size=120, unique_by=lambda r: (r[0], r[1]))


def table(rows: list[tuple], text_ids: bool) -> pa.Table:
    name = (lambda i: f"L{i:02d}") if text_ids else int
    account, day, dpd, status, owed, branch = zip(*rows)
    return pa.table(
        {
            "account_id": [name(a) for a in account],
            "as_of": pa.array([FIRST + dt.timedelta(days=d) for d in day]),
            "days_past_due": pa.array(dpd, pa.int64()),
            "status": pa.array(status, pa.string()),
            "owed": pa.array(owed, pa.float64()),
            "branch": pa.array(branch, pa.string()),
        }
    )


def frozen(rows: pa.Table, folder, group: int = 7):
    pq.write_table(rows, folder / "snapshots.parquet", row_group_size=group)
    return connection().sql(f"SELECT * FROM read_parquet('{folder / 'snapshots.parquet'}')")


def by_window(monkeypatch_context, frame, **options):
    with monkeypatch_context() as patched:
        patched.setattr(roll_count, "stream_steps", lambda *_, **__: None)
        return count_steps(frame, (0, 1, 30), **options)


def by_stream(frame, **options):
    """Counted with the window form out of reach."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(roll_count, "window_steps", None)
        return count_steps(frame, (0, 1, 30), **options)


def same(one, other):
    columns = sorted(one.cells)
    pd.testing.assert_frame_equal(one.cells[columns], other.cells[columns], check_dtype=False)
    assert (one.gap, one.gone) == (other.gap, other.gone)


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    rows=books,
    text=st.booleans(),
    options=st.sampled_from(
        [
            {},
            {"step": 3},
            {"before": True},
            {"weight": "owed"},
            {"by": "branch", "weight": "owed"},
            {"by": ["branch", "status"], "step": 2},
            {"period": ("2023-02-01", dt.date(2023, 6, 15))},
        ]
    ),
)
def test_stream_and_window_count_the_same(tmp_path_factory, rows, text, options):
    ordered = table(sorted(rows, key=lambda r: r[:2]), text)
    frame = frozen(ordered, tmp_path_factory.mktemp("book"))
    streamed = by_stream(frame, **options)
    same(streamed, by_window(pytest.MonkeyPatch.context, frame, **options))
    same(streamed, by_stream(ordered, **options))  # an Arrow table goes through the engine


def test_an_account_longer_than_a_batch_and_across_the_parts(tmp_path):
    days = [31 * m for m in range(60)]
    rows = [(a, d, (a + d) % 50, "open", 1.0, "x") for a in (1, 2, 3) for d in days]
    frame = frozen(table(rows, True), tmp_path, group=50)
    same(by_stream(frame), by_window(pytest.MonkeyPatch.context, frame))
    assert by_stream(frame).cells["all"].sum() > 150


@pytest.mark.parametrize("text", [True, False])
def test_disorder_is_met_by_the_window_form(tmp_path, text):
    rows = [(a, 31 * m, 10 * m, "open", 1.0, "x") for a in range(5) for m in range(4)]
    right = by_stream(table(rows, text))
    calls, window = [], roll_count.window_steps
    for wrong in (
        rows[::-1],
        rows[8:] + rows[:8],
        [*rows[:3], rows[4], rows[3], *rows[5:]],
        rows[::2] + rows[1::2],
    ):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(roll_count, "window_steps", lambda *a: calls.append(1) or window(*a))
            same(count_steps(frozen(table(wrong, text), tmp_path), (0, 1, 30)), right)
    assert len(calls) == 4


def test_a_stream_given_up_half_way_leaves_the_engine_usable():
    rows = table([(a, 31 * m, 0, "open", 1.0, "x") for a in range(150_000) for m in range(3)], False)
    late = pa.concat_tables([rows.slice(3), rows.slice(0, 3)])  # the first account comes last
    early = pa.concat_tables([rows.slice(3, 3), rows.slice(0, 3), rows.slice(6)])
    assert [count_steps(f, (0, 1)).cells["all"].sum() for f in (rows, late, early)] == [300_000] * 3


def test_whole_results_are_equal_to_the_last_digit(tmp_path):
    rng = np.random.default_rng(5)
    rows = [
        (a, 30 * m, int(rng.choice([0, 0, 0, 12, 45, 100])), "open", float(rng.uniform(0, 900)), "xy"[a % 2])
        for a in range(300)
        for m in range(8)
    ]
    frame = frozen(table(rows, True), tmp_path, group=400)
    for options in ({}, {"weight": "owed", "by": "branch"}):
        one = roll_rates(frame, **options)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(roll_count, "stream_steps", lambda *_, **__: None)
            other = roll_rates(frame, **options)
        pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
        assert one.notes == other.notes


def test_replicate_groups_are_those_of_the_jackknife():
    ids = pa.array([f"A-{i}" for i in range(200)])
    assert hashed(ids, 50).tolist() == [replicate_of(i) for i in ids.to_pylist()]
    assert hashed(pa.array(range(99)), 50).tolist() == [replicate_of(i) for i in range(99)]


def test_a_join_has_no_order_of_its_own(tmp_path):
    frame = scan(frozen(table([(1, 0, 0, "open", 1.0, "x")], False), tmp_path))
    assert in_order(frame, ["account_id"]) is not None
    assert in_order(frame.join(frame, on="account_id"), ["account_id"]) is None
    assert in_order(scan(pd.DataFrame({"a": [1]})).group_by("a").agg(), ["a"]) is None


def test_unknown_statuses_are_named_by_the_stream_too(tmp_path):
    frame = frozen(table([(1, 0, 0, "lost", 1.0, "x"), (1, 31, 0, "open", 1.0, "x")], False), tmp_path)
    with pytest.raises(FrameError, match="lost"):
        count_steps(frame, (0, 1))


def test_two_snapshots_on_one_day_are_refused():
    rows = table(
        [(1, 31, 0, "open", 1.0, "x"), (1, 31, 5, "open", 1.0, "x"), (1, 62, 0, "open", 1.0, "x")], False
    )
    with pytest.raises(
        FrameError, match="1 times an account has several snapshots on one day: 1 on 2023-02-01"
    ):
        roll_rates(rows)
