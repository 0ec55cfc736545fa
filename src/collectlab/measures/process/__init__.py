"""How the work was done: adherence, response times, handovers, contactability, revisits, gaps in the log."""
