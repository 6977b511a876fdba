"""Teachers and students, and the losses between them."""
