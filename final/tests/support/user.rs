//! The same for an ordinary user, in a user namespace.

use std::process::ExitCode;

use libtest_mimic::Trial;
use serde_json::json;
use testkit::Needs;

use super::Fixture;

pub fn tests() -> Vec<Trial> {
    let needs = [Needs::User, Needs::UserNamespaces, Needs::Program("busybox")];
    let test = |name, act: fn()| testkit::test(name, &needs, act);
    vec![test("an_ordinary_user_has_containers_too", ordinary)]
}

fn ordinary() {
    let user = testkit::user().unwrap();
    let program = testkit::reachable(std::env::current_exe().unwrap());
    let output = user.command(&program).arg("drive").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "0\nCapEff:\t00000000a80425fb\nSeccomp:\t2\nexit 3\n", "{errors}");
}

/// Is started as that user.
pub fn drive() -> ExitCode {
    let script = "id -u; grep -E 'CapEff|Seccomp:' /proc/self/status; touch /tmp/mine; exit 3";
    let mut fixture = Fixture::new(script);
    let linux = &mut fixture.spec["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    let ended = fixture.run();
    print!("{}", ended.stdout);
    eprint!("{}", ended.stderr);
    println!("exit {}", ended.state.exit_code.unwrap_or(-1));
    ExitCode::SUCCESS
}
