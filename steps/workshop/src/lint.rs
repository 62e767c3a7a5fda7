//! The test that every lesson's exercises must pass: unsolved they fail for their own
//! reason, solved they pass, and typical mistakes are told what they are.
//!
//! To accept what a new solution shows: `INSTA_UPDATE=always cargo test -p PACKAGE`.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Completion, Trial};
use testkit::Needs;

use crate::exercise::has_extension;
use crate::grade::{self, Run};
use crate::hints::Hints;
use crate::needs::Need;
use crate::{Exercise, Lesson, template, words};

const SAYS: &str = "// SAYS: ";

/// Runs the tests of one lesson's exercises: `folder` is `steps/NN-name/exercises`.
/// Called by the test target of the crate whose programs they are.
pub fn main(folder: &str) -> ! {
    let step = Path::new(folder).parent().expect("the lesson's folder");
    let lesson = Lesson::read(step).unwrap_or_else(|error| panic!("{error:#}"));
    let mut tests = Vec::new();
    let (manifest, all) = (lesson.folder.clone(), lesson.exercises.clone());
    tests.push(testkit::test("every_program_is_listed", &[], move || {
        every_program_is_listed(&manifest, &all);
    }));
    for exercise in &lesson.exercises {
        tests.extend(tests_of(exercise));
    }
    testkit::main_with(alone(), tests)
}

/// Programs are watched for what they leave behind: one at a time.
fn alone() -> Arguments {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    arguments
}

fn every_program_is_listed(folder: &Path, exercises: &[Exercise]) {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("read Cargo.toml");
    let is_listed = |name: &str, path: &str| {
        let entry = format!("[[bin]]\nname = \"{name}\"\npath = \"{path}\"\ntest = false\n");
        assert!(manifest.contains(&entry), "Cargo.toml lacks:\n\n{entry}");
    };
    for exercise in exercises {
        let name = &exercise.name;
        is_listed(name, &format!("{name}.rs"));
        is_listed(&exercise.solution_program(), &format!("solutions/{name}.rs"));
        for mistake in exercise.mistakes() {
            let name = stem(&mistake);
            is_listed(&name, &format!("mistakes/{name}.rs"));
        }
    }
    let known = |name: &str| exercises.iter().any(|exercise| exercise.name == name);
    for (part, extension) in [("", "rs"), ("hints", "md"), ("snapshots", "snap")] {
        for file in files(&folder.join(part)) {
            let is_test = part.is_empty() && stem(&file) == "lint";
            let fits = has_extension(&file, extension) && !is_test;
            assert!(!fits || known(&stem(&file)), "{} has no solution", file.display());
        }
    }
    for mistake in files(&folder.join("mistakes")) {
        let is_one = exercises.iter().any(|exercise| exercise.mistakes().contains(&mistake));
        assert!(is_one, "{} belongs to no exercise", mistake.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn tests_of(exercise: &Exercise) -> Vec<Trial> {
    let name = &exercise.name;
    let mut tests = vec![handed_out(exercise)];
    let it = exercise.clone();
    tests.push(testkit::test(&format!("{name}::has_hints"), &[], move || {
        Hints::read(&it).unwrap_or_else(|error| panic!("{error:#}"));
    }));
    for who in [Who::Caller, Who::User] {
        let needs = who.needs(exercise);
        if who == Who::User && exercise.needs.contains(&Need::Root) {
            continue;
        }
        let it = exercise.clone();
        let claim = format!("{name}::solved_it_passes_{}", who.word());
        tests.push(testkit::test(&claim, &needs, move || solved_it_passes(&it, who)));
        for mistake in exercise.mistakes() {
            let it = exercise.clone();
            let claim = format!("{}::is_told_{}", stem(&mistake), who.word());
            tests.push(testkit::test(&claim, &needs, move || mistake_is_told(&it, &mistake, who)));
        }
    }
    tests
}

/// Who runs it: whoever runs the tests, or an ordinary user.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Caller,
    User,
}

impl Who {
    fn word(self) -> &'static str {
        match self {
            Who::Caller => "as_who_you_are",
            Who::User => "as_an_ordinary_user",
        }
    }

    fn needs(self, exercise: &Exercise) -> Vec<Needs> {
        let mut needs = Vec::new();
        for need in &exercise.needs {
            needs.push(match need {
                Need::Root => Needs::Root,
                Need::Namespaces => Needs::UserNamespaces,
                Need::Overlay => Needs::Overlay,
                Need::Program(name) => Needs::Program(name.clone().leak()),
            });
        }
        if self == Who::User {
            needs.insert(0, Needs::User);
        }
        needs
    }

    fn runs(self, exercise: &Exercise, program: &str) -> Run {
        let path = std::env::current_exe().expect("the path of this program");
        let built = path.ancestors().nth(2).expect("the build folder").join(program);
        let run = match self {
            Who::Caller => grade::run(exercise, &built, None),
            Who::User => {
                let user = testkit::user().expect("an ordinary user");
                grade::run(exercise, &testkit::reachable(built), Some(&user))
            }
        };
        run.unwrap_or_else(|error| panic!("{error:#}"))
    }
}

/// The tracked exercise is the solution without its answer, and fails for that reason.
/// A reader's own work is no failure, but no success either.
fn handed_out(exercise: &Exercise) -> Trial {
    let it = exercise.clone();
    let claim = format!("{}::unsolved_it_fails_for_its_own_reason", exercise.name);
    Trial::ignorable_test(claim, move || {
        let pristine = it.pristine().unwrap_or_else(|error| panic!("{error:#}"));
        let now = fs::read_to_string(it.file()).unwrap_or_default();
        if now != pristine {
            if std::env::var_os("CORACLE_TESTS").is_some_and(|all| all == "all") {
                return Err("it is not its solution without the answer; \
                    `cargo workshop reset` makes it so"
                    .into());
            }
            return Ok(Completion::ignored_with("you are at work on this exercise"));
        }
        if let Some(need) = it.needs.iter().find(|need| !need.is_met()) {
            return Ok(Completion::ignored_with(format!("needs {need}")));
        }
        let run = Who::Caller.runs(&it, &it.name);
        let said = words::verdict(&expected(&it), &run, &hints(&it));
        let said = said.expect("an unsolved exercise must not pass");
        assert!(said.contains("It is not written yet"), "it fails for another reason:\n{said}");
        Ok(Completion::Completed)
    })
}

fn expected(exercise: &Exercise) -> String {
    grade::expected(exercise).unwrap_or_else(|error| panic!("{error:#}"))
}

fn hints(exercise: &Exercise) -> Hints {
    Hints::read(exercise).unwrap_or_else(|error| panic!("{error:#}"))
}

fn solved_it_passes(exercise: &Exercise, who: Who) {
    let run = who.runs(exercise, &exercise.solution_program());
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(exercise.snapshots());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(exercise.title.as_str());
    println!("{}", run.errors);
    settings.bind(|| insta::assert_snapshot!(exercise.name.as_str(), run.picture));
}

/// A mistake is the solution with another answer; between its marks it says, in lines
/// with `// SAYS: `, what the reader must be told.
fn mistake_is_told(exercise: &Exercise, mistake: &Path, who: Who) {
    let read = |file: &Path| fs::read_to_string(file).expect("read a program");
    let (source, solution) = (read(mistake), read(&exercise.solution()));
    let given = |text: &str| template::given(text).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(given(&source), given(&solution), "{} differs outside its marks", mistake.display());
    let run = who.runs(exercise, &stem(mistake));
    let said = words::verdict(&expected(exercise), &run, &hints(exercise));
    let said = said.expect("a mistake must not pass");
    let must: Vec<_> = source.lines().filter_map(|line| line.trim().strip_prefix(SAYS)).collect();
    assert!(!must.is_empty(), "{} has no line {SAYS:?}", mistake.display());
    let flowing = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in must {
        assert!(flowing.contains(words), "it must be told {words:?}, and is told:\n{said}");
    }
}
