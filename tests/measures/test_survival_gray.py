"""Gray's test against a slow rendering of its formulas, and what must not change it."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.survival_compare import arranged, chi_square, log_rank
from collectlab.measures.survival_counting import count_cells
from collectlab.measures.survival_gray import _stratum, gray_test


def random_book(seed=2, n=300, teams="ABC"):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "exit_day": rng.integers(1, 50, n),
            "outcome": rng.choice(["cured", "sold", "charged_off", "censored"], n, p=[0.5, 0.1, 0.2, 0.2]),
            "team": rng.choice(list(teams), n),
            "branch": rng.integers(0, 3, n),
            "e": rng.integers(-5, 10, n),
        }
    )
    return frame[frame["e"] < frame["exit_day"]]


def slowly(frame, groups, rho):
    """Score and covariance by loops over days and groups, everybody watched from the start."""
    G = len(groups)
    days = sorted(frame.loc[frame["outcome"] != "censored", "exit_day"].unique())
    free, incidence, common = np.ones(G), np.zeros(G), 0.0
    score, terms = np.zeros(G), []
    for day in days:
        parts = [frame[frame["team"] == g] for g in groups]
        n = np.array([(p["exit_day"] >= day).sum() for p in parts], dtype=float)
        d = np.array([((p["exit_day"] == day) & (p["outcome"] == "cured")).sum() for p in parts], dtype=float)
        e = np.array(
            [((p["exit_day"] == day) & p["outcome"].isin(["sold", "charged_off"])).sum() for p in parts],
            float,
        )
        t = np.array([n[g] / free[g] if n[g] else 0.0 for g in range(G)])
        w, total = (1 - common) ** rho, d.sum()
        risk = t * (1 - incidence)
        score += w * (d - total * risk / risk.sum())
        a = w * (np.diag(t) - np.outer(t, t) / t.sum())
        rise = a * total / (t.sum() * (1 - common))
        before = free.copy()
        for g in range(G):
            if n[g]:
                incidence[g] += free[g] * d[g] / n[g]
                free[g] *= 1 - (d[g] + e[g]) / n[g]
        common += total / t.sum()
        terms.append((a, rise, n, total, e, t.sum(), before, free.copy(), common))
    variance = np.zeros((G, G))
    for s, (a, _, n, total, e, T, before, after, common) in enumerate(terms):
        ahead = sum((later[1] for later in terms[s + 1 :]), np.zeros((G, G)))
        for k in range(G):
            if not n[k]:
                continue
            phi = (1 - common) / after[k] if after[k] > 0 else 0.0
            u = a[:, k] + (1 - phi) * ahead[:, k]
            ties = 1 - (total - 1) / (T * before[k] - 1) if total > 1 else 1.0
            variance += np.outer(u, u) * ties * before[k] * total / (T * n[k])
            if e[k] and after[k] > 0:
                ties = 1 - (e[k] - 1) / (n[k] - 1) if e[k] > 1 else 1.0
                variance += (
                    phi**2 * np.outer(ahead[:, k], ahead[:, k]) * ties * before[k] ** 2 * e[k] / n[k] ** 2
                )
    return score, variance


@pytest.mark.parametrize("rho", [0, 1, 0.5])
def test_against_the_formulas_by_loops(rho):
    frame = random_book()
    score, variance = slowly(frame, list("ABC"), rho)
    test = gray_test(frame, by="team", rho=rho)
    theirs = score[:2] @ np.linalg.solve(variance[:2, :2], score[:2])
    assert (test.statistic, test.df) == (pytest.approx(theirs, rel=1e-10), 2)
    assert (test.table["observed"] - test.table["expected"]).to_numpy() == pytest.approx(score, abs=1e-10)


def test_strata_are_summed():
    frame = random_book()
    parts = [slowly(part, list("ABC"), 0) for _, part in frame.groupby("branch")]
    score, variance = (sum(part[i] for part in parts) for i in (0, 1))
    theirs = score[:2] @ np.linalg.solve(variance[:2, :2], score[:2])
    assert gray_test(frame, by="team", strata="branch").statistic == pytest.approx(theirs, rel=1e-10)


def test_a_large_book_does_not_overflow():
    """The same book many times over: the statistic grows as the book does, at any size."""
    frame = random_book(n=2_000).assign(w=1)
    once = gray_test(frame, by="team", weight="w").statistic
    for size in (1_000, 1_000_000):
        larger = gray_test(frame.assign(w=size), by="team", weight="w").statistic
        # Ties count fully once the book is large: a few in a thousand.
        assert larger / size == pytest.approx(once, rel=0.02)
    larger_still = gray_test(frame.assign(w=10_000_000), by="team", weight="w").statistic
    assert larger_still / 10_000_000 == pytest.approx(larger / 1_000_000, rel=1e-5)


def test_weights_stand_for_rows():
    frame = random_book().assign(w=lambda f: 1 + f["exit_day"] % 4)
    repeated = frame.loc[frame.index.repeat(frame["w"])]
    ours, theirs = gray_test(frame, by="team", weight="w"), gray_test(repeated, by="team")
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-12)


def test_the_names_of_the_groups_do_not_matter():
    frame = random_book()
    turned = frame.assign(team=frame["team"].map({"A": "Z", "B": "Y", "C": "X"}))
    assert gray_test(turned, by="team").statistic == pytest.approx(gray_test(frame, by="team").statistic)


def test_without_competition_close_to_the_log_rank_test():
    frame = random_book().query("outcome in ('cured', 'censored')")
    assert gray_test(frame, by="team").statistic == pytest.approx(
        log_rank(frame, by="team").statistic, rel=0.05
    )


def test_entry_before_the_start_is_no_late_entry():
    frame = random_book()
    early = gray_test(frame.assign(e=-1), by="team", entry="e")
    assert early.statistic == pytest.approx(gray_test(frame, by="team").statistic, rel=1e-12)


def test_size_under_late_entry():
    """Three groups alike but for when they are first seen: p-values below 5 % come up about 5 times in 100."""
    rng = np.random.default_rng(11)
    n, books = 240, 300
    frame = pd.DataFrame({"team": rng.choice(list("ABC"), n * books), "book": np.repeat(range(books), n)})
    cured = rng.random(n * books) < 0.6
    ends = np.where(cured, rng.geometric(1 / 30, n * books), rng.geometric(1 / 60, n * books))
    gone = rng.integers(40, 160, n * books)
    frame["e"] = np.where(rng.random(n * books) < 0.5, rng.integers(0, 20, n * books), 0)
    frame.loc[frame["team"] == "A", "e"] = 0
    frame["exit_day"] = np.minimum(ends, gone)
    frame["outcome"] = np.where(ends > gone, "censored", np.where(cured, "cured", "sold"))
    frame = frame[frame["e"] < frame["exit_day"]]
    cells = count_cells(frame, duration="exit_day", outcome="outcome", entry="e", by=["team", "book"])
    _, blocks = arranged(cells.merge(("cured",), ("sold",)), ["team"])
    sums = [_stratum(tracks, 0.0) for _, tracks in blocks]
    p = [chi_square(observed - expected, variance)[2] for observed, expected, variance in sums]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.085
    assert 0.44 < np.mean(p) < 0.56


def test_odd_groups():
    frame = random_book(teams="AB")
    extra = pd.DataFrame(
        {"exit_day": [3, 50, 1], "outcome": ["cured", "censored", "sold"], "team": list("CDE")}
    )
    test = gray_test(pd.concat([frame, extra]), by="team")
    assert test.df == 4 and np.isfinite(test.statistic)
    assert test.table["observed"].tolist()[2:] == [1, 0, 0]
    # A group that empties on the first day, and one that goes on alone.
    alone = pd.DataFrame({"exit_day": [1, 1, 2, 3], "outcome": "cured", "team": list("AABB")})
    assert np.isfinite(gray_test(alone, by="team").statistic)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": []}, "one group"),
        ({"by": "team", "cause": "settled"}, "nobody is settled"),
        ({"by": "team", "cause": "censored"}, "stands for censoring"),
        ({"by": "team", "strata": ["team"]}, "both in by and in strata"),
        ({"by": "team", "rho": -0.1}, "rho is -0.1"),
    ],
)
def test_bad_questions_are_refused(arguments, words):
    with pytest.raises(FrameError, match=words):
        gray_test(random_book(), **arguments)


def test_a_gap_in_the_risk_set_is_refused():
    frame = pd.DataFrame(
        {"exit_day": [5, 9, 30, 30], "e": [0, 0, 20, 0], "outcome": "cured", "team": list("AAAB")}
    )
    with pytest.raises(FrameError, match="at risk for a while in team=A"):
        gray_test(frame, by="team", entry="e")
