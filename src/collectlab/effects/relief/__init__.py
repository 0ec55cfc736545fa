"""What relief in hardship did, against comparable accounts without it."""

from collectlab.effects.relief.effect import relief_effect, relief_verdicts

__all__ = ["relief_effect", "relief_verdicts"]
