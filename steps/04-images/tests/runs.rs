//! Containers on images.

mod support;

use std::fs::{self, File};

use serde_json::json;
use support::Store;
use testkit::{Leftovers, Needs, Registry, test};

const REGISTRY: &[Needs] = &[
    Needs::Program("docker-registry"),
    Needs::Program("skopeo"),
    Needs::Program("busybox"),
    Needs::Root,
    Needs::Overlay,
];
const HOST: &[Needs] = &[Needs::Root, Needs::Overlay];
const USER: &[Needs] = &[Needs::User, Needs::UserNamespaces, Needs::Overlay];

fn main() {
    testkit::main(vec![
        test("an_image_is_pulled_and_runs_as_it_says", REGISTRY, an_image_is_pulled_and_runs),
        test("the_host_is_an_image_too", HOST, the_host_is_an_image_too),
        test("an_ordinary_user_runs_the_host_image", USER, an_ordinary_user_runs_the_host_image),
        test("shared_ipc_is_shared_memory_too", HOST, shared_ipc_is_shared_memory_too),
        test("a_working_directory_that_is_missing_is_made", HOST, a_missing_workdir_is_made),
        test("an_unknown_image_runs_nothing", HOST, an_unknown_image_runs_nothing),
        test("a_result_that_cannot_be_printed_is_an_error", &[], unprintable),
        test("a_pull_that_nobody_watches_is_a_pull", REGISTRY, unwatched),
    ])
}

fn an_image_is_pulled_and_runs() {
    let before = Leftovers::snapshot();
    let (registry, store) = (Registry::start(), Store::new());
    let layout = testkit::temp_dir();
    let config = json!({
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo $WORD $(pwd) $(id -u); exit 7"],
        "Env": ["WORD=hello", "PATH=/bin"], "WorkingDir": "/tmp", "User": "guest",
    });
    testkit::oci_layout(layout.path(), &[testkit::tar_of(&testkit::busybox_rootfs())], config);
    let name = registry.push(layout.path(), "box");
    let output = store.command(&["run", &name]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello /tmp 1000\n",
        "{}",
        support::stderr(&output)
    );
    assert_eq!(output.status.code(), Some(7));
    let flags = ["run", "-u", "0", "-e", "WORD=bye", "-w", "/", "--entrypoint", "/bin/sh"];
    let said = store.ok(&[&flags[..], &[&name, "-c", "echo $WORD $(pwd) $(id -u)"]].concat());
    assert_eq!(said, "bye / 0\n");
    // What one container writes, the next does not see, and the image does not have.
    store.ok(&["run", "-u", "0", &name, "echo x > /file"]);
    let again = store.command(&["run", &name, "test ! -e /file"]).status().unwrap();
    assert!(again.success());
    drop(store);
    drop(registry);
    before.assert_none();
}

fn the_host_is_an_image_too() {
    let store = Store::new();
    assert_eq!(store.ok(&["run", "host", "sh", "-c", "echo $((6 * 7))"]), "42\n");
    assert!(store.ok(&["images"]).contains("host"));
    store.ok(&["rmi", "host"]);
    store.assert_empty();
}

fn an_ordinary_user_runs_the_host_image() {
    let user = testkit::user().unwrap();
    let binary = testkit::reachable(support::IMAGES);
    let run = |args: &[&str]| user.command(&binary).args(args).output().unwrap();
    let output = run(&["run", "host", "sh", "-c", "id -u; echo x > /file && cat /file"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\nx\n", "{}", support::stderr(&output));
    let gone = run(&["rmi", "host"]);
    assert!(gone.status.success(), "{}", support::stderr(&gone));
}

fn shared_ipc_is_shared_memory_too() {
    let store = Store::new();
    let shared = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    fs::write(shared.path(), "host").unwrap();
    let script = format!("cat {} 2>/dev/null || echo none", shared.path().display());
    let read = |ipc: &str| store.ok(&["run", "--ipc", ipc, "host", "sh", "-c", &script]);
    assert_eq!((read("private").as_str(), read("host").as_str()), ("none\n", "host"));
}

fn a_missing_workdir_is_made() {
    let store = Store::new();
    let script = "pwd; stat -c '%a %u' .";
    let told = |user: &str| {
        let flags = ["run", "-w", "/not/there", "-u", user, "host"];
        store.ok(&[&flags[..], &["sh", "-c", script]].concat())
    };
    // Made by root, whoever works there.
    assert_eq!(told("0"), "/not/there\n755 0\n");
    assert_eq!(told("1000"), "/not/there\n755 0\n");
    // In the container, not in the image.
    assert_eq!(store.ok(&["run", "host", "sh", "-c", "ls -d /not || true"]), "");
}

fn an_unknown_image_runs_nothing() {
    let store = Store::new();
    let output = store.command(&["run", "--pull=never", "nothing"]).output().unwrap();
    assert_eq!(support::stderr(&output), "images: no such image: nothing\n");
    assert_eq!(output.status.code(), Some(125));
    let output = store.command(&["run", "127.0.0.1:1/nothing", "sh"]).output().unwrap();
    assert!(support::stderr(&output).contains("Connection refused"));
    assert_eq!(output.status.code(), Some(125));
    let output = store.command(&["run", "Nothing"]).output().unwrap();
    assert!(support::stderr(&output).contains("must be lower-case"));
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn unprintable() {
    let store = Store::new();
    let output = store.command(&["ls"]).stdout(full()).output().unwrap();
    let told = "images: write to standard output: No space left on device\n";
    assert_eq!((support::stderr(&output).as_str(), output.status.code()), (told, Some(1)));
    // That nobody reads on is none: `images ls | head -1`.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = store.command(&["ls"]).stdout(writer).output().unwrap();
    assert_eq!((support::stderr(&output).as_str(), output.status.code()), ("", Some(0)));
}

fn unwatched() {
    let (registry, store) = (Registry::start(), Store::new());
    let name = support::push(&registry, "box", &[b"content"]);
    let output = store.command(&["pull", &name]).stderr(full()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{name}:latest\n"));
    assert_eq!(output.status.code(), Some(0));
}
