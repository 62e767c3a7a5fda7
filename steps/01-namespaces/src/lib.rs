//! Lesson 1: a process that sees its own world, and the life of a container.
