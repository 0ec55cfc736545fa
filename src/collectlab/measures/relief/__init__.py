"""Hardship and arrangements: who was offered relief, how long plans last, and who is pressed by mistake."""

from collectlab.measures.relief.offered import relief_offered
from collectlab.measures.relief.overlaps import overlapping_plans
from collectlab.measures.relief.pressed import hardship_pressed
from collectlab.measures.relief.survival import plan_survival, redefault_after_relief

__all__ = [
    "hardship_pressed",
    "overlapping_plans",
    "plan_survival",
    "redefault_after_relief",
    "relief_offered",
]
