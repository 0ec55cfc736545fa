"""What one process puts on the shelf, the others read."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import narwhals as nw
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.shelf import result_on, table_on
from collectlab.core.engine import collect, scan
from collectlab.core.errors import NotAvailable

SNAPSHOTS = pd.DataFrame(
    {
        "account_id": ["a"] * 4 + ["b"] * 2,
        "as_of": ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-01-31", "2026-02-28"],
        "days_past_due": [0, 10, 41, 0, 3, 31],
    }
)


def test_a_table_is_made_once_and_read_from_then_on(tmp_path):
    made = []

    def make() -> nw.LazyFrame:
        made.append(1)
        return scan(
            pd.DataFrame({"n": [1, None], "a b": ["x", None], "on": pd.to_datetime(["2026-01-31", None])})
        )

    first, second = (collect(table_on(tmp_path, ("key", 1), make)) for _ in range(2))
    assert len(made) == 1
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(first, collect(make()))


def test_another_key_is_another_table(tmp_path):
    for n in (1, 2):
        table = table_on(tmp_path, ("key", n), lambda n=n: scan(pd.DataFrame({"n": [n]})))
        assert collect(table)["n"].tolist() == [n]


def test_an_error_reaches_each_who_asks_and_leaves_nothing(tmp_path):
    def fails():
        raise NotAvailable("no payments")

    for _ in range(2):
        with pytest.raises(NotAvailable, match="no payments"):
            result_on(tmp_path, "key", fails)
    assert result_on(tmp_path, "key", lambda: 3) == 3
    assert result_on(tmp_path, "key", fails) == 3


def _ask(place: Path) -> str:
    def make() -> str:
        with (place / "made").open("a") as told:
            told.write("x")
        return "found"

    return result_on(place, "key", make)


def test_processes_that_ask_at_once_make_it_once(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_ask, [tmp_path] * 6) == ["found"] * 6
    assert (tmp_path / "made").read_text() == "x"


def test_a_book_with_a_shelf_gives_the_same_episodes(tmp_path):
    book = open_book(
        {"accounts": pd.DataFrame({"account_id": ["a", "b"], "region": ["N", "S"]}), "snapshots": SNAPSHOTS}
    )
    with_shelf = replace(book, shelf=tmp_path)

    def episodes(of, **options) -> pd.DataFrame:
        return collect(of.episodes(**options)).sort_values(["account_id", "episode"], ignore_index=True)

    for options in ({}, {"definition": "eba_three_months"}, {"as_of": "2026-03-31"}):
        for _ in range(2):
            pd.testing.assert_frame_equal(episodes(with_shelf, **options), episodes(book, **options))
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    earlier = with_shelf.until("2026-03-31")
    assert episodes(earlier)["outcome"].tolist() == ["censored", "censored"]
    assert len(list(tmp_path.glob("*.parquet"))) == 4
