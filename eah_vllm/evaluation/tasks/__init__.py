"""What is asked: one file for each task, with what it needs to know of its pictures."""
