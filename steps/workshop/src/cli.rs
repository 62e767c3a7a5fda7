//! The words of `cargo workshop`, and what it answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::grade::{self, Run};
use crate::hints::Hints;
use crate::progress::{Progress, State};
use crate::{Exercise, Lesson, lessons, words};

/// The exercises of the six lessons
#[derive(Parser)]
#[command(name = "cargo workshop", bin_name = "cargo workshop")]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Show all exercises, and how far you are
    List,
    /// Build and run an exercise, and say whether it is solved
    Check(Which),
    /// Check again whenever the file is saved
    Watch(Which),
    /// Show a hint; each time, one more
    Hint(Which),
    /// Show what was expected beside what yours does
    Diff(Which),
    /// Start an exercise anew; your file is put aside
    Reset {
        /// As `list` shows it
        name: String,
    },
    /// Show the reference, and why it is as it is
    Solution(Which),
}

#[derive(clap::Args)]
struct Which {
    /// As `list` shows it; the first one that is not solved, if you name none
    name: Option<String>,
}

/// How a check ended.
#[derive(PartialEq, Eq)]
enum Outcome {
    Solved,
    NotYet,
    Skipped,
}

impl Outcome {
    fn code(self) -> u8 {
        match self {
            Outcome::Solved => 0,
            Outcome::NotYet => 1,
            Outcome::Skipped => 3,
        }
    }
}

/// Does what the command line asks; the program's `main`.
pub fn main() -> ExitCode {
    match act(Cli::parse().verb.unwrap_or(Verb::List)) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("cargo workshop: {error:#}");
            2.into()
        }
    }
}

fn act(verb: Verb) -> Result<u8> {
    let shop = Shop::find()?;
    match verb {
        Verb::List => shop.list(),
        Verb::Check(which) => Ok(shop.check(shop.exercise(which.name.as_deref())?)?.code()),
        Verb::Watch(which) => shop.watch(shop.exercise(which.name.as_deref())?),
        Verb::Hint(which) => shop.hint(shop.exercise(which.name.as_deref())?),
        Verb::Diff(which) => shop.diff(shop.exercise(which.name.as_deref())?),
        Verb::Reset { name } => shop.reset(shop.exercise(Some(&name))?),
        Verb::Solution(which) => shop.solution(shop.exercise(which.name.as_deref())?),
    }
}

/// All exercises, and what the reader has done.
struct Shop {
    root: PathBuf,
    lessons: Vec<Lesson>,
    progress: Progress,
}

impl Shop {
    /// The repository that the working directory is in.
    fn find() -> Result<Shop> {
        let here = std::env::current_dir().context("find the working directory")?;
        let root = here.ancestors().find(|folder| folder.join("steps").is_dir());
        let root = root.context("run it inside the repository: here is no folder `steps`")?;
        let lessons = lessons(root)?;
        Ok(Shop { root: root.to_owned(), lessons, progress: Progress::of(root) })
    }

    fn all(&self) -> impl Iterator<Item = &Exercise> {
        self.lessons.iter().flat_map(|lesson| &lesson.exercises)
    }

    fn is_solved(&self, exercise: &Exercise) -> bool {
        self.progress.state(exercise) == State::Solved
    }

    /// The one that is called so, or the first one that is not solved.
    fn exercise(&self, name: Option<&str>) -> Result<&Exercise> {
        let Some(name) = name else {
            let open = self.all().find(|exercise| !self.is_solved(exercise));
            return open.context("every exercise is solved; name one to go back to it");
        };
        let called: Vec<_> = self.all().filter(|exercise| exercise.is_called(name)).collect();
        match called[..] {
            [exercise] => Ok(exercise),
            [] => bail!("no exercise is called {name}; `cargo workshop list` shows them"),
            _ => bail!("more than one exercise is called {name}; say LESSON/{name}"),
        }
    }

    fn list(&self) -> Result<u8> {
        let next = self.all().find(|exercise| !self.is_solved(exercise));
        for lesson in &self.lessons {
            let all = &lesson.exercises;
            let solved = all.iter().filter(|exercise| self.is_solved(exercise)).count();
            let title = format!("Lesson {}, {}", lesson.number, lesson.name);
            println!("{title:<40}{solved} of {} solved", all.len());
            for exercise in all {
                let state = match self.progress.state(exercise) {
                    State::Solved => "solved",
                    State::Changed => "changed",
                    State::Begun => "begun",
                    State::New => "",
                };
                let is_next = next.is_some_and(|next| next.name == exercise.name);
                println!(
                    "{} {state:<8} {:<22} {:>3} min  {}",
                    if is_next { '>' } else { ' ' },
                    exercise.name,
                    exercise.minutes,
                    exercise.title
                );
            }
        }
        Ok(0)
    }

    fn check(&self, exercise: &Exercise) -> Result<Outcome> {
        println!("{}: {}", exercise.name, exercise.title);
        let Some(verdict) = self.verdict(exercise)? else { return Ok(Outcome::Skipped) };
        let Some(words) = verdict else {
            self.progress.solved(exercise)?;
            println!("Solved. The reference, and why: cargo workshop solution {}", exercise.name);
            match self.all().find(|other| !self.is_solved(other)) {
                Some(next) => println!("Next: {}, {} minutes", self.shown(next), next.minutes),
                None => println!("That was the last one: all exercises are solved."),
            }
            return Ok(Outcome::Solved);
        };
        println!("Not yet.\n{words}A hint: cargo workshop hint {}", exercise.name);
        Ok(Outcome::NotYet)
    }

    /// The file, as one types it from here.
    fn shown(&self, exercise: &Exercise) -> String {
        let file = exercise.file();
        file.strip_prefix(&self.root).unwrap_or(&file).display().to_string()
    }

    /// Builds, runs and compares. The outer `None` is a skip, and said; the inner one
    /// means that all is as it should be.
    fn verdict(&self, exercise: &Exercise) -> Result<Option<Option<String>>> {
        if is_skipped(exercise) {
            return Ok(None);
        }
        let Some(program) = build(&self.root, exercise)? else {
            let file = self.shown(exercise);
            return Ok(Some(Some(format!(
                "{file} does not compile; what rustc says of it is above.\n"
            ))));
        };
        let run = grade::run(exercise, &program, None)?;
        let (expected, hints) = (grade::expected(exercise)?, Hints::read(exercise)?);
        Ok(Some(words::verdict(&expected, &run, &hints)))
    }

    fn watch(&self, first: &Exercise) -> Result<u8> {
        let mut exercise = first;
        loop {
            // What is saved while the check runs is checked next.
            let mut saved = modified(&exercise.file());
            if self.check(exercise)? == Outcome::Solved {
                match self.all().find(|other| !self.is_solved(other)) {
                    Some(next) => exercise = next,
                    None => return Ok(0),
                }
                saved = modified(&exercise.file());
            }
            println!("Waiting for {} to be saved; Ctrl-C ends.", self.shown(exercise));
            while modified(&exercise.file()) == saved {
                std::thread::sleep(Duration::from_millis(200));
            }
            println!();
        }
    }

    fn hint(&self, exercise: &Exercise) -> Result<u8> {
        let hints = Hints::read(exercise)?.steps;
        let number = self.progress.next_hint(exercise)?.min(hints.len());
        println!("{}, hint {number} of {}:\n\n{}", exercise.name, hints.len(), hints[number - 1]);
        if number == hints.len() {
            println!(
                "\nThat was the last hint. What is left: cargo workshop solution {}",
                exercise.name
            );
        }
        Ok(0)
    }

    fn diff(&self, exercise: &Exercise) -> Result<u8> {
        if is_skipped(exercise) {
            return Ok(Outcome::Skipped.code());
        }
        let expected = grade::expected(exercise)?;
        println!("Expected of {}:\n\n{}", exercise.name, words::indented(&expected));
        let Some(program) = build(&self.root, exercise)? else {
            println!(
                "\n{} does not compile; what rustc says of it is above.",
                self.shown(exercise)
            );
            return Ok(Outcome::NotYet.code());
        };
        let run @ Run { .. } = grade::run(exercise, &program, None)?;
        println!("\nYours:\n\n{}\n", words::indented(&run.picture));
        match words::verdict(&expected, &run, &Hints::read(exercise)?) {
            None => println!("They are the same."),
            Some(words) => print!("In words:\n\n{words}"),
        }
        Ok(0)
    }

    fn reset(&self, exercise: &Exercise) -> Result<u8> {
        let kept = self.progress.put_aside(exercise)?;
        let file = exercise.file();
        fs::write(&file, exercise.pristine()?)
            .with_context(|| format!("write {}", file.display()))?;
        let kept = kept.strip_prefix(&self.root).unwrap_or(&kept);
        println!("{} is new again; yours is in {}", self.shown(exercise), kept.display());
        Ok(0)
    }

    fn solution(&self, exercise: &Exercise) -> Result<u8> {
        let file = exercise.solution();
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        print!("{text}");
        Ok(0)
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|data| data.modified()).ok()
}

/// Says what this machine lacks for the exercise, if it does.
fn is_skipped(exercise: &Exercise) -> bool {
    let missing: Vec<_> = exercise.needs.iter().filter(|need| !need.is_met()).collect();
    for need in &missing {
        let need = need.to_string().replace("NAME", &exercise.name);
        println!("Skipped, and not solved: this exercise needs {need}.");
    }
    !missing.is_empty()
}

/// The built program; `None` if it does not compile, of which rustc has spoken.
fn build(root: &Path, exercise: &Exercise) -> Result<Option<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--quiet", "--package", &exercise.package]);
    command.args(["--bin", &exercise.name, "--message-format", "json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().context("run cargo build")?;
    if !output.status.success() {
        return Ok(None);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == *exercise.name;
        is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    program.map(Some).context("cargo build named no program")
}
