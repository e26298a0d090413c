"""Long work as a set of runs: jobs that resume, tables of results, progress."""
