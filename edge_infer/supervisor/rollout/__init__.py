"""Which model a pipeline runs: trial, probation, rollback, crash loops, quarantine, shadows."""
