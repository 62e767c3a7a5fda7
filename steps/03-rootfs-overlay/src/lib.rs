//! Lesson 3: a container that stands on its own, layered, root.
