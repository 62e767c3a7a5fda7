//! `top`: the container's processes, as ps(1) of the host sees them.

use std::process::Command;

use bollard_stubs::models::ContainerTopResponse;
use nix::unistd::Pid;

use super::Engine;
use super::error::{Error, Result};

/// What Docker asks ps for.
const DEFAULT: &str = "-ef";

/// The processes in a container, with the columns that `options` ask ps for.
pub fn top(engine: &Engine, id: &str, options: &str) -> Result<ContainerTopResponse> {
    let options = if options.is_empty() { DEFAULT } else { options };
    check(options)?;
    let container = engine.containers.find(id)?;
    let state = container.state()?;
    if !state.is_alive() {
        return Err(Error::conflict(format!("container {} is not running", container.record.id)));
    }
    let pids = container.pids(&state)?;
    let text = ps(options, &pids)?;
    engine.events.tell_container(&container.dir, "top", &[]);
    parse(&text, &pids)
}

/// A column that is not the pid, but is called so, would let any process pass for one
/// of the container's.
fn check(options: &str) -> Result<()> {
    let words: Vec<_> = options.split_ascii_whitespace().collect();
    for (at, word) in words.iter().enumerate().skip(usize::from(!options.starts_with(' '))) {
        for (place, _) in word.match_indices('=') {
            let (key, title) = (&word[..place], &word[place + 1..]);
            let title = match title.is_empty() {
                true => words.get(at + 1).copied().unwrap_or_default(),
                false => title,
            };
            if title.starts_with("PID") && key != "pid" {
                return Err(Error::system(format!("specifying \"{key}={title}\" is not allowed")));
            }
        }
    }
    Ok(())
}

fn ps(options: &str, pids: &[Pid]) -> Result<String> {
    let list: Vec<_> = pids.iter().map(ToString::to_string).collect();
    let words: Vec<_> = options.split(' ').filter(|word| !word.is_empty()).collect();
    let only = format!("-q{}", list.join(","));
    match run(&words, Some(&only)) {
        // Some options do not go with -q: then we choose from all processes.
        Err(_) => run(&words, None),
        text => text,
    }
}

fn run(words: &[&str], only: Option<&str>) -> Result<String> {
    let output = Command::new("ps").args(words).args(only).output();
    let output = output.map_err(|error| Error::system(format!("run ps of the host: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().filter(|line| !line.is_empty());
    Err(Error::system(match line {
        Some(line) => format!("ps: {line}"),
        None => format!("ps: {}", output.status),
    }))
}

/// The titles, and the lines of these processes. A last column may have spaces.
fn parse(text: &str, pids: &[Pid]) -> Result<ContainerTopResponse> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    let place = titles.iter().position(|title| title == "PID");
    let place = place.ok_or_else(|| Error::system("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    // The lines of threads have no pid of their own, and follow that of their process.
    let mut ours = false;
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let Some(field) = fields.get(place) else { continue };
        if *field != "-" {
            let pid: i32 = field
                .parse()
                .map_err(|_| Error::system(format!("Unexpected pid '{field}' in ps output")))?;
            ours = pids.contains(&Pid::from_raw(pid));
        }
        if ours {
            let last = (titles.len() - 1).min(fields.len());
            let mut row: Vec<_> = fields[..last].iter().map(ToString::to_string).collect();
            row.push(fields[last..].join(" "));
            processes.push(row);
        }
    }
    Ok(ContainerTopResponse { titles: Some(titles), processes: Some(processes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown_and_threads_with_them() {
        let text = "UID   PID CMD\nroot    7 sh -c x\nroot    - -\nroot    8 other\nroot    - -\n";
        let found = parse(text, &[Pid::from_raw(7)]).unwrap();
        let rows = found.processes.unwrap();
        assert_eq!(rows, [["root", "7", "sh -c x"], ["root", "-", "-"]]);
        assert!(parse("UID CMD\nroot x\n", &[]).is_err());
    }

    #[test]
    fn no_other_column_may_call_itself_pid() {
        for fine in ["-ef", "-o pid,comm", "-o pid=PID -o comm", "aux"] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for bad in ["-o ppid=PID", "-o comm= PID", "-o x=PIDX"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
