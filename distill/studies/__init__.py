"""What copies are worth, arm by arm: the sets, the trainings, the figures and the curve."""
