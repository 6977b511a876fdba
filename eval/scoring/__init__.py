"""From predictions to figures: gold answers, submissions, no-answer thresholds."""
