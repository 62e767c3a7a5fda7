//! Pulls from a real registry, and what is then in the store.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Store, layer, push, skopeo};
use testkit::{Needs, Registry, spawn, test};

const REGISTRY: &[Needs] = &[Needs::Program("docker-registry"), Needs::Program("skopeo")];
const LOGIN: &[Needs] =
    &[Needs::Program("docker-registry"), Needs::Program("skopeo"), Needs::Program("htpasswd")];
const TLS: &[Needs] =
    &[Needs::Program("docker-registry"), Needs::Program("skopeo"), Needs::Program("openssl")];
const ROOTLESS: &[Needs] = &[
    Needs::Program("docker-registry"),
    Needs::Program("skopeo"),
    Needs::Root,
    Needs::User,
    Needs::UserNamespaces,
];

fn main() {
    testkit::main(vec![
        test(
            "a_pulled_image_is_named_and_unpacked",
            REGISTRY,
            a_pulled_image_is_named_and_unpacked,
        ),
        test("skopeo_reads_the_store", REGISTRY, skopeo_reads_the_store),
        test(
            "dockers_own_manifests_are_understood",
            REGISTRY,
            dockers_own_manifests_are_understood,
        ),
        test(
            "zstd_and_plain_layers_are_understood",
            REGISTRY,
            zstd_and_plain_layers_are_understood,
        ),
        test(
            "an_index_gives_the_image_of_a_platform",
            REGISTRY,
            an_index_gives_the_image_of_a_platform,
        ),
        test(
            "a_digest_pulls_what_a_tag_pointed_to",
            REGISTRY,
            a_digest_pulls_what_a_tag_pointed_to,
        ),
        test("a_tag_that_moves_leaves_the_old_image_nameless", REGISTRY, a_tag_that_moves),
        test(
            "images_share_layers_until_the_last_goes",
            REGISTRY,
            images_share_layers_until_the_last_goes,
        ),
        test(
            "an_id_may_be_short_but_not_ambiguous",
            REGISTRY,
            an_id_may_be_short_but_not_ambiguous,
        ),
        test("a_password_opens_a_registry", LOGIN, a_password_opens_a_registry),
        test("https_is_spoken_where_it_is_wanted", TLS, https_is_spoken_where_it_is_wanted),
        test("processes_may_pull_and_tag_at_once", REGISTRY, processes_may_pull_and_tag_at_once),
        test("an_ordinary_user_pulls_and_removes", ROOTLESS, an_ordinary_user_pulls_and_removes),
    ])
}

fn a_pulled_image_is_named_and_unpacked() {
    let (registry, store) = (Registry::start(), Store::new());
    let name = push(&registry, "team/app:v1", &[b"bottom", b"top"]);
    assert_eq!(store.ok(&["pull", &name]), format!("{name}\n"));
    assert_eq!(store.layer_file("file0").unwrap(), b"bottom");
    assert_eq!(store.layer_file("file1").unwrap(), b"top");
    let table = store.ok(&["images"]);
    assert!(table.contains(&format!("{}/team/app", registry.address())), "{table}");
    let shown: Value = serde_json::from_str(&store.ok(&["inspect", &name])).unwrap();
    assert_eq!(shown[0]["Config"]["Env"], json!(["A=b"]));
    assert_eq!(shown[0]["RepoTags"], json!([name]));
    let again = store.command(&["pull", &name]).output().unwrap();
    assert_eq!(support::stderr(&again).matches("Already exists").count(), 2);
    store.ok(&["rmi", &name]);
    store.assert_empty();
}

fn skopeo_reads_the_store() {
    let (registry, store, other) = (Registry::start(), Store::new(), testkit::temp_dir());
    let name = push(&registry, "app", &[b"content"]);
    store.ok(&["pull", &name]);
    let from = format!("oci:{}:{name}:latest", store.root().join("images").display());
    let shown: Value = serde_json::from_str(&skopeo(&["inspect", &from])).unwrap();
    assert_eq!(shown["Env"], json!(["A=b"]));
    skopeo(&["copy", "--quiet", &from, &format!("dir:{}", other.path().join("copy").display())]);
}

/// An image in the registry, with a manifest of Docker's own kind.
fn push_as_docker(registry: &Registry, name: &str) -> String {
    let (oci, docker) = (push(registry, "oci", &[b"content"]), registry.reference(name));
    let (from, to) = (format!("docker://{oci}"), format!("docker://{docker}"));
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false", "--quiet"];
    skopeo(&[&["copy", "--format=v2s2"], &plain[..], &[&from, &to]].concat());
    docker
}

fn dockers_own_manifests_are_understood() {
    let (registry, store) = (Registry::start(), Store::new());
    let docker = push_as_docker(&registry, "docker");
    store.ok(&["pull", &docker]);
    assert_eq!(store.layer_file("file0").unwrap(), b"content");
    // Kept as it came, under the digest that the registry has it under.
    let shown: Value = serde_json::from_str(&store.ok(&["inspect", &docker])).unwrap();
    let (_, digest) = shown[0]["RepoDigests"][0].as_str().unwrap().split_once("@sha256:").unwrap();
    assert_eq!(shown[0]["Descriptor"]["digest"], json!(format!("sha256:{digest}")));
    let manifest = fs::read_to_string(store.root().join("images/blobs/sha256").join(digest));
    assert!(manifest.unwrap().contains("vnd.docker.distribution.manifest.v2+json"));
    // And told in OCI's words to whoever reads the layout.
    let to = testkit::temp_dir();
    let from = format!("oci:{}:{docker}:latest", store.root().join("images").display());
    let told: Value = serde_json::from_str(&skopeo(&["inspect", &from])).unwrap();
    assert_eq!(told["Env"], json!(["A=b"]));
    skopeo(&["copy", "--quiet", &from, &format!("dir:{}", to.path().join("copy").display())]);
    store.ok(&["tag", &docker, "other"]);
    store.ok(&["rmi", &docker]);
    store.ok(&["rmi", "other"]);
    store.assert_empty();
}

fn zstd_and_plain_layers_are_understood() {
    let (registry, store) = (Registry::start(), Store::new());
    let gzip = push(&registry, "gzip", &[b"compressed", b"twice"]);
    let zstd = registry.reference("zstd");
    let (from, to) = (format!("docker://{gzip}"), format!("docker://{zstd}"));
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false", "--quiet"];
    skopeo(&[&["copy", "--dest-compress-format=zstd"], &plain[..], &[&from, &to]].concat());
    store.ok(&["pull", &zstd]);
    assert_eq!(store.layer_file("file0").unwrap(), b"compressed");
    let index = fs::read_to_string(store.root().join("images/index.json")).unwrap();
    assert!(index.contains("manifest"), "{index}");
}

/// Two images under one name: one for this machine, one for another.
fn push_index(registry: &Registry, name: &str) -> String {
    let whole = testkit::temp_dir();
    let mut entries = Vec::new();
    let ours = skopeo_architecture();
    let other = if ours == "s390x" { "riscv64" } else { "s390x" };
    for architecture in [other, &ours] {
        let one = testkit::temp_dir();
        testkit::oci_layout(one.path(), &[layer("arch", architecture.as_bytes())], json!({}));
        let copied =
            Command::new("cp").arg("-rT").args([one.path(), whole.path()]).status().unwrap();
        assert!(copied.success());
        let index: Value =
            serde_json::from_slice(&fs::read(one.path().join("index.json")).unwrap()).unwrap();
        let mut entry = index["manifests"][0].clone();
        entry["annotations"] = json!({});
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entries.push(entry);
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index =
        json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).to_string();
    let digest = images::Digest::of(index.as_bytes());
    fs::write(whole.path().join("blobs/sha256").join(digest.hex()), &index).unwrap();
    let annotations = json!({"org.opencontainers.image.ref.name": "latest"});
    let entry = json!({"mediaType": media_type, "digest": digest, "size": index.len(), "annotations": annotations});
    let table = json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(whole.path().join("index.json"), table.to_string()).unwrap();
    let reference = registry.reference(name);
    let from = format!("oci:{}:latest", whole.path().display());
    skopeo(&[
        "copy",
        "--all",
        "--quiet",
        "--dest-tls-verify=false",
        &from,
        &format!("docker://{reference}"),
    ]);
    reference
}

fn skopeo_architecture() -> String {
    images::Platform::host().architecture
}

fn an_index_gives_the_image_of_a_platform() {
    let (registry, store) = (Registry::start(), Store::new());
    let name = push_index(&registry, "multi");
    store.ok(&["pull", &name]);
    assert_eq!(store.layer_file("arch").unwrap(), skopeo_architecture().as_bytes());
    let other = Store::new();
    other.ok(&["pull", "--platform=linux/s390x", &name]);
    assert_eq!(other.layer_file("arch").unwrap(), b"s390x");
    let none = other.err(&["pull", "--platform=linux/mips64", &name]);
    assert!(none.contains("no image for linux/mips64: there is linux/s390x, linux/"), "{none}");
    // The index is kept, under the digest that the registry has it under, and goes too.
    store.ok(&["rmi", &name]);
    store.assert_empty();
}

fn a_digest_pulls_what_a_tag_pointed_to() {
    let (registry, store) = (Registry::start(), Store::new());
    let name = push(&registry, "app:v1", &[b"first"]);
    store.ok(&["pull", &name]);
    let shown: Value = serde_json::from_str(&store.ok(&["inspect", &name])).unwrap();
    let by_digest = shown[0]["RepoDigests"][0].as_str().unwrap().to_owned();
    push(&registry, "app:v1", &[b"second"]);
    let other = Store::new();
    other.ok(&["pull", &by_digest]);
    assert_eq!(other.layer_file("file0").unwrap(), b"first");
    let shown: Value = serde_json::from_str(&other.ok(&["inspect", &by_digest])).unwrap();
    assert_eq!(shown[0]["RepoTags"], json!([]));
    assert!(other.ok(&["images"]).contains("<none>"));
    other.ok(&["rmi", &by_digest]);
    other.assert_empty();
}

fn a_tag_that_moves() {
    let (registry, store) = (Registry::start(), Store::new());
    let name = push(&registry, "app", &[b"first"]);
    store.ok(&["pull", &name]);
    let first = store.ok(&["images", "-q"]);
    push(&registry, "app", &[b"second"]);
    store.ok(&["pull", &name]);
    let ids = store.ok(&["images", "-q"]);
    assert_eq!(ids.lines().count(), 2, "{ids}");
    assert!(store.ok(&["images"]).contains("<none>"));
    store.ok(&["rmi", first.trim()]);
    assert_eq!(store.layer_file("file0").unwrap(), b"second");
    store.ok(&["rmi", &name]);
    store.assert_empty();
}

fn images_share_layers_until_the_last_goes() {
    let (registry, store) = (Registry::start(), Store::new());
    let one = push(&registry, "one", &[b"shared"]);
    let two = push(&registry, "two", &[b"shared", b"own"]);
    store.ok(&["pull", &one]);
    store.ok(&["pull", &two]);
    store.ok(&["tag", &two, "mine:v2"]);
    assert!(store.ok(&["rmi", &two]).starts_with("Untagged"), "it has another name");
    store.ok(&["rmi", &one]);
    assert_eq!(store.layer_file("file0").unwrap(), b"shared");
    let gone = store.ok(&["rmi", "mine:v2"]);
    assert!(gone.contains("Deleted: sha256:"), "{gone}");
    store.assert_empty();
}

fn an_id_may_be_short_but_not_ambiguous() {
    let (registry, store) = (Registry::start(), Store::new());
    // Seventeen images cannot all begin with different digits.
    for n in 0..17_u8 {
        let name = push(&registry, &format!("app{n}"), &[&[n]]);
        store.ok(&["pull", "-q", &name]);
    }
    let ids = store.ok(&["images", "-q", "--no-trunc"]);
    let hex: Vec<_> = ids.lines().map(|id| &id["sha256:".len()..]).collect();
    let twice = hex.iter().find(|a| hex.iter().filter(|b| a[..1] == b[..1]).count() > 1).unwrap();
    let error = store.err(&["inspect", &twice[..1]]);
    assert!(error.contains("is the start of several ids"), "{error}");
    store.ok(&["inspect", &twice[..12]]);
    store.ok(&["inspect", &format!("sha256:{twice}")]);
}

fn a_password_opens_a_registry() {
    let (registry, store) = (Registry::with_login("me", "se:cret"), Store::new());
    let name = push(&registry, "private", &[b"content"]);
    let denied = store.err(&["pull", &name]);
    assert!(denied.contains("access denied") && denied.contains("docker login"), "{denied}");
    let auth = |text: &str| {
        use base64::Engine;
        let auth = base64::engine::general_purpose::STANDARD.encode(text);
        json!({"auths": {registry.address(): {"auth": auth}}})
    };
    store.docker_config(&auth("me:wrong"));
    let denied = store.err(&["pull", &name]);
    assert!(denied.contains("are not enough"), "{denied}");
    store.docker_config(&auth("me:se:cret"));
    store.ok(&["pull", &name]);

    let (helpers, other) = (testkit::temp_dir(), Store::new());
    let script = "#!/bin/sh\nread -r registry || true\n\
        echo \"{\\\"ServerURL\\\": \\\"$registry\\\", \\\"Username\\\": \\\"me\\\", \\\"Secret\\\": \\\"se:cret\\\"}\"\n";
    let helper = helpers.path().join("docker-credential-kit");
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    other.docker_config(&json!({"credHelpers": {registry.address(): "kit"}}));
    let path = format!("{}:{}", helpers.path().display(), std::env::var("PATH").unwrap());
    let output = other.command(&["pull", &name]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", support::stderr(&output));
    let missing = other.err(&["pull", &name]);
    assert!(missing.contains("docker-credential-kit"), "{missing}");
}

fn https_is_spoken_where_it_is_wanted() {
    let (plain, folder, store) = (Registry::start(), testkit::temp_dir(), Store::new());
    push(&plain, "app", &[b"content"]);
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=testkit",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: '127.0.0.1:{port}', tls: {{certificate: {}, key: {}}}}}\n",
        plain.store().display(),
        certificate.display(),
        key.display()
    );
    let file = folder.path().join("config.yml");
    fs::write(&file, config).unwrap();
    let mut server = Command::new("docker-registry");
    server.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = spawn(server).unwrap();
    let up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(testkit::wait_until(std::time::Duration::from_secs(10), up));

    let name = format!("127.0.0.1:{port}/app");
    let output =
        store.command(&["pull", &name]).env("SSL_CERT_FILE", &certificate).output().unwrap();
    assert!(output.status.success(), "{}", support::stderr(&output));
    let stranger = store.err(&["pull", &name]);
    assert!(stranger.contains("certificate"), "{stranger}");
}

fn processes_may_pull_and_tag_at_once() {
    let (registry, store) = (Registry::start(), Store::new());
    let noise = support::noise(3 << 20);
    let names: Vec<_> =
        (0..3_u8).map(|n| push(&registry, &format!("app{n}"), &[&noise, &[n]])).collect();
    let jobs: Vec<_> = (0..9).map(|n| &names[n % 3]).collect();
    let pulls = jobs.iter().map(|name| store.command(&["pull", "-q", name]).spawn().unwrap());
    let pulls: Vec<_> = pulls.collect();
    assert!(pulls.into_iter().all(|mut pull| pull.wait().unwrap().success()));
    let tags = (0..9)
        .map(|n| store.command(&["tag", &names[n % 3], &format!("copy{n}")]).spawn().unwrap());
    let tags: Vec<_> = tags.collect();
    assert!(tags.into_iter().all(|mut tag| tag.wait().unwrap().success()));
    assert_eq!(store.ok(&["images"]).lines().count(), 1 + 3 + 9);
    assert_eq!(store.names("layers").len(), 2 * 4, "four layers, each once");
    assert_eq!(store.names("images/ingest"), [""; 0]);
}

fn an_ordinary_user_pulls_and_removes() {
    let (registry, user) = (Registry::start(), testkit::user().unwrap());
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o4755);
    header.set_size(4);
    header.set_uid(33);
    header.set_gid(33);
    archive.append_data(&mut header, "theirs", &b"www\n"[..]).unwrap();
    let layout = testkit::temp_dir();
    testkit::oci_layout(layout.path(), &[archive.into_inner().unwrap()], json!({}));
    let name = registry.push(layout.path(), "app");
    let binary = testkit::reachable(support::IMAGES);
    let run = |args: &[&str]| {
        let output = user.command(&binary).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", support::stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["pull", &name]);
    assert!(run(&["images"]).contains("app"));
    let root = user.home().join(".local/share/coracle");
    let layers = || fs::read_dir(root.join("layers")).unwrap().count();
    assert_eq!(layers(), 2);
    run(&["rmi", &name]);
    assert_eq!(layers(), 0);
}
