"""Strategy under limits: what to do in which state of an overdue account, as a constrained Markov decision process."""

from collectlab.policy.plan.model import DecisionModel, decision_model
from collectlab.policy.plan.plan_worth import Value, value
from collectlab.policy.plan.rows import States, decision_rows
from collectlab.policy.plan.rule_of_thumb import greedy
from collectlab.policy.plan.solve import Infeasible, Plan, allocate

__all__ = [
    "DecisionModel",
    "Infeasible",
    "Plan",
    "States",
    "Value",
    "allocate",
    "decision_model",
    "decision_rows",
    "greedy",
    "value",
]
