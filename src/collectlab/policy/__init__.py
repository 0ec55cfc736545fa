"""What to do next: the scorecard against targets, findings with their evidence, recommendations.

>>> import collectlab as cl
>>> card = cl.policy.scorecard(kpis, "params/targets.yml", on="2026-10-31")                # doctest: +SKIP
>>> found = cl.policy.findings({"scorecard": card}, targets="params/targets.yml", on="2026-10-31")  # doctest: +SKIP
>>> cl.policy.recommend(found)                                                            # doctest: +SKIP
"""

from collectlab.policy import forecast, plan, warning
from collectlab.policy.advice import Recommendation, Recommendations
from collectlab.policy.agencies import load_agencies
from collectlab.policy.credit import credit_loss
from collectlab.policy.diagnosis import Diagnosis, diagnose
from collectlab.policy.evidence import evidence
from collectlab.policy.findings import Finding, Findings, find
from collectlab.policy.findings import find as findings
from collectlab.policy.options import Figure, Option
from collectlab.policy.plan import DecisionModel, States, allocate, decision_model, decision_rows
from collectlab.policy.plan.off_policy import off_policy
from collectlab.policy.plan.simple import simple_plan
from collectlab.policy.plan.what_if import what_if
from collectlab.policy.provisions import provision_bridge
from collectlab.policy.provisions_effect import provision_effect
from collectlab.policy.rating import rating_sensitivity
from collectlab.policy.recommendations import recommend
from collectlab.policy.scorecard import Scorecard, scorecard
from collectlab.policy.stop import stopping
from collectlab.policy.strategy import Strategy, load_strategy
from collectlab.policy.targets import Targets, load_targets

__all__ = [
    "DecisionModel",
    "Diagnosis",
    "Figure",
    "Finding",
    "Findings",
    "Option",
    "Recommendation",
    "Recommendations",
    "Scorecard",
    "States",
    "Strategy",
    "Targets",
    "allocate",
    "credit_loss",
    "decision_model",
    "decision_rows",
    "diagnose",
    "evidence",
    "find",
    "findings",
    "forecast",
    "load_agencies",
    "load_strategy",
    "load_targets",
    "off_policy",
    "plan",
    "provision_bridge",
    "provision_effect",
    "rating_sensitivity",
    "recommend",
    "scorecard",
    "simple_plan",
    "stopping",
    "warning",
    "what_if",
]
