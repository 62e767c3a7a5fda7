//! The three kinds of callers.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use libtest_mimic::Trial;
use testkit::{Needs, User};

/// Who runs the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Root,
    /// An ordinary user with ranges in /etc/subuid.
    User,
    /// An ordinary user with one id.
    Nobody,
}

pub const NOBODY: u32 = 65534;

/// Its home is there as long as this is.
static USER: LazyLock<User> = LazyLock::new(|| testkit::user().expect("a user"));

impl Who {
    pub const ALL: [Who; 3] = [Who::Root, Who::User, Who::Nobody];

    fn needs(self) -> &'static [Needs] {
        match self {
            Who::Root => &[Needs::Root],
            Who::User => &[Needs::Subids, Needs::UserNamespaces],
            // Root, to become nobody.
            Who::Nobody => &[Needs::Root, Needs::UserNamespaces],
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Who::Root => "as_root",
            Who::User => "as_a_user",
            Who::Nobody => "as_nobody",
        }
    }

    pub fn uid(self) -> u32 {
        match self {
            Who::Root => 0,
            Who::User => USER.uid,
            Who::Nobody => NOBODY,
        }
    }

    /// Any program, run by this caller.
    pub fn command(self, program: impl AsRef<Path>) -> Command {
        match self {
            Who::Root => Command::new(program.as_ref()),
            Who::User => USER.command(program),
            Who::Nobody => {
                let mut command = Command::new(program.as_ref());
                command.uid(NOBODY).gid(NOBODY).current_dir("/");
                command
            }
        }
    }

    /// The lesson's binary, with arguments split at white space.
    pub fn namespaces(self, args: &str) -> Command {
        let mut command = self.command(binary());
        command.args(args.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// `run`, flags, and a shell script for the container.
    pub fn sh(self, flags: &str, script: &str) -> Answer {
        Answer::of(self.namespaces(&format!("run {flags} sh -c")).arg(script))
    }
}

/// The lesson's binary, where everybody can reach it.
pub fn binary() -> PathBuf {
    testkit::reachable(env!("CARGO_BIN_EXE_namespaces"))
}

/// One test for each of the callers.
pub fn for_all(name: &str, act: fn(Who)) -> Vec<Trial> {
    Who::ALL.into_iter().map(|who| for_one(name, who, act)).collect()
}

pub fn for_one(name: &str, who: Who, act: fn(Who)) -> Trial {
    testkit::test(&format!("{}::{name}", who.prefix()), who.needs(), move || act(who))
}

/// What a command said, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Answer {
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.output().expect("run the command"))
    }

    /// Standard output of a command that must end well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The one sentence of a command that must end with `code`.
    #[track_caller]
    pub fn refused(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{}", self.err);
        let sentence = self.err.trim_end().to_owned();
        assert_eq!(sentence.lines().count(), 1, "more than one line: {sentence}");
        sentence.strip_prefix("namespaces: ").expect("the program's name").to_owned()
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}
