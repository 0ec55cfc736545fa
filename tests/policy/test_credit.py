"""Feedback to credit approval: loans gone bad and not cured for good, by hand, against a formula, and under chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.policy.credit import credit_loss
from collectlab.report.chapters import credit as chapter
from collectlab.report.month import open_month

ROOT = Path(__file__).parents[2]
ENDS = pd.date_range("2024-11-30", periods=24, freq="ME")


def book_of(lives: list[tuple[str, int, list[int]]], **facts) -> object:
    """Loans given as (segment, month granted, days past due at each month-end since; −1 charged off, −2 closed)."""
    rows, accounts = [], []
    for i, (segment, born, dpd) in enumerate(lives):
        name = f"a{i:05d}"
        accounts.append((name, segment, f"{ENDS[born]:%Y-%m}-03", 1000.0))
        for age, d in enumerate(dpd):
            status = {-1: "charged_off", -2: "closed"}.get(d, "open")
            rows.append(
                (name, ENDS[born + age], {-1: 200, -2: 0}.get(d, d), status, 900.0 if d != -2 else 0.0)
            )
            if d == -2:
                break
    accounts.append(("zz", "old", "2020-01-01", 1.0))
    rows += [("zz", day, 0, "open", 1.0) for day in ENDS]
    return open_book(
        {
            "accounts": pd.DataFrame(accounts, columns=["account_id", "channel", "originated_on", "principal"]).assign(
                **{k: [*v, np.nan] for k, v in facts.items()}
            ),
            "snapshots": pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due", "status", "balance"]),
        }
    )  # fmt: skip


GOOD, STAYS = [0] * 24, [0, 0, 40, *range(70, 640, 30)]
CURED = [0, 0, 40, 0] + [0] * 20
BACK = [0, 0, 40, 0, 0, 0, 20] + [0] * 17
LOST = [0, 0, 40] + [-1] * 21


def test_shares_by_hand():
    """Of 40 loans in A: 10 go bad, of which 4 are cured for good, 2 after a relapse, 3 stay, 1 is lost."""
    lives = [("A", 0, GOOD)] * 30 + [("A", 0, CURED)] * 4 + [("A", 0, BACK)] * 2
    lives += [("A", 0, STAYS)] * 3 + [("A", 0, LOST)] * 1
    lives += [("B", 0, GOOD)] * 30 + [("B", 0, STAYS)] * 10
    table = credit_loss(book_of(lives), "channel").table.set_index("channel")
    assert table.loc["A", "bad_rate"] == pytest.approx(0.25)
    assert table.loc["B", "bad_rate"] == pytest.approx(0.25)
    # 20 bad loans in all, 6 of them cured for good: too few in either segment for a share of its own.
    assert table["cured_for_good"].tolist() == pytest.approx([0.3, 0.3])
    assert table.loc["A", "estimate"] == pytest.approx(0.25 * 0.7)
    assert table.loc["A", "expected"] == pytest.approx(0.25 * 0.7)
    assert table.loc["A", "net_loss"] == pytest.approx(900 / 40_000)
    assert set(table["verdict"]) == {"cannot tell"}


def test_a_relapse_undoes_a_cure_and_own_shares_count_from_twenty_bad_loans():
    lives = [("A", 0, GOOD)] * 20 + [("A", 0, CURED)] * 20
    lives += [("B", 0, GOOD)] * 20 + [("B", 0, STAYS)] * 20
    table = credit_loss(book_of(lives), "channel").table.set_index("channel")
    assert table["cured_for_good"].to_dict() == {"A": 1.0, "B": 0.0}
    assert table["verdict"].to_dict() == {"A": "lower", "B": "higher"}
    never = [0, 0] + [40, 0, 0] * 7 + [40]
    lives = [("A", 0, GOOD)] * 20 + [("A", 0, never)] * 20 + [("B", 0, GOOD)] * 40
    table = credit_loss(book_of(lives), "channel").table.set_index("channel")
    assert table.loc["A", "cured_for_good"] == 0


def test_young_loans_are_censored_and_loans_paid_off_stay_in():
    """30 loans followed to the end: 10 % bad at age 2. 30 granted a month before the end add nothing to age 2."""
    bad = [0, 0, *range(40, 700, 30)][:24]
    lives = [("A", 0, GOOD)] * 27 + [("A", 0, bad)] * 3 + [("A", 22, [0, 0])] * 30
    lives += [("B", 0, [0, -2])] * 27 + [("B", 0, bad)] * 3
    table = credit_loss(book_of(lives), "channel").table.set_index("channel")
    assert table["loans"].to_dict() == {"B": 30, "A": 60}
    assert table["bad_rate"].to_dict() == pytest.approx({"A": 0.1, "B": 0.1})


def test_a_segment_is_not_blamed_for_its_scores():
    """In both bands A and B do alike; A has more of the poor band."""
    lives, scores = [], []
    for segment, poor, rich in (("A", 80, 20), ("B", 20, 80)):
        for n, score, share in ((poor, 500.0, 0.5), (rich, 700.0, 0.1)):
            lives += [(segment, 0, STAYS)] * int(n * share) + [(segment, 0, GOOD)] * (n - int(n * share))
            scores += [score] * n
    table = credit_loss(book_of(lives, credit_score=scores), "channel", bands=2).table.set_index("channel")
    assert table.loc["A", "bad_rate"] == pytest.approx(0.42)
    assert table["difference"].tolist() == pytest.approx([0, 0], abs=1e-12)
    crude = credit_loss(book_of(lives), "channel")
    assert crude.table.set_index("channel").loc["A", "difference"] == pytest.approx(0.42 - 0.18)
    assert any("no score" in note for note in crude.notes)


def drawn(seed: int, worse: float) -> object:
    luck, lives, scores = np.random.default_rng(seed), [], []
    for _ in range(500):
        segment, born, score = int(luck.integers(0, 5)), int(luck.integers(0, 18)), luck.normal(650, 50)
        rate = 0.08 * np.exp((650 - score) / 60) * (worse if segment == 0 else 1)
        life = [0] * (24 - born)
        if luck.random() < rate:
            at = int(luck.integers(1, 6))
            stays = luck.random() < 0.5
            for age in range(at, len(life)):
                life[age] = 40 + 30 * (age - at) if stays or age == at else 0
        lives.append((f"s{segment}", born, life))
        scores.append(score)
    return book_of(lives, credit_score=scores)


def test_segments_that_are_alike_are_hardly_ever_told_apart_and_a_bad_one_is():
    alike = [credit_loss(drawn(seed, 1.0), "channel").table["verdict"] for seed in range(4)]
    assert sum((v.isin(["higher", "lower"])).any() for v in alike) <= 1
    worse = [credit_loss(drawn(100 + seed, 6.0), "channel").table.set_index("channel") for seed in range(2)]
    assert sum(t.loc["s0", "verdict"] == "higher" for t in worse) >= 1


def test_rows_in_any_order_give_the_same_table():
    book = drawn(3, 3.0)
    raw = {n: book.table(n).collect("pandas").to_native() for n in ("accounts", "snapshots")}
    shuffled = open_book({n: t.sample(frac=1, random_state=1) for n, t in raw.items()})
    one, other = (credit_loss(b, "channel").table for b in (book, shuffled))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def test_what_cannot_be_told():
    book = book_of([("A", 0, GOOD)] * 3)
    with pytest.raises(NotAvailable, match="one segment"):
        credit_loss(book, "channel")
    with pytest.raises(NotAvailable, match="no branch"):
        credit_loss(book, "branch")
    with pytest.raises(NotAvailable, match="two months"):
        credit_loss(book.until("2024-11-30"), "channel")
    with pytest.raises(FrameError, match="months_on_book is 0"):
        credit_loss(book, "channel", months_on_book=0)
    with pytest.raises(FrameError, match="by is empty"):
        credit_loss(book, [])
    with pytest.raises(FrameError, match="needs a book"):
        credit_loss(pd.DataFrame({"account_id": ["a"]}), "channel")
    old = book_of([]).where("account_id = 'zz'")
    with pytest.raises(NotAvailable, match="no loan was granted"):
        credit_loss(old, "channel")
    few = credit_loss(book_of([("A", 0, GOOD)] * 40 + [("B", 0, STAYS)] * 3), "channel").table
    assert few.set_index("channel")["verdict"].to_dict() == {"A": "too few", "B": "too few"}


def test_the_part_and_the_options_of_the_chapter():
    month = open_month(ROOT / "data/example", "2026-10", params=ROOT / "params")
    shown = chapter.segments(month)
    first = shown.table.iloc[0]
    assert (first["product"], first["origination_channel"]) == ("consumer", "partner")  # where it was planted
    assert chapter.options(month) == []  # and too few of these loans are old enough to be sure
    plain = open_month(book_of([("A", 0, GOOD)] * 2), "2026-10", params=ROOT / "params")
    assert "no product" in chapter.segments(plain).left_out
    assert chapter.options(plain) == []


def test_an_option_where_a_segment_is_surely_worse():
    book = drawn(100, 8.0)
    raw = {n: book.table(n).collect("pandas").to_native() for n in ("accounts", "snapshots")}
    raw["accounts"] = raw["accounts"].rename(columns={"channel": "origination_channel"})
    month = open_month(raw, "2026-10", params=ROOT / "params")
    options = chapter.options(month)
    assert [o.key for o in options] == ["credit_s0"]
    shown = chapter.segments(month).table.set_index("origination_channel")
    for figure in options[0].figures:
        assert figure.value == shown.loc[figure.where["origination_channel"], figure.column]
    assert options[0].area == "credit_approval" and np.isnan(options[0].net)
