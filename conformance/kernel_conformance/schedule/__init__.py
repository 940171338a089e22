"""The clauses of the ScheduleStore port."""
