"""What chapter 5 may propose: of several ways to do the same thing, one; a chapter that cannot tell proposes nothing."""

import importlib

import pytest

from collectlab.core.errors import NotAvailable
from collectlab.policy.options import Option
from collectlab.report.chapters import options as chapter


class Month:
    """Shares nothing."""

    def shared(self, key, make):
        return make()


def option(key, low, area="strategy"):
    return Option(
        key=key, what=key, whom="all", area=area, net=low + 1, low=low, high=low + 2, words="", grade="model",
        evidence="", cost_words="", legal_risk="", customer_risk="", failing="", settle="",
    )  # fmt: skip


@pytest.fixture
def proposes(monkeypatch):
    def set_to(**found):
        for name in chapter._CHAPTERS:
            module = importlib.import_module(f"collectlab.report.chapters.{name}")
            here = found.get(name, [])

            def made(month, held=here):
                if isinstance(held, Exception):
                    raise held
                return list(held)

            monkeypatch.setattr(module, "options", made)
        return [o.key for o in chapter.options(Month())]

    return set_to


def test_of_the_plan_and_the_what_ifs_the_surest_gain_alone_is_put_forward(proposes):
    found = proposes(plan=[option("plan", 5.0)], what_if=[option("early", 9.0), option("sheet", 1.0)])
    assert found == ["early"]


def test_more_capacity_stands_beside_the_plan(proposes):
    found = proposes(plan=[option("plan", 5.0), option("hours", 1.0, area="process")], what_if=[])
    assert found == ["plan", "hours"]


def test_a_chapter_that_cannot_tell_keeps_the_others_from_nothing(proposes):
    found = proposes(warning=[option("warn", 2.0, area="process")], stop=NotAvailable("no prices"), credit=[])
    assert found == ["warn"]
