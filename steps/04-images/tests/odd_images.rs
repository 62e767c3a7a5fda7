//! Images that are put together as few are, and what a pull makes of them.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::proxy::{Fate, Proxy};
use support::{Store, layer, push};
use testkit::{Needs, Registry, test};

const REGISTRY: &[Needs] = &[Needs::Program("docker-registry"), Needs::Program("skopeo")];

fn main() {
    testkit::main(vec![
        test("an_index_may_lie_in_an_index", REGISTRY, an_index_in_an_index),
        test("indexes_without_an_end_are_refused", REGISTRY, indexes_without_an_end),
        test("an_image_of_an_index_need_not_name_its_platform", REGISTRY, no_platform),
        test("a_single_image_is_not_taken_for_another_platform", REGISTRY, another_platform),
        test("a_config_that_would_fill_the_memory_is_refused", REGISTRY, a_large_config),
        test("a_layer_that_comes_twice_is_checked_twice", REGISTRY, twice),
    ])
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An index of these entries, as JSON.
fn index(entries: &[Value]) -> String {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
}

/// What points to a document.
fn entry(media_type: &str, document: &str) -> Value {
    let digest = images::Digest::of(document.as_bytes());
    json!({"mediaType": media_type, "digest": digest, "size": document.len()})
}

/// Has these documents too, by their tags and digests.
fn with(registry: &Registry, documents: Vec<(&'static str, &'static str, String)>) -> Proxy {
    Proxy::start(registry.address(), move |request| {
        let Some((_, name)) = request.path.rsplit_once("/manifests/") else { return Fate::Pass };
        let is_it = |(tag, _, document): &&(&str, &str, String)| {
            name == *tag || name == images::Digest::of(document.as_bytes()).to_string()
        };
        match documents.iter().find(is_it) {
            Some((_, media_type, document)) => Fate::Answer {
                status: "200 OK",
                headers: format!("Content-Type: {media_type}\r\n"),
                body: document.clone(),
            },
            None => Fate::Pass,
        }
    })
}

/// An image in the registry, and what points to it.
fn image(registry: &Registry) -> Value {
    let store = Store::new();
    let name = push(registry, "app", &[b"content"]);
    store.ok(&["pull", &name]);
    let table = fs::read(store.root().join("images/index.json")).unwrap();
    let mut entry = serde_json::from_slice::<Value>(&table).unwrap()["manifests"][0].take();
    entry["annotations"] = Value::Null;
    entry
}

fn an_index_in_an_index() {
    let registry = Registry::start();
    let mut image = image(&registry);
    image["platform"] = json!(images::Platform::host());
    let inner = index(&[image]);
    let outer = index(&[entry(INDEX, &inner)]);
    let proxy = with(&registry, vec![("inner", INDEX, inner), ("outer", INDEX, outer.clone())]);
    let (store, name) = (Store::new(), proxy.reference("app:outer"));
    store.ok(&["pull", &name]);
    assert_eq!(store.layer_file("file0").unwrap(), b"content");
    let shown: Value = serde_json::from_str(&store.ok(&["inspect", &name])).unwrap();
    let digest = images::Digest::of(outer.as_bytes());
    assert_eq!(shown[0]["RepoDigests"], json!([proxy.reference(&format!("app@{digest}"))]));
    store.ok(&["rmi", &name]);
    store.assert_empty();
}

fn indexes_without_an_end() {
    let registry = Registry::start();
    let (mut documents, mut inner) = (Vec::new(), index(&[image(&registry)]));
    for _ in 0..5 {
        let outer = index(&[entry(INDEX, &inner)]);
        documents.push(("", INDEX, std::mem::replace(&mut inner, outer)));
    }
    documents.push(("deep", INDEX, inner));
    let (store, proxy) = (Store::new(), with(&registry, documents));
    let error = store.err(&["pull", &proxy.reference("app:deep")]);
    assert!(error.ends_with("app:deep: an index in an index, and so on"), "{error}");
    store.assert_empty();
}

fn no_platform() {
    let registry = Registry::start();
    let image = image(&registry);
    let proof = json!({"mediaType": image["mediaType"], "digest": images::Digest::of(b"proof"),
        "size": 5, "platform": {"os": "unknown", "architecture": "unknown"}});
    let nothing = json!({"mediaType": image["mediaType"], "digest": images::Digest::of(b"?"),
        "size": 1, "platform": {}});
    let index = index(&[proof, nothing, image]);
    let (store, proxy) = (Store::new(), with(&registry, vec![("silent", INDEX, index)]));
    store.ok(&["pull", &proxy.reference("app:silent")]);
    assert_eq!(store.layer_file("file0").unwrap(), b"content");
}

fn another_platform() {
    let (registry, store) = (Registry::start(), Store::new());
    let name = push(&registry, "app", &[b"content"]);
    let error = store.err(&["pull", "--platform=linux/mips64", &name]);
    let found =
        "was found but does not match the specified platform: wanted linux/mips64, actual: linux/";
    assert!(error.contains(found), "{error}");
    store.assert_empty();
    store.ok(&["pull", &format!("--platform={}", images::Platform::host()), &name]);
}

fn a_large_config() {
    let (registry, store) = (Registry::start(), Store::new());
    let media = |kind: &str| format!("application/vnd.oci.image.{kind}.v1+json");
    let config = json!({"mediaType": media("config"), "digest": images::Digest::of(b""),
        "size": (4 << 20) + 1});
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    let documents = vec![("large", "application/vnd.oci.image.manifest.v1+json", manifest)];
    let error = store.err(&["pull", &with(&registry, documents).reference("app:large")]);
    assert!(error.contains("app:large is larger than 4 MiB: 4194305 bytes"), "{error}");
    store.assert_empty();
}

/// One blob under two layers of the config: it can be right for one of them only.
fn twice() {
    let (registry, store, layout) = (Registry::start(), Store::new(), testkit::temp_dir());
    let content = layer("file", b"content");
    testkit::oci_layout(layout.path(), &[content.clone(), content.clone()], json!({}));
    let good = registry.push(layout.path(), "good");
    store.ok(&["pull", &good]);
    store.ok(&["rmi", &good]);

    let (right, wrong) = (images::Digest::of(&content), images::Digest::of(b"another"));
    let both = json!([right, wrong]).to_string();
    support::change_config(layout.path(), |config| {
        config["rootfs"]["diff_ids"] = serde_json::from_str(&both).unwrap();
    });
    let error = store.err(&["pull", &registry.push(layout.path(), "bad")]);
    assert!(error.contains("wrong diff-id"), "{error}");
    store.assert_empty();
}
