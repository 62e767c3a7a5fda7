//! Lesson 2: a container that gets only its share.

fn main() {}
