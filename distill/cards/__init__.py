"""Cards of students and of recipes, and the figures that they quote."""
