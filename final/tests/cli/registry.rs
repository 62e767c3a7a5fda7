//! Images that come from a registry.

use std::path::Path;

use testkit::Registry;

use crate::engine::Engine;

/// A registry with a busybox image, and the image's reference.
fn registry(folder: &Path) -> (Registry, String) {
    let registry = Registry::start();
    let layer = testkit::tar_of(&testkit::busybox_rootfs());
    let config = serde_json::json!({ "Cmd": ["sh"], "Env": ["FROM=image"] });
    testkit::oci_layout(&folder.join("layout"), &[layer], config);
    let reference = registry.push(&folder.join("layout"), "busybox:1");
    (registry, reference)
}

pub fn images_come_from_a_registry() {
    let engine = Engine::new();
    let (_registry, reference) = registry(testkit::temp_dir().path());
    let script = "echo $FROM $(busybox | head -1 | cut -c1-7)";
    let said = engine.run(&["--rm", &reference, "sh", "-c", script]);
    assert_eq!(said.out, "image BusyBox\n", "{said:?}");
    assert_eq!(engine.tell(&["pull", &reference]), reference);
    assert_eq!(engine.tell(&["images", "--format", "{{.Repository}}:{{.Tag}}"]), reference);
    assert_eq!(engine.tell(&["inspect", "-f", "{{.Os}}", &reference]), "linux");
    engine.run(&["--name", "user", &reference, "true"]);
    let used = engine.ask(&["rmi", &reference]);
    assert!(used.code == 1 && used.err.contains("(must force) - container"), "{used:?}");
    engine.tell(&["rm", "user"]);
    engine.tell(&["rmi", &reference]);
    assert_eq!(engine.tell(&["images", "-q"]), "");
    engine.assert_nothing_left();
}

pub fn an_image_with_another_digest_is_refused() {
    let engine = Engine::new();
    let (registry, reference) = registry(testkit::temp_dir().path());
    let other = format!("{}@sha256:{}", registry.reference("busybox"), "0".repeat(64));
    let said = engine.run(&["--rm", &other, "true"]);
    assert_eq!((said.code, said.err.lines().count()), (125, 1), "{said:?}");
    let unknown = engine.run(&["--rm", &registry.reference("nosuch"), "true"]);
    assert_eq!((unknown.code, unknown.err.lines().count()), (125, 1), "{unknown:?}");
    assert!(!reference.is_empty());
    engine.assert_nothing_left();
}
