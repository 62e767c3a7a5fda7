//! Which exercises there are, and what their files say.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::needs::Need;
use crate::observe::Sight;
use crate::template;

/// One lesson's exercises: the crate `steps/NN-name/exercises`.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// 1 to 6.
    pub number: u8,
    /// The lesson's crate: "namespaces".
    pub name: String,
    /// The folder of the exercises.
    pub folder: PathBuf,
    /// In the order of their file names.
    pub exercises: Vec<Exercise>,
}

/// One exercise, as the doc comment of its solution describes it.
#[derive(Debug, Clone)]
pub struct Exercise {
    /// The lesson's number.
    pub lesson: u8,
    /// The package that its programs belong to.
    pub package: String,
    /// The file's name, without `.rs`; also the name of the program: "01_hostname".
    pub name: String,
    /// The folder of the lesson's exercises.
    pub folder: PathBuf,
    /// The first line of the doc comment, without its full stop.
    pub title: String,
    /// The rest of the doc comment, but for the lines with a key.
    pub task: String,
    /// How long it takes somebody who has just read the chapter.
    pub minutes: u32,
    pub(crate) needs: Vec<Need>,
    pub(crate) sights: Vec<Sight>,
}

/// All lessons that have exercises, in order.
///
/// # Errors
/// A file that cannot be read, or whose doc comment lacks something.
pub fn lessons(root: &Path) -> Result<Vec<Lesson>> {
    let steps = root.join("steps");
    let entries = fs::read_dir(&steps).with_context(|| format!("read {}", steps.display()))?;
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let with_exercises = |folder: &&PathBuf| folder.join("exercises/Cargo.toml").is_file();
    folders.iter().filter(with_exercises).map(|folder| Lesson::read(folder)).collect()
}

impl Lesson {
    /// Reads the exercises of one lesson's folder, `steps/NN-name`.
    pub(crate) fn read(step: &Path) -> Result<Lesson> {
        let folder = step.join("exercises");
        let number = step.file_name().and_then(|name| name.to_str()).and_then(|name| {
            let (number, _) = name.split_once('-')?;
            number.parse().ok()
        });
        let number = number.with_context(|| format!("{} has no number", step.display()))?;
        let package = value_of(&folder.join("Cargo.toml"), "name")?;
        let name = value_of(&step.join("Cargo.toml"), "name")?;
        let solutions = folder.join("solutions");
        let entries = fs::read_dir(&solutions)
            .with_context(|| format!("read {}", solutions.display()))?
            .flatten();
        let mut files: Vec<_> =
            entries.map(|entry| entry.path()).filter(|file| has_extension(file, "rs")).collect();
        files.sort();
        let read = |file: &PathBuf| Exercise::read(number, &package, &folder, file);
        let exercises = files.iter().map(read).collect::<Result<_>>()?;
        Ok(Lesson { number, name, folder, exercises })
    }
}

/// The first `key = "value"` of a Cargo.toml.
fn value_of(manifest: &Path, key: &str) -> Result<String> {
    let text =
        fs::read_to_string(manifest).with_context(|| format!("read {}", manifest.display()))?;
    let found = text.lines().find_map(|line| {
        let (left, right) = line.split_once('=')?;
        (left.trim() == key).then(|| right.trim().trim_matches('"').to_owned())
    });
    found.with_context(|| format!("{} has no {key}", manifest.display()))
}

pub(crate) fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}

impl Exercise {
    /// An exercise that is nowhere, to try a timetable with.
    pub fn sample(lesson: u8, number: usize, minutes: u32) -> Exercise {
        Exercise {
            lesson,
            package: String::new(),
            name: format!("{number:02}_sample{lesson}"),
            folder: PathBuf::new(),
            title: "Sample".into(),
            task: String::new(),
            minutes,
            needs: Vec::new(),
            sights: Vec::new(),
        }
    }

    fn read(lesson: u8, package: &str, folder: &Path, solution: &Path) -> Result<Exercise> {
        let text =
            fs::read_to_string(solution).with_context(|| format!("read {}", solution.display()))?;
        let name = solution.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let exercise = Exercise {
            lesson,
            package: package.to_owned(),
            name,
            folder: folder.to_owned(),
            title: String::new(),
            task: String::new(),
            minutes: 0,
            needs: Vec::new(),
            sights: Vec::new(),
        };
        exercise.described_by(&text).with_context(|| format!("{}", solution.display()))
    }

    /// Reads the doc comment: a title, the task, and lines with a key.
    fn described_by(mut self, source: &str) -> Result<Exercise> {
        let lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
        let mut task = Vec::new();
        for line in lines {
            match line.split_once(": ") {
                Some(("Minutes", value)) => self.minutes = value.parse().context("Minutes")?,
                Some(("Needs", value)) => {
                    self.needs = value.split(", ").map(str::parse).collect::<Result<_>>()?;
                }
                Some(("Observe", value)) => {
                    self.sights = value.split(", ").map(str::parse).collect::<Result<_>>()?;
                }
                _ if self.title.is_empty() => self.title = line.trim_end_matches('.').to_owned(),
                _ => task.push(line),
            }
        }
        self.task = task.join("\n").trim().to_owned();
        ensure!(!self.title.is_empty(), "its doc comment (//!) has no title");
        ensure!(!self.task.is_empty(), "its doc comment (//!) has no task");
        if !(5..=90).contains(&self.minutes) {
            bail!("its doc comment needs a line `//! Minutes: N`, from 5 to 90");
        }
        Ok(self)
    }

    /// The file that the reader edits.
    pub fn file(&self) -> PathBuf {
        self.folder.join(&self.name).with_extension("rs")
    }

    /// The reference.
    pub fn solution(&self) -> PathBuf {
        self.folder.join("solutions").join(&self.name).with_extension("rs")
    }

    pub(crate) fn hints(&self) -> PathBuf {
        self.folder.join("hints").join(&self.name).with_extension("md")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.folder.join("snapshots")
    }

    /// The program of the reference: "01_hostname_solution".
    pub(crate) fn solution_program(&self) -> String {
        format!("{}_solution", self.name)
    }

    /// The typical wrong answers: the files `mistakes/01_hostname_….rs`.
    pub(crate) fn mistakes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("mistakes")).into_iter().flatten().flatten();
        let prefix = format!("{}_", self.name);
        let is_ours = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix) && has_extension(file, "rs")
        };
        let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_ours).collect();
        files.sort();
        files
    }

    /// The exercise as it is handed out.
    ///
    /// # Errors
    /// A solution without its marks.
    pub fn pristine(&self) -> Result<String> {
        let solution = self.solution();
        let text = fs::read_to_string(&solution)
            .with_context(|| format!("read {}", solution.display()))?;
        template::exercise_of(&text).with_context(|| format!("{}", solution.display()))
    }

    /// True if this is what a reader may call it: "hostname", "01_hostname", "1/hostname".
    pub(crate) fn is_called(&self, name: &str) -> bool {
        let short = |name: &str| {
            name.split_once('_')
                .filter(|(number, _)| number.chars().all(|c| c.is_ascii_digit()))
                .map_or(name.to_owned(), |(_, rest)| rest.to_owned())
        };
        let (lesson, name) = match name.split_once('/') {
            Some((lesson, name)) => (lesson.parse().ok(), name),
            None => (None, name),
        };
        let name = name.strip_suffix(".rs").unwrap_or(name).replace('-', "_");
        lesson.is_none_or(|lesson: u8| lesson == self.lesson)
            && (self.name == name || short(&self.name) == name)
    }
}
