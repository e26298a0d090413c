"""Long work as a set of runs: runs that resume, the processes that make them, tables of results."""
