"""From a job to a finished student: checks, stages, the Trainer."""
