//! Lesson 6: a container that keeps what must outlive it.

fn main() {}
