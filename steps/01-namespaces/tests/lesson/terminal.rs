//! `run -t`, with a real terminal outside.

use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::wait_until;

use crate::driver::Person;
use crate::who::{Answer, Who, for_all};

pub fn tests() -> Vec<Trial> {
    [
        for_all("a_shell_has_job_control_in_its_terminal", job_control),
        for_all("init_leaves_the_terminal_to_the_program", job_control_with_init),
        for_all("the_window_has_the_size_of_the_callers", window),
        for_all("every_key_goes_through_and_the_mode_is_given_back", raw_mode),
        for_all("the_mode_is_given_back_after_a_failed_start", failed_start),
        for_all("the_mode_is_given_back_after_a_kill", killed),
        for_all("a_closed_window_ends_what_reads_from_it", closed_window),
        for_all("a_stopped_run_leaves_the_terminal_usable", stopped),
        for_all("the_last_words_are_not_lost", last_words),
        for_all("a_slow_reader_gets_everything", slow_reader),
        for_all("a_terminal_needs_no_terminal_outside", without_terminal),
        for_all("the_terminal_belongs_to_the_user", owner),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn job_control(who: Who) {
    with_job_control(who, "-it");
}

fn job_control_with_init(who: Who) {
    with_job_control(who, "-it --init");
}

/// The words of `echo` are split, so that their echo on the screen is not their output.
fn with_job_control(who: Who, flags: &str) {
    let mut person = Person::runs(who, flags, &["bash", "--norc", "--noediting", "-i"]);
    person.types("PS1='> '; test -t 0 && test -t 1 && test -t 2 && echo is-a''tty\n");
    person.sees("is-atty");
    // Ctrl-C is for the program in the foreground.
    person.types("echo runs''1; sleep 60\n");
    person.sees("runs1");
    std::thread::sleep(Duration::from_millis(100));
    person.types("\x03");
    person.types("echo code''$?\n");
    person.sees("code130");
    // Ctrl-Z stops it, fg brings it back.
    person.types("echo runs''2; sleep 61\n");
    person.sees("runs2");
    std::thread::sleep(Duration::from_millis(100));
    person.types("\x1a");
    person.sees("Stopped");
    person.types("echo code''$?\n");
    person.sees("code148");
    person.types("fg\n");
    person.sees("sleep 61");
    std::thread::sleep(Duration::from_millis(100));
    person.types("\x03");
    person.types("exit 9\n");
    assert_eq!(person.waits().0.code(), Some(9));
    assert!(person.finds_the_terminal_as_it_was());
}

fn window(who: Who) {
    let script =
        "stty size; trap 'stty size; exit' WINCH; echo wait''ing; while :; do sleep 0.05; done";
    let mut person = Person::runs(who, "-it", &["sh", "-c", script]);
    person.sees("33 99");
    person.sees("waiting");
    person.resizes(44, 111);
    person.sees("44 111");
    assert_eq!(person.waits().0.code(), Some(0));
}

fn raw_mode(who: Who) {
    let script = "stty raw -echo; echo ready; head -c 3 | od -An -tx1; exit 4";
    let mut person = Person::runs(who, "-it", &["sh", "-c", script]);
    person.sees("ready");
    assert!(!person.finds_the_terminal_as_it_was());
    person.types("\x03\x1c\x04");
    person.sees("03 1c 04");
    assert_eq!(person.waits().0.code(), Some(4));
    assert!(person.finds_the_terminal_as_it_was());
}

fn failed_start(who: Who) {
    let mut person = Person::runs(who, "-it", &["nope"]);
    let (status, said) = person.waits();
    assert_eq!(status.code(), Some(127));
    assert_eq!(said, "namespaces: exec nope: executable file not found in $PATH\r\n");
    assert!(person.finds_the_terminal_as_it_was());
}

/// By a signal that ends it without a word; a panic in a release build is SIGABRT.
fn killed(who: Who) {
    for signal in [Signal::SIGKILL, Signal::SIGABRT] {
        let mut person = Person::runs(who, "-it", &["sh", "-c", "echo ready; sleep 60"]);
        person.sees("ready");
        assert!(wait_until(Duration::from_secs(2), || !person.finds_the_terminal_as_it_was()));
        kill(Pid::from_raw(person.command.id() as i32), signal).unwrap();
        person.waits();
        assert!(
            wait_until(Duration::from_secs(2), || person.finds_the_terminal_as_it_was()),
            "{signal}"
        );
    }
}

/// Whether the program handles SIGHUP or not: it reads the end of its terminal.
fn closed_window(who: Who) {
    for flags in ["-it", "-it --init"] {
        let mut person =
            Person::runs(who, flags, &["sh", "-c", "trap '' HUP; echo ready; cat; exit 5"]);
        person.sees("ready");
        assert!(wait_until(Duration::from_secs(2), || !person.finds_the_terminal_as_it_was()));
        person.walks_away();
        let mut status = None;
        let ended = wait_until(Duration::from_secs(5), || {
            status = person.command.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "it still runs");
        assert_eq!(status.unwrap().code(), Some(5));
    }
}

fn stopped(who: Who) {
    let mut person =
        Person::runs(who, "-it", &["sh", "-c", "echo ready; read line; echo got $line"]);
    person.sees("ready");
    assert!(wait_until(Duration::from_secs(2), || !person.finds_the_terminal_as_it_was()));
    let run = Pid::from_raw(person.command.id() as i32);
    kill(run, Signal::SIGTSTP).unwrap();
    assert!(wait_until(Duration::from_secs(2), || person.finds_the_terminal_as_it_was()));
    kill(run, Signal::SIGCONT).unwrap();
    assert!(wait_until(Duration::from_secs(2), || !person.finds_the_terminal_as_it_was()));
    person.types("words\r");
    person.sees("got words");
    assert_eq!(person.waits().0.code(), Some(0));
}

fn last_words(who: Who) {
    for _ in 0..5 {
        let answer = who.sh("-t", "seq 1 20000");
        assert_eq!(answer.code, 0);
        assert!(answer.out.ends_with("19999\r\n20000\r\n") && answer.out.lines().count() == 20000);
    }
}

/// A reader that takes its time: standard output is a pipe that is full.
fn slow_reader(who: Who) {
    let script = "\"$0\" run -t seq 1 50000 | (sleep 0.5; tail -n 1)";
    let answer = Answer::of(who.command("bash").args(["-c", script]).arg(crate::who::binary()));
    assert_eq!(answer.ok(), "50000\r\n");
}

fn without_terminal(who: Who) {
    assert_eq!(
        who.sh("-t", "test -t 0 && test -t 1 && test -t 2 && tty | cut -c1-9").ok(),
        "/dev/pts/\r\n"
    );
    // Whoever stops listening hangs up the container's terminal.
    let binary = crate::who::binary();
    let script = format!("{} run -t yes | head -n 1", binary.display());
    assert_eq!(Answer::of(who.command("bash").args(["-c", &script])).ok(), "y\r\n");
}

fn owner(who: Who) {
    if who != Who::Nobody {
        let out = who.sh("-t -u 12", "echo again >$(tty); stat -c %u $(tty)").ok();
        assert_eq!(out, "again\r\n12\r\n");
    }
    assert_eq!(who.sh("-t", "stat -c %u $(tty); echo $TERM").ok(), "0\r\nxterm\r\n");
}
