//! The kit's claims about itself.

use std::process::Command;
use std::time::Duration;

use testkit::{
    Leftovers, Needs, NetNs, Registry, busybox_rootfs, oci_layout, tar_of, temp_dir, user,
};

fn main() {
    testkit::main(vec![
        testkit::test(
            "a_user_is_not_root_and_owns_its_home",
            &[Needs::Root, Needs::User],
            user_is_not_root,
        ),
        testkit::test("a_kept_process_is_a_leftover", &[], kept_process),
        testkit::test("a_kept_mount_is_a_leftover", &[Needs::Root], kept_mount),
        testkit::test(
            "an_image_pushed_to_the_registry_can_be_read_back",
            &[
                Needs::Program("docker-registry"),
                Needs::Program("skopeo"),
                Needs::Program("busybox"),
            ],
            registry_round_trip,
        ),
        testkit::test(
            "a_registry_with_a_login_refuses_strangers",
            &[
                Needs::Program("docker-registry"),
                Needs::Program("htpasswd"),
                Needs::Program("curl"),
            ],
            registry_login,
        ),
        testkit::test(
            "two_networks_reach_each_other_by_their_cable_only",
            &[Needs::Network, Needs::Program("ping")],
            cable,
        ),
    ])
}

fn user_is_not_root() {
    let user = user().expect("an account");
    let script = "id -u; id -G; cd; touch mine; stat -c %U .; echo $XDG_RUNTIME_DIR; touch $XDG_RUNTIME_DIR/x";
    let output = user.command("sh").args(["-ec", script]).output().expect("run sh");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    let expected =
        format!("{}\n{}\n{}\n{}\n", user.uid, user.gid, user.name, user.runtime_dir().display());
    assert_eq!(text, expected);
}

fn kept_process() {
    let leftovers = Leftovers::matching(&["kept-process-of-the-kit"]);
    let mut sleep = Command::new("sleep");
    sleep.arg("60").env("WORD", "kept-process-of-the-kit");
    let child = testkit::spawn(sleep).expect("start sleep");
    assert_eq!(leftovers.found(), [format!("process {} sleep 60", child.0.id())]);
    drop(child);
    leftovers.assert_none();
}

fn kept_mount() {
    let dir = temp_dir();
    let leftovers = Leftovers::matching(&[dir.path().to_str().expect("utf-8")]);
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).arg(dir.path()).status();
        assert!(status.expect("run a program").success());
    };
    run("mount", &["-t", "tmpfs", "none"]);
    let found = leftovers.found();
    run("umount", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    leftovers.assert_none();
}

fn registry_round_trip() {
    let (registry, layout) = (Registry::start(), temp_dir());
    let config = serde_json::json!({ "Cmd": ["sh"] });
    oci_layout(layout.path(), &[tar_of(&busybox_rootfs())], config);
    let reference = registry.push(layout.path(), "busybox:1");
    let mut inspect = Command::new("skopeo");
    inspect.args(["inspect", "--config", "--tls-verify=false"]);
    let output = inspect.arg(format!("docker://{reference}")).output().expect("run skopeo");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.replace([' ', '\n'], "").contains(r#""Cmd":["sh"]"#),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn registry_login() {
    let registry = Registry::with_login("anna", "secret");
    let status_of = |login: &[&str]| {
        let url = format!("http://{}/v2/", registry.address());
        let mut curl = Command::new("curl");
        curl.args(["--noproxy", "*", "-s", "-o", "/dev/null", "-w", "%{http_code}"]);
        let output = curl.args(login).arg(url).output().expect("run curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(status_of(&[]), "401");
    assert_eq!(status_of(&["-u", "anna:secret"]), "200");
}

fn cable() {
    let (left, right) = (NetNs::new(), NetNs::new());
    let leftovers = Leftovers::inside(&left, &[]);
    let ping = || {
        let mut ping = left.command("ping");
        ping.args(["-c1", "-W1", "192.0.2.2"]).output().expect("run ping").status.success()
    };
    assert!(!ping());
    left.connect(&right, "cable", "192.0.2.1/24", "192.0.2.2/24");
    assert!(testkit::wait_until(Duration::from_secs(3), ping));
    assert!(leftovers.found().iter().any(|thing| thing.starts_with("link cable")));
    left.ip("link delete cable");
    leftovers.assert_none();
}
