//! What `cargo workshop` says to a reader, asked of the program: in a repository that has
//! one lesson of three small exercises.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

fn main() {
    let test = |name, act: fn()| testkit::test(name, &[], act);
    testkit::main(vec![
        test("an_exercise_that_is_not_begun_is_not_called_wrong", not_begun),
        test("a_wrong_answer_is_told_in_words", wrong),
        test("a_right_answer_is_remembered_until_it_changes", right),
        test("what_does_not_compile_is_told_as_such", no_compile),
        test("another_exercise_s_failure_is_not_the_reader_s", others),
        test("a_skip_is_not_solved_and_says_what_is_missing", skipped),
        test("hints_come_in_steps_and_the_last_names_the_solution", hints),
        test("reset_puts_the_reader_s_file_aside", reset),
        test("a_graded_run_never_updates_a_snapshot", snapshot),
        test("a_process_that_is_left_behind_is_told", left_behind),
        test("a_program_that_does_not_end_is_ended", endless),
        test("watch_checks_what_is_saved_and_goes_on_to_the_next", watch),
        test("a_name_that_is_none_is_refused", unknown),
    ])
}

/// A repository with exercises, and a reader in it.
struct Repository(TempDir);

/// What the program answered.
struct Answer {
    code: Option<i32>,
    text: String,
}

impl Repository {
    fn new() -> Repository {
        let repository = Repository(testkit::temp_dir());
        let exercise = |number: &str, needs: &str| {
            format!(
                "//! Greet {number}.\n//!\n//! Say hello.\n//!\n//! Minutes: 10\n{needs}\n\
                 fn main() {{\n    println!(\"{{}}\", greeting());\n}}\n\n\
                 fn greeting() -> String {{\n    // YOURS: say hello\n    // Why not.\n    \
                 \"hello {number}\".into()\n    // END\n}}\n"
            )
        };
        let mut bins = String::new();
        for (name, needs) in
            [("01_one", ""), ("02_two", ""), ("03_three", "//! Needs: program no-such-program\n")]
        {
            let number = name.split('_').nth(1).unwrap();
            let solution = exercise(number, needs);
            let pristine = solution.replace(
                &format!("// YOURS: say hello\n    // Why not.\n    \"hello {number}\".into()\n    // END"),
                "todo!(\"say hello\")",
            );
            repository.write(&format!("solutions/{name}.rs"), &solution);
            repository.write(&format!("{name}.rs"), &pristine);
            repository.write(
                &format!("hints/{name}.md"),
                "A nudge.\n---\nNearly all.\n## goodbye\nThat is for later.\n",
            );
            repository.write(
                &format!("snapshots/{name}.snap"),
                &format!(
                    "---\nsource: x\n---\nIt prints:\n  hello {number}\nAfter it:\n  it ends well\n"
                ),
            );
            bins += &format!("[[bin]]\nname = \"{name}\"\npath = \"{name}.rs\"\n");
        }
        let package = |name: &str| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        repository.write("Cargo.toml", &format!("{}{bins}", package("sample-exercises")));
        repository.write("../Cargo.toml", &package("sample"));
        let members = "[workspace]\nresolver = \"3\"\nmembers = [\"steps/01-sample/exercises\"]\n";
        fs::write(repository.root().join("Cargo.toml"), members).unwrap();
        repository
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root().join("steps/01-sample/exercises").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.file(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    /// The reader's answer to an exercise.
    fn answer(&self, name: &str, with: &str) {
        let text = self.read(name).replace("todo!(\"say hello\")", with);
        self.write(name, &text);
    }

    fn workshop(&self, words: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command.args(words).current_dir(self.file(""));
        command.env("CARGO_TARGET_DIR", self.root().join("target")).env("INSTA_UPDATE", "always");
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Answer { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }
}

impl Answer {
    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "no {word:?} in:\n{}", self.text);
        }
        self
    }

    #[track_caller]
    fn does_not_say(&self, words: &str) {
        assert!(!self.text.contains(words), "{words:?} in:\n{}", self.text);
    }
}

fn not_begun() {
    let repository = Repository::new();
    let answer = repository.workshop(&["check"]);
    answer.says(1, &["01_one: Greet one", "It is not written yet", "say hello"]);
    answer.does_not_say("panicked");
    answer.does_not_say("02_two");
    repository
        .workshop(&["list"])
        .says(0, &["Lesson 1, sample", "0 of 3 solved", ">          01_one"]);
}

fn wrong() {
    let repository = Repository::new();
    repository.answer("01_one.rs", "\"goodbye\".into()");
    let words = [
        "It prints:\n  expected: hello one\n  yours:    goodbye\n",
        "That is for later.",
        "hint 01_one",
    ];
    repository.workshop(&["check", "one"]).says(1, &words);
    let both = ["Expected of 01_one", "    hello one", "Yours:", "    goodbye", "In words:"];
    repository.workshop(&["diff", "one"]).says(0, &both);
    repository.workshop(&["list"]).says(0, &["begun    01_one", "0 of 3 solved"]);
}

fn right() {
    let repository = Repository::new();
    repository.answer("01_one.rs", "\"hello one\".into()");
    repository
        .workshop(&["check"])
        .says(0, &["Solved.", "Next: steps/01-sample/exercises/02_two.rs"]);
    repository
        .workshop(&["list"])
        .says(0, &["1 of 3 solved", "solved   01_one", ">          02_two"]);
    repository.workshop(&["diff", "one"]).says(0, &["They are the same."]);
    let text = repository.read("01_one.rs").replace("hello one", "hello");
    repository.write("01_one.rs", &text);
    repository.workshop(&["list"]).says(0, &["0 of 3 solved", "> changed  01_one"]);
}

fn no_compile() {
    let repository = Repository::new();
    repository.answer("01_one.rs", "7");
    let answer = repository.workshop(&["check"]);
    answer.says(1, &["mismatched types", "01_one.rs does not compile; what rustc says"]);
}

fn others() {
    let repository = Repository::new();
    repository.answer("02_two.rs", "not Rust at all");
    repository.answer("01_one.rs", "\"hello one\".into()");
    repository.workshop(&["check", "one"]).says(0, &["Solved."]).does_not_say("error");
}

fn skipped() {
    let repository = Repository::new();
    repository.answer("03_three.rs", "\"hello three\".into()");
    let answer = repository.workshop(&["check", "three"]);
    answer.says(3, &["Skipped, and not solved", "the program no-such-program"]);
    answer.does_not_say("Solved.");
    repository.workshop(&["list"]).says(0, &["0 of 3 solved"]);
}

fn hints() {
    let repository = Repository::new();
    let first = repository.workshop(&["hint"]);
    first.says(0, &["hint 1 of 2", "A nudge."]).does_not_say("Nearly all.");
    first.does_not_say("solution");
    let last = ["hint 2 of 2", "Nearly all.", "cargo workshop solution 01_one"];
    repository.workshop(&["hint"]).says(0, &last).does_not_say("That is for later.");
    repository.workshop(&["hint"]).says(0, &last);
    repository.workshop(&["solution"]).says(0, &["Why not."]);
}

fn reset() {
    let repository = Repository::new();
    let pristine = repository.read("01_one.rs");
    repository.answer("01_one.rs", "\"my very own\".into()");
    let kept = ".workshop/kept/01_one.rs";
    repository.workshop(&["reset", "one"]).says(0, &["is new again", kept]);
    assert_eq!(repository.read("01_one.rs"), pristine);
    let kept = fs::read_to_string(repository.root().join(kept)).unwrap();
    assert!(kept.contains("my very own"));
}

fn snapshot() {
    let repository = Repository::new();
    let before = repository.read("snapshots/01_one.snap");
    repository.answer("01_one.rs", "\"goodbye\".into()");
    repository.workshop(&["check"]).says(1, &["Not yet."]);
    assert_eq!(repository.read("snapshots/01_one.snap"), before);
    assert_eq!(fs::read_dir(repository.file("snapshots")).unwrap().count(), 3);
}

fn left_behind() {
    let repository = Repository::new();
    let spawn = "{ std::process::Command::new(\"sleep\").arg(\"1000\").spawn().unwrap(); \"hello one\".into() }";
    repository.answer("01_one.rs", spawn);
    repository.workshop(&["check"]).says(1, &["too much: a process is left: sleep"]);
}

fn endless() {
    let repository = Repository::new();
    repository.answer("01_one.rs", "loop { std::thread::park() }");
    let answer = repository.workshop(&["check"]);
    answer.says(1, &["it did not end within 20 seconds"]);
}

fn watch() {
    let repository = Repository::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.arg("watch").current_dir(repository.file("")).stdout(Stdio::piped());
    command.env("CARGO_TARGET_DIR", repository.root().join("target"));
    let mut watch = testkit::spawn(command).unwrap();
    let mut said = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    let mut hears = |words: &str| {
        let found = said.by_ref().map_while(Result::ok).any(|line| line.contains(words));
        assert!(found, "it never says {words:?}");
    };
    hears("It is not written yet");
    hears("Waiting for steps/01-sample/exercises/01_one.rs to be saved");
    repository.answer("01_one.rs", "\"hello one\".into()");
    hears("Solved.");
    hears("Waiting for steps/01-sample/exercises/02_two.rs to be saved");
    repository.answer("02_two.rs", "\"goodbye\".into()");
    hears("yours:    goodbye");
}

fn unknown() {
    let repository = Repository::new();
    let answer = repository.workshop(&["check", "seven"]);
    answer.says(2, &["no exercise is called seven; `cargo workshop list` shows them"]);
    let words = Command::new(env!("CARGO_BIN_EXE_workshop")).current_dir("/").output().unwrap();
    assert!(String::from_utf8_lossy(&words.stderr).contains("run it inside the repository"));
}
