"""What is asked, from when; a question that cannot be asked is refused when the file is read."""

from pathlib import Path

import pytest

from collectlab.core.errors import ParamsError
from collectlab.effects.questions import load_questions

PARAMS = Path(__file__).parents[2] / "params" / "questions.yml"

HEAD = """
    question: {en: "Does it help?", zh: 有效吗？}
    since: 2025-01-01
    source: Minutes
"""


def read(tmp_path, text):
    file = tmp_path / "questions.yml"
    file.write_text(text, encoding="utf-8")
    return load_questions(file)


def test_the_projects_own_questions_are_read_and_dated():
    every = load_questions(PARAMS)
    now, then = every.on("2026-10-31"), every.on("2015-12-31")
    assert set(now.experiments) == {"champion_challenger"} and set(then.experiments) == {"letters_2015"}
    assert set(now.channels) == {"call", "letter", "visit", "legal", "agency"} and not then.channels
    assert now.stage_days == (30, 60, 90)


def test_a_question_is_asked_from_since_until_until(tmp_path):
    asked = read(
        tmp_path, f"channels:\n  calls:{HEAD}    until: 2025-06-30\n    treatment: call\n    grace: 14\n"
    )
    days = ("2024-12-31", "2025-01-01", "2025-06-30", "2025-07-01")
    assert [bool(asked.on(day).channels) for day in days] == [False, True, True, False]


def test_a_treatment_decided_later_is_refused_with_the_nearest_question(tmp_path):
    with pytest.raises(ParamsError, match=r"channels.visits: 'was visited'.*Nearest question: start a visit"):
        read(tmp_path, f"channels:\n  visits:{HEAD}    treatment: was visited\n    grace: 14\n")


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ("channels:\n  calls:{HEAD}    treatment: call\n", "channels.calls.grace: missing"),
        ("channels:\n  calls:{HEAD}    treatment: call\n    grase: 14\n    grace: 14\n", "no such key 'grase'"),
        ("choices:\n  one:{HEAD}    treatment: a\n    control: b\n", "choices.one.covariates: missing"),
        ("changes:\n  one:{HEAD}    kind: date\n    what: it\n", "kind date needs changed_on"),
        ("changes:\n  one:{HEAD}    kind: threshold\n    what: it\n", "needs score and cutoff"),
        ("changes:\n  one:{HEAD}    kind: rollout\n    what: it\n", "kind rollout needs started"),
        ("experiments:\n  one:{HEAD}    plan: {name: x}\n", "experiments.one.plan.arms: missing"),
        ("test:\n  one: 1\n", "no such key 'test'"),
    ],
)  # fmt: skip
def test_faults_are_told_with_their_place(tmp_path, section, what):
    with pytest.raises(ParamsError) as refused:
        read(tmp_path, section.replace("{HEAD}", HEAD))
    assert what in str(refused.value)


def test_all_faults_of_a_file_at_once(tmp_path):
    text = f"channels:\n  a:{HEAD}    treatment: call\n  b:{HEAD}    treatment: call\n    grace: 0\n"
    with pytest.raises(ParamsError) as refused:
        read(tmp_path, text)
    assert "channels.a.grace" in str(refused.value) and "channels.b.grace" in str(refused.value)
