//! A lesson's page of exercises, from the doc comments of their solutions.

use workshop::Lesson;

use super::{Generated, chapter, note};
use crate::pages::root;

pub(crate) fn page(lesson: &Lesson) -> Generated {
    let folder = lesson.folder.strip_prefix(root()).unwrap_or(&lesson.folder).display().to_string();
    let minutes: u32 = lesson.exercises.iter().map(|exercise| exercise.minutes).sum();
    let mut text = format!("# Exercises\n\n{}", note(&folder));
    let count = match lesson.exercises.len() {
        1 => "one exercise".into(),
        count => format!("{count} exercises"),
    };
    text += &format!(
        "\nThis lesson has {count}, {minutes} minutes in all for somebody who has just read it, in\n\
         `{folder}`. Each is a program that compiles, and then says\n\
         what is missing: you write what is a `todo!()`. `cargo workshop check NAME` runs it and tells\n\
         you in words what is not yet as it should be; `cargo workshop hint NAME` gives a hint, and\n\
         each time a stronger one.\n"
    );
    for exercise in &lesson.exercises {
        text += &format!(
            "\n## {}\n\n`cargo workshop check {}`, {} minutes\n\n{}\n",
            exercise.title, exercise.name, exercise.minutes, exercise.task
        );
    }
    Generated::new(&format!("{}/exercises.md", chapter(lesson.number)), text)
}
