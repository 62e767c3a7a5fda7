//! Living beside other people's firewalls.
//!
//! A packet is forwarded only if every firewall on the host lets it pass: our
//! `accept` does not overrule Docker's `FORWARD` policy of DROP. So where
//! iptables would drop, a few rules of ours go first, each with a comment that
//! says whose they are. There are two iptables, with two sets of rules in the
//! kernel: one that speaks nftables, and the legacy one.

use std::fs;
use std::path::Path;
use std::process::Command;

use namespaces::explain::step;
use namespaces::{Error, Result};

use crate::nfnetlink::{chain_drops, chain_state};
use crate::tool::{first_line, search_path};

const CHAPTER: u8 = 5;

/// The two programs, each of which sees only its own rules.
const PROGRAMS: [&str; 2] = ["iptables-nft", "iptables-legacy"];

/// Lets the bridge's traffic pass where iptables would drop it.
///
/// What was seen is noted in `seen`: as long as nobody edits the chains, the next
/// container starts without asking iptables again.
pub(crate) fn open_way(bridge: &str, seen: &Path) -> Result<()> {
    let state = forward_state();
    if fs::read_to_string(seen).unwrap_or_default() == state {
        return Ok(());
    }
    for program in present() {
        let forward = match iptables(program, &["-S", "FORWARD"]) {
            Ok(forward) => forward,
            // Nothing gets past a closed door that we cannot open.
            Err(error) if chain_drops("filter", "FORWARD") => return Err(error),
            // What iptables cannot read was written by nft(8), for somebody to answer for.
            Err(_) => continue,
        };
        let has_docker = iptables(program, &["-S", "DOCKER-USER"]).is_ok();
        if let Some(chain) = chain_to_open(&forward, has_docker) {
            let rules = iptables(program, &["-S", chain])?;
            let missing = rules_for(bridge, chain).into_iter().rev().filter(|rule| {
                // `-S` prints a comment of letters, digits and dashes without quotes.
                !rules.lines().any(|line| line == format!("-A {}", rule.join(" ")))
            });
            for rule in missing {
                let words: Vec<&str> =
                    ["-I"].into_iter().chain(rule.iter().map(String::as_str)).collect();
                iptables(program, &words)?;
            }
        }
    }
    // Our own rules changed the state: look again.
    fs::write(seen, forward_state())
        .map_err(|error| Error::os(format!("write {}", seen.display()), error))
}

/// Takes the bridge's rules back, wherever they are.
pub(crate) fn close_way(bridge: &str) -> Result<()> {
    let mark = comment(bridge);
    for program in present() {
        for chain in ["FORWARD", "DOCKER-USER"] {
            let Ok(rules) = iptables(program, &["-S", chain]) else { continue };
            for rule in rules.lines().filter(|rule| rule.split(' ').any(|word| word == mark)) {
                let words: Vec<&str> = ["-D"].into_iter().chain(rule.split(' ').skip(1)).collect();
                iptables(program, &words)?;
            }
        }
    }
    Ok(())
}

/// The chain that our rules must go to, if anything in FORWARD may drop. Docker
/// keeps DOCKER-USER for others, and looks there first.
fn chain_to_open(forward: &str, has_docker: bool) -> Option<&'static str> {
    let drops = forward.lines().any(|line| {
        line == "-P FORWARD DROP" || line.ends_with("-j DROP") || line.contains("-j REJECT")
    });
    match (has_docker, drops) {
        (true, _) => Some("DOCKER-USER"),
        (false, true) => Some("FORWARD"),
        (false, false) => None,
    }
}

/// Our rules in their order. Whatever enters the bridge was judged by our own
/// table already. Whatever leaves it may go out, but not into Docker's bridges:
/// there Docker's rules decide.
fn rules_for(bridge: &str, chain: &str) -> Vec<Vec<String>> {
    let mark = comment(bridge);
    let rule = |matches: &[&str], verdict: &str| {
        let tail = ["-m", "comment", "--comment", &mark, "-j", verdict];
        [&[chain], matches, &tail[..]].concat().into_iter().map(String::from).collect()
    };
    vec![
        rule(&["-o", bridge], "ACCEPT"),
        rule(&["-i", bridge, "-o", "docker+"], "RETURN"),
        rule(&["-i", bridge, "-o", "br-+"], "RETURN"),
        rule(&["-i", bridge], "ACCEPT"),
    ]
}

fn comment(bridge: &str) -> String {
    format!("coracle-{bridge}")
}

/// The iptables whose filter table the kernel has loaded. Asking one whose table
/// is not loaded would load it.
fn present() -> Vec<&'static str> {
    let [nft, legacy] = PROGRAMS;
    let mut programs = Vec::new();
    if chain_state("filter", "FORWARD").is_some() {
        programs.push(nft);
    }
    if legacy_filter_is_loaded() {
        programs.push(legacy);
    }
    programs
}

fn legacy_filter_is_loaded() -> bool {
    fs::read_to_string("/proc/net/ip_tables_names")
        .is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

/// A text that changes when somebody edits the chains that matter to us.
fn forward_state() -> String {
    let chain = |name| chain_state("filter", name).unwrap_or_default();
    let legacy = legacy_filter_is_loaded();
    format!("FORWARD {}; DOCKER-USER {}; legacy {legacy}\n", chain("FORWARD"), chain("DOCKER-USER"))
}

fn iptables(program: &str, words: &[&str]) -> Result<String> {
    let change = words.first().is_some_and(|word| *word != "-S");
    let run = || {
        let output = Command::new(program)
            .arg("--wait")
            .args(words)
            .env("PATH", search_path())
            .output()
            .map_err(|error| {
                Error::os(format!("start {program}"), error).hint("install iptables")
            })?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let why = first_line(&output.stderr);
                Err(Error::new(format!("{program} {}: {why}", words.join(" "))))
            }
        }
    };
    match change {
        true => step(CHAPTER, || format!("{program} {}", words.join(" ")), run),
        false => run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_go_where_something_may_drop() {
        assert_eq!(chain_to_open("-P FORWARD ACCEPT\n", false), None);
        assert_eq!(chain_to_open("-P FORWARD DROP\n", false), Some("FORWARD"));
        let reject = "-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n";
        assert_eq!(chain_to_open(reject, false), Some("FORWARD"));
        let docker = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n";
        assert_eq!(chain_to_open(docker, true), Some("DOCKER-USER"));
    }

    #[test]
    fn what_enters_dockers_bridges_is_dockers_to_judge() {
        let rules: Vec<String> =
            rules_for("coracle0", "DOCKER-USER").iter().map(|rule| rule.join(" ")).collect();
        insta::assert_snapshot!(rules.join("\n"), @r"
            DOCKER-USER -o coracle0 -m comment --comment coracle-coracle0 -j ACCEPT
            DOCKER-USER -i coracle0 -o docker+ -m comment --comment coracle-coracle0 -j RETURN
            DOCKER-USER -i coracle0 -o br-+ -m comment --comment coracle-coracle0 -j RETURN
            DOCKER-USER -i coracle0 -m comment --comment coracle-coracle0 -j ACCEPT
        ");
    }
}
