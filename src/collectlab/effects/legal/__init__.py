"""What legal work caused: debtors sued against comparable ones who were not, on the day of filing."""

from collectlab.effects.legal.not_sued import against_not_sued, filing_days

__all__ = ["against_not_sued", "filing_days"]
