"""Legal work and outside agencies: cases by stage, what decisions bring, and a yearly sheet for each agency."""

from collectlab.measures.legal.agencies import evaluation_sheet
from collectlab.measures.legal.decisions import decisions
from collectlab.measures.legal.stages import stages

__all__ = ["decisions", "evaluation_sheet", "stages"]
