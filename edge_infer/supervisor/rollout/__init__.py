"""Which model serves: trial, probation, rollback, crash loops, quarantine, shadows."""
