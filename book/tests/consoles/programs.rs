//! The reader's `cargo` and `coracle`, without compiling: what was built for the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// The packages, and their programs of the same name.
const PROGRAMS: [&str; 8] =
    ["namespaces", "cgroups", "rootfs", "images", "networking", "volumes", "coracle", "workshop"];

/// Cargo's lines are not on the page, so they are not made.
const CARGO: &str = r#"#!/bin/sh
# `cargo run -p PACKAGE -- ARGUMENTS` runs what is built; `cargo workshop` too.
program=coracle
case $1 in
    run) shift ;;
    workshop) shift; CARGO=$0 exec "$(dirname "$0")/workshop" "$@" ;;
    build)
        # Only what `cargo workshop` asks for: an exercise, as it is, or solved.
        while [ "$1" != --bin ]; do shift; done
        file=$(echo steps/*/exercises/"$2".rs) solved=
        cmp -s "$file" "${file%/*}/solutions/$2.rs" && solved=_solution
        printf '{"target":{"name":"%s"},"executable":"%s"}\n' "$2" "$(dirname "$0")/$2$solved"
        exit ;;
    *) echo "cargo $1: not in a console of the book" >&2; exit 101 ;;
esac
while [ $# -gt 0 ]; do
    case $1 in
        -p | --package | --example) program=$2; shift 2 ;;
        -q | --quiet | --release) shift ;;
        --) shift; break ;;
        *) break ;;
    esac
done
exec "$(dirname "$0")/$program" "$@"
"#;

/// A folder with `cargo` and the programs that the text of a page calls, which an
/// ordinary user can reach.
pub fn folder_for(text: &str, parent: &Path) -> PathBuf {
    let folder = parent.join("bin");
    fs::create_dir(&folder).expect("create a folder");
    let cargo = folder.join("cargo");
    fs::write(&cargo, CARGO).expect("write the script");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("chmod 755");
    // What is typed, and not what is written about: building all takes its time.
    let is_typed = |line: &&str| ["$ ", "# ", "> "].iter().any(|sign| line.starts_with(sign));
    let typed: Vec<_> = text.lines().map(str::trim_start).filter(is_typed).collect();
    let calls = |words: &str| typed.iter().any(|line| line.contains(words));
    // As a word: a folder may be called so too.
    let mut words = typed.iter().flat_map(|line| line.split([' ', '(', '|', ';', '&']));
    let is_called = words.any(|word| word == "coracle");
    let default = calls("cargo run --release --") || calls("cargo run --");
    for name in PROGRAMS {
        let named = calls(&format!("-p {name} ")) || calls(&format!("cargo {name}"));
        if named || (name == "coracle" && (default || is_called)) {
            let copy = testkit::reachable(built(name));
            std::os::unix::fs::symlink(copy, folder.join(name)).expect("link a program");
        }
    }
    let lessons = workshop::lessons(&book::pages::root()).unwrap_or_default();
    for exercise in lessons.iter().flat_map(|lesson| &lesson.exercises) {
        if text.contains(&exercise.name) && text.contains("cargo workshop") {
            for name in [exercise.name.clone(), format!("{}_solution", exercise.name)] {
                let copy = testkit::reachable(built_in(&exercise.package, &name));
                std::os::unix::fs::symlink(copy, folder.join(name)).expect("link a program");
            }
        }
    }
    for (package, name) in examples_in(text) {
        let copy = testkit::reachable(built_example(package, name));
        let link = folder.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(copy, link).expect("link an example");
        }
    }
    folder
}

fn built(name: &str) -> PathBuf {
    built_in(name, name)
}

/// The examples that a text runs: `-p PACKAGE --example NAME`.
fn examples_in(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("cargo run -p ").skip(1).filter_map(|rest| {
        let mut words = rest.split_whitespace();
        let package = words.next()?;
        (words.next()? == "--example").then_some((package, words.next()?))
    })
}

fn built_example(package: &str, name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    let program = own.ancestors().nth(2).expect("the build folder").join("examples").join(name);
    if !is_fresh(&program) {
        cargo_build(&["--package", package, "--example", name]);
    }
    program
}

/// The built program. `cargo test --workspace` has just built it; for a test that is run
/// alone, cargo does so now if a source is newer.
fn built_in(package: &str, name: &str) -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = std::env::current_exe().expect("the path of this program");
        own.ancestors().nth(2).expect("the build folder").to_owned()
    });
    let program = FOLDER.join(name);
    if !is_fresh(&program) {
        cargo_build(&["--package", package, "--bin", name]);
    }
    program
}

fn cargo_build(what: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet"]).args(what).current_dir(book::pages::root());
    let status = build.status().expect("run cargo build");
    assert!(status.success(), "cargo build {}: {status}", what.join(" "));
}

/// True if the program is newer than all files that it was made of, which cargo lists
/// beside it.
fn is_fresh(program: &Path) -> bool {
    let modified = |file: &Path| fs::metadata(file).and_then(|data| data.modified()).ok();
    let newest = |list: String| {
        let (_, sources) = list.split_once(": ")?;
        sources.split_whitespace().filter_map(|file| modified(Path::new(file))).max()
    };
    let list = fs::read_to_string(program.with_extension("d")).ok();
    match (modified(program), list.and_then(newest)) {
        (Some(built), Some(source)) => built > source || source > SystemTime::now(),
        _ => false,
    }
}
