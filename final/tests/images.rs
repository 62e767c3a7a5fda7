//! Images as the engine has them: their names, who stands on them, and their end.

use serde_json::json;
use testkit::{Needs, Registry};

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;

use engine::Engine;

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const REGISTRY: &[Needs] = &[
    Needs::Root,
    Needs::Overlay,
    Needs::Network,
    Needs::Program("busybox"),
    Needs::Program("docker-registry"),
    Needs::Program("skopeo"),
];

fn main() {
    testkit::main(testkit::tests![
        ROOT images_are_tagged_listed_and_untagged,
        ROOT an_image_below_stopped_containers_goes_by_force,
        REGISTRY containers_are_found_by_what_their_image_was_made_from,
    ])
}

/// Two that do not run, the second with a volume.
fn two_containers() -> Engine {
    let engine = Engine::new();
    engine.tell(&["create", "-q", "--name", "one", "-l", "a=1", "host", "sleep", "1000"]);
    let two = ["create", "--name", "two", "-l", "a=2", "-l", "b.c-d=x", "-v", "data:/data"];
    engine.tell(&[&two[..], &["host", "sh", "-c", "exit 3"]].concat());
    engine
}

fn remove_all(engine: &Engine) {
    let ids = engine.tell(&["ps", "-aq"]);
    let mut words = vec!["rm", "-f"];
    words.extend(ids.lines());
    engine.tell(&words);
    engine.assert_nothing_left();
}

fn images_are_tagged_listed_and_untagged() {
    let engine = two_containers();
    engine.tell(&["tag", "host", "example.org/some/name:1"]);
    let names = |filter: &str| {
        let format = "{{.Repository}}:{{.Tag}}";
        engine.tell(&["images", "-f", filter, "--format", format]).replace('\n', " ")
    };
    assert_eq!(names("dangling=false"), "host:latest example.org/some/name:1");
    assert_eq!(names("reference=h?st"), "host:latest");
    assert_eq!(names("reference=example.org/*/name:*"), "example.org/some/name:1");
    assert_eq!(names("reference=example*"), "");
    assert_eq!(names("dangling=true"), "");
    assert_eq!(
        engine.tell(&["rmi", "example.org/some/name:1"]),
        "Untagged: example.org/some/name:1"
    );
    let used = engine.ask(&["rmi", "host"]);
    let told = "unable to remove repository reference \"host\" (must force) - container ";
    assert!(used.code == 1 && used.err.contains(told), "{used:?}");
    let step = engine.tell(&["history", "--format", "{{.ID}} {{.Comment}}|{{.CreatedBy}}", "host"]);
    let id = engine.tell(&["images", "-q", "host"]);
    assert!(step.starts_with(&id) && step.lines().count() == 1, "{step}");
    let wrong = engine.ask(&["tag", "host", "A B"]);
    assert!(wrong.code == 1 && wrong.err.contains("not a valid repository/tag"), "{wrong:?}");
    remove_all(&engine);
    let gone = engine.tell(&["rmi", "host"]);
    assert!(gone.starts_with("Untagged: host:latest\nDeleted: sha256:"), "{gone}");
}

fn an_image_below_stopped_containers_goes_by_force() {
    let engine = two_containers();
    engine.run(&["-d", "--name", "runs", "host", "sleep", "1000"]);
    let id = engine.tell(&["images", "-q", "--no-trunc", "host"]);
    let short = &id["sha256:".len()..][..12];
    let refused = engine.ask(&["rmi", "-f", &id]);
    let told =
        format!("unable to delete {short} (cannot be forced) - image is being used by running");
    assert!(refused.code == 1 && refused.err.contains(&told), "{refused:?}");
    engine.tell(&["rm", "-f", "runs"]);
    let refused = engine.ask(&["rmi", &id]);
    let told =
        format!("unable to delete {short} (must be forced) - image is being used by stopped");
    assert!(refused.code == 1 && refused.err.contains(&told), "{refused:?}");

    let gone = engine.tell(&["rmi", "-f", "host"]);
    assert_eq!(gone, format!("Untagged: host:latest\nDeleted: {id}"));
    assert_eq!(engine.tell(&["images", "-aq"]), "");
    let missing = engine.ask(&["rmi", &id]);
    assert!(missing.err.contains(&format!("No such image: {id}")), "{missing:?}");
    assert_eq!(engine.ask(&["run", "--pull", "never", short, "true"]).code, 125);
    assert_eq!(engine.tell(&["ps", "-a", "--format", "{{.Image}}"]), format!("{short}\n{short}"));
    assert_eq!(engine.tell(&["inspect", "-f", "{{.Image}}", "two"]), id);
    // Its layers are still there for those that stand on them, and go with the last.
    assert_eq!(engine.ask(&["start", "-a", "two"]).code, 3);
    let layers = || std::fs::read_dir(engine.root.path().join("layers")).unwrap().count();
    engine.tell(&["rm", "two"]);
    assert!(layers() > 0);
    engine.tell(&["rm", "one"]);
    assert_eq!(layers(), 0);
    engine.tell(&["volume", "prune", "-af"]);
    engine.assert_nothing_left();
}

fn containers_are_found_by_what_their_image_was_made_from() {
    let engine = Engine::new();
    let folder = testkit::temp_dir();
    let registry = Registry::start();
    let busybox = testkit::tar_of(&testkit::busybox_rootfs());
    let more = folder.path().join("more");
    std::fs::create_dir(&more).unwrap();
    std::fs::write(more.join("more"), "").unwrap();
    let layers = [busybox, testkit::tar_of(&more)];
    let image = |name: &str, layers: &[Vec<u8>]| {
        let layout = folder.path().join(name);
        testkit::oci_layout(&layout, layers, json!({ "Cmd": ["true"] }));
        let reference = registry.push(&layout, name);
        engine.tell(&["pull", "-q", &reference]);
        engine.tell(&["create", "-q", "--network", "none", "--name", name, &reference]);
        reference
    };
    let (base, child) = (image("base", &layers[..1]), image("child", &layers));
    let of = |name: &str| {
        let filter = format!("ancestor={name}");
        engine.tell(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]).replace('\n', " ")
    };
    assert_eq!(of(&base), "child base");
    assert_eq!(of(&child), "child");
    assert_eq!(of("host"), "");
    engine.tell(&["rm", "base", "child"]);
    engine.assert_nothing_left();
}
