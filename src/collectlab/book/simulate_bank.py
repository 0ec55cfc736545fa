"""Who the simulated bank lends to: customers with latent traits, accounts, branches, and the strategies.

Each draw is a hash of (seed, purpose, account, day), not the next number of a stream. Account 17 is thereby
the same account in a book of a hundred and of a million, in any chunk, and on any day it meets the same
luck whatever was done to it before: two runs that differ in one strategy share their random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

PRODUCTS = ("consumer", "card", "auto", "mortgage", "small_business")
REGIONS = ("North", "East", "South", "West")
OCCUPATIONS = ("employee", "public_service", "worker", "self_employed", "freelancer", "retired")
ORIGINATION = ("branch", "online", "partner")
REASONS = ("forgot", "income_loss", "illness", "unwilling", "dispute", "product_terms", "bank_error")
CHANNELS = ("sms", "email", "call", "letter", "visit", "legal", "agency")
STRATEGIES = ("champion", "challenger", "standard", "intensive")
CHAMPION, CHALLENGER, STANDARD, INTENSIVE = range(4)
SMS, EMAIL, CALL, LETTER, VISIT, LEGAL, AGENCY = range(7)
BRANCHES = 12

#: Problems that can be planted: name -> (where, what is wrong, the level planted, the level elsewhere).
PROBLEMS = {
    "night_calls": ("team", "Call team 3", "share of calls made after 21:00", 0.18, 0.0),
    "unrecorded_calls": ("agency", "Agency 2", "share of contacts without a recording", 0.40, 0.02),
    "wrong_numbers": ("branch", "Branch 07", "share of accounts with a wrong phone number", 0.25, 0.04),
    "loose_partner_loans": (
        "origination",
        "consumer loans from partners, granted in the last ten months",
        "shift of latent ability and willingness (standard deviations), hardly seen by the credit score",
        -1.3,
        0.0,
    ),
    "late_stage": (
        "branch",
        "Branch 04",
        "days past due until which accounts are worked as if they were 1 to 30 days past due",
        50,
        30,
    ),
    "pressed_hardship": (
        "team",
        "Call team 1",
        "further daily chance of a call in the 60 days after hardship is noted, relief or not",
        0.20,
        0.0,
    ),
}

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_C1, _C2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one run of the simulator is made with."""

    seed: int
    accounts: int
    months: int
    end: date
    problems: tuple[str, ...]
    hidden_confounding: float
    changes: tuple[str, ...] = ()

    @property
    def window_start(self) -> date:
        month = self.end.year * 12 + self.end.month - self.months
        return date(month // 12, month % 12 + 1, 1)

    @property
    def test_start(self) -> date:
        """First day of the champion/challenger test: a quarter of the way into the window."""
        month = self.window_start.year * 12 + self.window_start.month - 1 + self.months // 4
        return date(month // 12, month % 12 + 1, 1)


def month_index(day: date) -> int:
    """Months since year 0."""
    return day.year * 12 + day.month - 1


def ordinal(day: date) -> int:
    """Days since 1970-01-01."""
    return int(np.datetime64(day, "D").astype(int))


def mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser: 64 well-stirred bits from 64 plain ones (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * _C1
    x = (x ^ (x >> np.uint64(27))) * _C2
    return x ^ (x >> np.uint64(31))


class Luck:
    """Uniform draws in (0, 1), one for each (key, purpose, day)."""

    def __init__(self, seed: int):
        self._root = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
        self._salts: dict[str, int] = {}

    def _salt(self, purpose: str) -> int:
        if purpose not in self._salts:
            words = [*purpose.encode()]
            self._salts[purpose] = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
        return self._salts[purpose]

    def keys(self, index: np.ndarray, purpose: str) -> np.ndarray:
        """Keys for accounts, customers or pairs, numbered by ``index``."""
        start = np.uint64((self._root + self._salt(purpose)) & _MASK)
        return mix(index.astype(np.uint64) * np.uint64(_GOLDEN) + start)

    def uniform(self, keys: np.ndarray, purpose: str, day: int = 0) -> np.ndarray:
        salt = np.uint64((self._salt(purpose) + day * _GOLDEN) & _MASK)
        return ((mix(mix(keys + salt)) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, keys: np.ndarray, purpose: str, day: int = 0) -> np.ndarray:
        from scipy.special import ndtri

        return ndtri(self.uniform(keys, purpose, day))


def _pick(u: np.ndarray, weights: tuple[float, ...]) -> np.ndarray:
    edges = np.cumsum(weights) / np.sum(weights)
    return np.minimum(np.searchsorted(edges, u, side="right"), len(weights) - 1).astype(np.int8)


def draw_accounts(settings: Settings, luck: Luck, first: int, last: int) -> dict[str, np.ndarray]:
    """Accounts ``first`` … ``last - 1`` (``first`` even) as arrays of static facts, money in cents.

    About one pair in six of neighbouring accounts belongs to one customer. Ability and willingness are
    the customer's; the credit score sees them through noise.
    """
    index = np.arange(first, last, dtype=np.int64)
    pair = luck.keys(index // 2, "pair")
    customer = np.where(luck.uniform(pair, "shared") < 1 / 6, index // 2 * 2, index)
    person, account = luck.keys(customer, "customer"), luck.keys(index, "account")
    n = len(index)

    def uniform(name: str, own: bool = False) -> np.ndarray:
        return luck.uniform(account if own else person, name)

    def normal(name: str, own: bool = False) -> np.ndarray:
        return luck.normal(account if own else person, name)

    age = np.clip(np.round(41 + 11 * normal("age")), 20, 75).astype(np.int64)
    occupation = _pick(uniform("occupation"), (0.38, 0.12, 0.24, 0.14, 0.12))
    occupation = np.where(age >= 61, 5, occupation)
    ability = 0.9 * normal("ability") + np.array([0.1, 0.35, -0.05, -0.1, -0.3, 0.1])[occupation]
    ability -= 0.25 * (age < 28)
    willingness = 0.3 * ability + 0.95 * normal("willingness")
    income = np.exp(9.0 + 0.30 * ability + 0.35 * normal("income"))
    score = 655 + 52 * (0.62 * ability + 0.45 * willingness + 0.50 * normal("score"))

    product = _pick(uniform("product", True), (0.36, 0.30, 0.14, 0.12, 0.08))
    size = np.array([30e3, 20e3, 120e3, 700e3, 220e3])[product]
    principal = size * (income / 9000) ** 0.6 * np.exp(0.4 * normal("principal", True))
    principal = (np.maximum(np.round(principal / 500), 4) * 50_000).astype(np.int64)
    terms = np.array([[24, 36, 48], [0, 0, 0], [36, 48, 60], [180, 240, 360], [24, 36, 60]])
    term = terms[product, _pick(uniform("term", True), (0.3, 0.4, 0.3))]
    base = np.array([0.13, 0.18, 0.065, 0.042, 0.085])[product]
    rate = np.round(base + 0.01 * np.clip(normal("rate", True), -2, 2) * (base / 0.1), 4)

    start = month_index(settings.window_start)
    new = uniform("new", True) < 0.0125 * settings.months
    back = np.where(product == 1, 72, np.minimum(np.maximum(term - 2, 1), 84))
    when = uniform("when", True)
    month = np.where(new, start + np.floor(when * settings.months), start - 1 - np.floor(when * back)).astype(
        np.int64
    )
    day_of_month = 1 + np.floor(28 * uniform("day", True)).astype(np.int64)
    due_day = 1 + np.floor(28 * uniform("due", True)).astype(np.int64)
    origination = _pick(uniform("origination", True), (0.5, 0.3, 0.2))

    branch = np.floor(BRANCHES * uniform("branch")).astype(np.int64)
    loose = (product == 0) & (origination == 2) & (month >= month_index(settings.end) - 9)
    if "loose_partner_loans" in settings.problems:
        shift = PROBLEMS["loose_partner_loans"][3]
        ability, willingness = ability + shift * loose, willingness + shift * loose
    wrong = PROBLEMS["wrong_numbers"]
    planted = "wrong_numbers" in settings.problems
    wrong_share = np.where(planted & (branch == 6), wrong[3], wrong[4])

    monthly = rate / 12
    loan = np.maximum(term, 1)
    annuity = principal * monthly / (1 - (1 + monthly) ** -loan)
    utilisation = 0.2 + 0.7 * uniform("utilisation", True)
    instalment = np.where(product == 1, 0.06 * principal * utilisation, annuity)

    return {
        "index": index,
        "key": account,
        "customer": customer,
        "ability": ability,
        "willingness": willingness,
        "product": product,
        "secured": (product == 2) | (product == 3),
        "age": age,
        "gender": (uniform("gender") < 0.47).astype(np.int8),
        "occupation": occupation.astype(np.int8),
        "income": (np.round(income / 100) * 10_000).astype(np.int64),
        "score": np.clip(np.round(score), 350, 850).astype(np.int64),
        "principal": principal,
        "utilisation": utilisation,
        "rate": rate,
        "term": np.where(product == 1, 1200, term).astype(np.int64),
        "month": month,
        "day_of_month": day_of_month,
        "due_day": due_day,
        "instalment": np.maximum(np.round(instalment), 5_000).astype(np.int64),
        "branch": branch,
        "region": branch * len(REGIONS) // BRANCHES,
        "origination": origination,
        "loose": loose,
        "wrong_number": uniform("wrong_number") < wrong_share,
        "consent": uniform("consent") < 0.96,
        "reach": 0.7 + 0.5 * uniform("reach"),
        "tested": uniform("tested") < 0.5,
        "arm": np.where(uniform("arm") < 0.5, CHALLENGER, CHAMPION).astype(np.int8),
        "team": np.floor(3 * uniform("team", True)).astype(np.int8),
        "agency": np.floor(3 * uniform("agency", True)).astype(np.int8),
        # Levers of counterfactual runs (see Days), and from where on each account is followed for it.
        "force": np.full(n, -1),
        "off": np.full(n, -1),
        "start_channel": np.full(n, -1),
        "start_day": np.full(n, -1),
        "anchor": np.full(n, ordinal(settings.window_start)),
        "anchor_dpd": np.zeros(n, np.int64),
    }


#: Chance of an action on a day, by strategy × stage (1–30, 31–60, 61–90, 91–180, 181+ days past due) ×
#: channel, once the account is on the monthly work list. Before that all get the same automatic messages.
DAILY_ACTIONS = np.array(
    [  # sms    email  call   letter visit  legal  agency
        [
            [0.050, 0.030, 0.040, 0.000, 0.000, 0.000, 0.000],
            [0.040, 0.020, 0.090, 0.020, 0.006, 0.000, 0.000],
            [0.030, 0.010, 0.090, 0.030, 0.015, 0.010, 0.000],
            [0.010, 0.000, 0.040, 0.020, 0.012, 0.020, 0.060],
            [0.005, 0.000, 0.010, 0.010, 0.004, 0.015, 0.060],
        ],
        [
            [0.080, 0.030, 0.220, 0.000, 0.000, 0.000, 0.000],
            [0.060, 0.020, 0.210, 0.020, 0.006, 0.000, 0.000],
            [0.030, 0.010, 0.130, 0.030, 0.015, 0.010, 0.000],
            [0.010, 0.000, 0.040, 0.020, 0.012, 0.020, 0.060],
            [0.005, 0.000, 0.010, 0.010, 0.004, 0.015, 0.060],
        ],
        [
            [0.060, 0.030, 0.015, 0.000, 0.000, 0.000, 0.000],
            [0.050, 0.020, 0.030, 0.020, 0.002, 0.000, 0.000],
            [0.040, 0.010, 0.040, 0.030, 0.005, 0.010, 0.000],
            [0.010, 0.000, 0.020, 0.020, 0.006, 0.020, 0.060],
            [0.005, 0.000, 0.010, 0.010, 0.004, 0.015, 0.060],
        ],
        [
            [0.050, 0.020, 0.150, 0.000, 0.010, 0.000, 0.000],
            [0.030, 0.010, 0.170, 0.020, 0.025, 0.000, 0.000],
            [0.020, 0.010, 0.140, 0.030, 0.030, 0.010, 0.000],
            [0.010, 0.000, 0.050, 0.020, 0.015, 0.020, 0.060],
            [0.005, 0.000, 0.010, 0.010, 0.004, 0.015, 0.060],
        ],
    ]
)

#: What an action adds to the log of the daily chance to pay: channel × true reason. It fades by 7 % a day.
PUSH = np.array(
    [  # forgot income illness unwilling dispute terms bank
        [0.50, 0.10, 0.10, 0.05, 0.05, 0.15, 0.20],
        [0.25, 0.05, 0.05, 0.02, 0.05, 0.10, 0.15],
        [0.90, 0.50, 0.45, 0.45, 0.40, 0.60, 0.50],
        [0.30, 0.08, 0.08, 0.20, 0.15, 0.15, 0.10],
        [0.90, 0.55, 0.45, 0.80, 0.40, 0.40, 0.30],
        [0.50, 0.15, 0.10, 0.95, 0.50, 0.30, 0.05],
        [0.60, 0.30, 0.25, 0.60, 0.20, 0.30, 0.05],
    ]
)

#: Cost of an action in CNY cents (a call or agency contact that reaches someone costs more).
COST = np.array([5, 1, 150, 400, 6000, 12000, 300])
COST_CONNECTED = np.array([0, 0, 350, 0, 2000, 0, 700])

#: Daily chance to pay without any push, by true reason, and how reasons are spread.
PAY = np.array([0.060, 0.050, 0.045, 0.028, 0.032, 0.052, 0.080])
REASON_WEIGHT = np.array([0.56, 0.21, 0.08, 0.10, 0.06, 0.07, 0.04])
