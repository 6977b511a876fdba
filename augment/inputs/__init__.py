"""What people keep question-answering data in, and how it is read and checked."""
