//! One shell types all commands of a page, and what comes is compared.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use book::pages::Page;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::Leftovers;

use crate::compare::difference;
use crate::console::{Console, Prompt};
use crate::sandbox::Sandbox;

/// So long the consoles of a page may take, in all.
const PATIENCE: Duration = Duration::from_secs(180);

/// The shell says after each command how it ended, between two of these.
const MARK: char = '\u{1}';

/// Starts a program in a terminal, types a line whenever a root shell's prompt comes, and
/// shows all that the terminal shows.
const IN_A_TERMINAL: &str = r#"
__in_a_terminal() {
    local command=$1 line seen char out in; shift
    coproc TERMINAL { exec script -qec "$command" /dev/null; }
    local pid=$TERMINAL_PID
    exec {out}<&${TERMINAL[0]} {in}>&${TERMINAL[1]}
    for line; do
        seen=
        while [[ $seen != *'# ' ]] && IFS= read -r -N 1 -t 30 -u $out char; do
            seen+=$char
            printf %s "$char"
        done
        printf '%s\n' "$line" >&$in
    done
    cat <&$out
    exec {out}<&- {in}>&-
    wait $pid
}
"#;

/// How a command ended.
struct Ended {
    output: Vec<String>,
    status: i32,
}

/// Types the consoles of a page; panics with what differs.
pub fn check(page: &Page, prompt: Prompt, consoles: &[Console]) {
    // A container's name is its cgroup's, and cgroups have no sandbox: root's pages take turns.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = (prompt == Prompt::Root).then(|| TURN.lock().unwrap_or_else(|e| e.into_inner()));
    let with_registry =
        consoles.iter().any(|console| console.needs.iter().any(|need| need == "registry"));
    let mut sandbox = Sandbox::new(prompt, &page.text, with_registry);
    let names = sandbox.names();
    let leftovers = Leftovers::matching(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut ended = type_all(&sandbox, consoles);
    for line in ended.iter_mut().flat_map(|ended| &mut ended.output) {
        *line = sandbox.as_at_home(line);
    }
    let mut ended = ended.into_iter();
    let mut report = String::new();
    for console in consoles {
        let ended: Vec<_> = ended.by_ref().take(console.commands.len()).collect();
        if let Some(wrong) = judge(console, &ended) {
            write!(report, "{}:{}:\n{wrong}", page.name, console.line).expect("write to memory");
            if std::env::var_os("SNAPSHOTS").is_some_and(|word| word == "overwrite") {
                overwrite(page, console, &ended);
            }
        }
    }
    sandbox.close();
    assert!(report.is_empty(), "\n{report}");
    // The network's keeper goes with the sandbox, after this.
    let network: Vec<_> = leftovers.found();
    assert!(
        testkit::wait_until(Duration::from_secs(5), || leftovers.found().is_empty()),
        "left behind:\n{}",
        network.join("\n")
    );
}

fn judge(console: &Console, ended: &[Ended]) -> Option<String> {
    let mut wrong = String::new();
    for (command, ended) in console.commands.iter().zip(ended) {
        let typed = command.typed.join("\n  ");
        if let Some(diff) = difference(console, &command.output, &ended.output) {
            write!(wrong, "  {typed}\n{diff}").expect("write to memory");
        }
        if ended.status != 0 && !console.fails {
            let said = ended.output.join("\n    ");
            wrong += &format!("  {typed}: ends with {}\n    {said}\n", ended.status);
        }
    }
    if ended.len() < console.commands.len() {
        wrong += "  the shell did not come to its end\n";
    }
    if console.fails && ended.iter().all(|ended| ended.status == 0) {
        wrong += "  it is said to fail, and does not\n";
    }
    (!wrong.is_empty()).then_some(wrong)
}

/// Runs the commands of all consoles in one shell.
fn type_all(sandbox: &Sandbox, consoles: &[Console]) -> Vec<Ended> {
    let mut script = String::from("exec 2>&1 </dev/null\nset +m\n");
    if consoles.iter().any(|console| console.terminal) {
        script += IN_A_TERMINAL;
    }
    for command in consoles.iter().flat_map(|console| &console.commands) {
        // A command finds the exit code of the one before it in $?.
        write!(
            script,
            "{}\n__status=$?; printf '{MARK}%d{MARK}' $__status; (exit $__status)\n",
            command.script
        )
        .expect("write to memory");
    }
    // What is still running, in the background or in an engine, ends with the session.
    script += "exec >/dev/null\nkill $(jobs -p); command -v coracle && \
        coracle ps -aq | xargs -r coracle rm -f; true\n";
    let file = sandbox.file("script");
    fs::write(&file, script).expect("write the script");
    parse(&output_of(&mut sandbox.shell(&file)))
}

/// What a command prints, on both outputs, until it ends or time is over. What it leaves
/// running may keep the pipe.
fn output_of(command: &mut Command) -> String {
    let (mut reader, writer) = std::io::pipe().expect("make a pipe");
    let twin = writer.try_clone().expect("duplicate a pipe");
    command.stdin(Stdio::null()).stdout(OwnedFd::from(writer)).stderr(OwnedFd::from(twin));
    let mut shell = command.process_group(0).spawn().expect("start bash");
    // The command holds ends of the pipe, too.
    *command = Command::new("true");
    let (send, pieces) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count) = reader.read(&mut buffer) {
            if count == 0 || send.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut output = Vec::new();
    let end = Instant::now() + PATIENCE;
    let mut over = false;
    loop {
        match pieces.recv_timeout(Duration::from_millis(50)) {
            Ok(piece) => output.extend(piece),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if over => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        over = over || shell.try_wait().is_ok_and(|status| status.is_some());
        if Instant::now() > end {
            break;
        }
    }
    let _ = kill(Pid::from_raw(-(shell.id() as i32)), Signal::SIGKILL);
    let _ = shell.wait();
    String::from_utf8_lossy(&output).into_owned()
}

fn parse(output: &str) -> Vec<Ended> {
    let mut parts = output.split(MARK);
    let mut ended = Vec::new();
    while let (Some(text), Some(status)) = (parts.next(), parts.next()) {
        let output = text.lines().map(|line| line.trim_end().to_owned()).collect();
        ended.push(Ended { output, status: status.parse().unwrap_or(-1) });
    }
    ended
}

/// Puts what came into the page. Both sessions of a page may want to at once.
fn overwrite(page: &Page, console: &Console, ended: &[Ended]) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let text = fs::read_to_string(&page.file).expect("read the page");
    let now = Page { text, ..page.clone() };
    let block = now.blocks().swap_remove(console.number);
    let mut lines: Vec<_> = now.text.lines().map(str::to_owned).collect();
    let mut fresh = Vec::new();
    for (n, command) in console.commands.iter().enumerate() {
        fresh.extend(command.typed.iter().cloned());
        let Some(ended) = ended.get(n) else {
            fresh.extend(command.output.iter().cloned());
            continue;
        };
        // What agrees, with its wildcards, stays.
        match difference(console, &command.output, &ended.output) {
            Some(_) => fresh.extend(ended.output.iter().cloned()),
            None => fresh.extend(command.output.iter().cloned()),
        }
    }
    let indent = " ".repeat(block.indent);
    let fresh = fresh.into_iter().map(|line| format!("{indent}{line}").trim_end().to_owned());
    lines.splice(block.line..block.line + block.lines.len(), fresh);
    fs::write(&page.file, lines.join("\n") + "\n").expect("write the page");
}
