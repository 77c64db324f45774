"""The comparison of optimizers at equal cost: problems, entrants, simulation, jobs, statistics, report."""
