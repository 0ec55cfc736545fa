"""The parts of the report, chapter by chapter. Each function takes a Month and returns one shown result."""
