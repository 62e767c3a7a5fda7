//! What registries and networks do wrong, and what then happens.

mod support;

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::json;
use support::proxy::{Fate, Proxy, Request};
use support::{Store, largest_blob, noise, push};
use testkit::{Needs, Registry, test, wait_until};

const REGISTRY: &[Needs] = &[Needs::Program("docker-registry"), Needs::Program("skopeo")];
const DISK: &[Needs] = &[Needs::Program("docker-registry"), Needs::Program("skopeo"), Needs::Root];

fn main() {
    testkit::main(vec![
        test("a_broken_transfer_goes_on_where_it_broke", REGISTRY, a_broken_transfer_goes_on),
        test("a_server_without_ranges_is_no_obstacle", REGISTRY, a_server_without_ranges),
        test("a_busy_registry_is_asked_again_when_it_says", REGISTRY, a_busy_registry),
        test("a_server_that_cannot_count_is_asked_for_all", REGISTRY, cannot_count),
        test("a_connection_that_breaks_off_is_made_again", REGISTRY, a_connection_breaks_off),
        test("a_busy_token_server_is_asked_again", REGISTRY, a_busy_token_server),
        test("a_registry_that_stays_broken_is_given_up", REGISTRY, a_registry_that_stays_broken),
        test("wrong_bytes_are_refused_and_leave_nothing", REGISTRY, wrong_bytes_are_refused),
        test("a_wrong_manifest_is_refused", REGISTRY, a_wrong_manifest_is_refused),
        test("a_short_blob_is_refused", REGISTRY, a_short_blob_is_refused),
        test("a_redirect_does_not_learn_the_password", REGISTRY, a_redirect_does_not_learn),
        test("a_token_server_is_asked_once", REGISTRY, a_token_server_is_asked_once),
        test("a_killed_pull_is_taken_up_by_the_next", REGISTRY, a_killed_pull_is_taken_up),
        test("wrong_bytes_of_a_killed_pull_do_no_harm", REGISTRY, wrong_bytes_of_a_killed_pull),
        test("an_image_that_is_not_there_is_told_so", REGISTRY, an_image_that_is_not_there),
        test("a_bad_name_is_one_sentence", &[], a_bad_name),
        test("a_full_disk_is_told_and_left_clean", DISK, a_full_disk_is_told),
        test("a_full_disk_leaves_nothing_of_the_host_image", DISK, no_space_for_the_host),
        test("a_newer_store_is_refused", &[], a_newer_store_is_refused),
    ])
}

/// An image with one layer of 2 MiB that does not compress.
fn large(registry: &Registry) -> Vec<u8> {
    let noise = noise(2 << 20);
    push(registry, "app", &[&noise]);
    noise
}

fn is_layer(request: &Request) -> bool {
    // The config is fetched as a blob too; the registry of these tests knows which is which.
    request.is_blob() && request.path.ends_with(LAYER.get().map_or("none", String::as_str))
}

/// The digest of the one large layer; all tests here push the same.
static LAYER: OnceLock<String> = OnceLock::new();

fn start(fate: impl Fn(&Request) -> Fate + Send + Sync + 'static) -> (Registry, Proxy, Vec<u8>) {
    let registry = Registry::start();
    let content = large(&registry);
    let blob = largest_blob(&registry);
    let digest = blob.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    LAYER.get_or_init(|| digest);
    let proxy = Proxy::start(registry.address(), fate);
    (registry, proxy, content)
}

fn layer_requests(proxy: &Proxy) -> Vec<Request> {
    proxy.seen().into_iter().filter(is_layer).collect()
}

fn a_broken_transfer_goes_on() {
    let (_registry, proxy, content) = start(|request| match (is_layer(request), request.earlier) {
        (true, 0) => Fate::Cut(500_000),
        (true, 1) => Fate::Cut(700_000),
        _ => Fate::Pass,
    });
    let store = Store::new();
    store.ok(&["pull", &proxy.reference("app")]);
    assert_eq!(store.layer_file("file0").unwrap(), content);
    let ranges: Vec<_> =
        layer_requests(&proxy).iter().map(|r| r.header("range").map(String::from)).collect();
    let expected = [None, Some("bytes=500000-".into()), Some("bytes=1200000-".into())];
    assert_eq!(ranges, expected);
}

fn a_server_without_ranges() {
    let (_registry, proxy, content) = start(|request| match (is_layer(request), request.earlier) {
        (true, 0) => Fate::Cut(500_000),
        (true, _) => Fate::NoRange,
        _ => Fate::Pass,
    });
    let store = Store::new();
    store.ok(&["pull", &proxy.reference("app")]);
    assert_eq!(store.layer_file("file0").unwrap(), content);
}

fn answer(status: &'static str, headers: &str) -> Fate {
    Fate::Answer { status, headers: headers.into(), body: String::new() }
}

fn a_busy_registry() {
    let (_registry, proxy, _) = start(|request| match (is_layer(request), request.earlier) {
        (true, 0) => answer("429 Too Many Requests", "Retry-After: 1\r\n"),
        (true, 1) => answer("503 Service Unavailable", ""),
        (false, 0) if request.path.contains("/manifests/") => answer("502 Bad Gateway", ""),
        _ => Fate::Pass,
    });
    let (store, begin) = (Store::new(), Instant::now());
    let output = store.command(&["pull", &proxy.reference("app")]).output().unwrap();
    assert!(output.status.success(), "{}", support::stderr(&output));
    assert!(begin.elapsed() > Duration::from_secs(1), "it waited as long as it was told");
    assert!(support::stderr(&output).contains("429"), "{}", support::stderr(&output));
}

/// Another range than was asked for, none at all, or a refusal: each is no end.
fn cannot_count() {
    let answers = [
        ("206 Partial Content", "Content-Range: bytes 900000-999999/2000000\r\n"),
        ("206 Partial Content", ""),
        ("416 Range Not Satisfiable", ""),
    ];
    for (status, headers) in answers {
        let (_registry, proxy, content) =
            start(move |request| match (is_layer(request), request.header("range")) {
                (true, None) if request.earlier == 0 => Fate::Cut(500_000),
                (true, Some(_)) => answer(status, headers),
                _ => Fate::Pass,
            });
        let store = Store::new();
        store.ok(&["pull", &proxy.reference("app")]);
        assert_eq!(store.layer_file("file0").unwrap(), content, "{status} {headers}");
        assert_eq!(layer_requests(&proxy).len(), 3, "{status} {headers}");
    }
}

fn a_connection_breaks_off() {
    let (_registry, proxy, content) = start(|request| match request.earlier {
        // Before the first word of an answer, and in the middle of a document.
        0 if request.path != "/v2/" => Fate::Drop,
        1 if request.path.contains("/manifests/") => Fate::Cut(100),
        _ => Fate::Pass,
    });
    let store = Store::new();
    store.ok(&["pull", &proxy.reference("app")]);
    assert_eq!(store.layer_file("file0").unwrap(), content);
}

fn a_busy_token_server() {
    let registry = Registry::start();
    large(&registry);
    let tokens = Proxy::start(registry.address(), |request| match request.earlier {
        0 => answer("503 Service Unavailable", ""),
        1 => answer("429 Too Many Requests", "Retry-After: 1\r\n"),
        _ => Fate::Answer {
            status: "200 OK",
            headers: String::new(),
            body: r#"{"access_token": "abc"}"#.into(),
        },
    });
    let challenge =
        format!("WWW-Authenticate: Bearer realm=\"http://{}/token\"\r\n", tokens.address());
    let front =
        Proxy::start(registry.address(), move |request| match request.header("authorization") {
            Some("Bearer abc") => Fate::Pass,
            _ => answer("401 Unauthorized", &challenge),
        });
    Store::new().ok(&["pull", &front.reference("app")]);
}

fn a_registry_that_stays_broken() {
    let (_registry, proxy, _) = start(|request| match is_layer(request) {
        true if request.earlier == 0 => Fate::Cut(100_000),
        true => Fate::Cut(0),
        false => Fate::Pass,
    });
    let store = Store::new();
    let error = store.err(&["pull", &proxy.reference("app")]);
    assert!(error.contains("again and again, after 100000 of"), "{error}");
    assert_eq!(store.ok(&["images", "-q"]), "");
    assert_eq!(store.names("layers"), [""; 0]);
}

fn wrong_bytes_are_refused() {
    for at in [0, 1000, 2_000_000] {
        let (_registry, proxy, _) = start(move |request| match is_layer(request) {
            true => Fate::Flip(at),
            false => Fate::Pass,
        });
        let store = Store::new();
        let error = store.err(&["pull", &proxy.reference("app")]);
        assert!(error.starts_with("images: wrong digest: the bytes sent as sha256:"), "{error}");
        assert_eq!(layer_requests(&proxy).len(), 1, "and not asked for again");
        store.assert_empty();
    }
}

fn a_wrong_manifest_is_refused() {
    let (_registry, proxy, _) = start(|request| match request.path.contains("/manifests/") {
        true => Fate::Flip(100),
        false => Fate::Pass,
    });
    let store = Store::new();
    let error = store.err(&["pull", &proxy.reference("app")]);
    assert!(error.contains("wrong digest"), "{error}");
    store.assert_empty();
}

fn a_short_blob_is_refused() {
    let (_registry, proxy, _) = start(|request| match is_layer(request) {
        true => Fate::Shorten(1000),
        false => Fate::Pass,
    });
    let store = Store::new();
    let error = store.err(&["pull", &proxy.reference("app")]);
    assert!(error.contains("wrong") || error.contains("ended early"), "{error}");
    assert_eq!(store.ok(&["images", "-q"]), "");
}

fn login(store: &Store, address: String) {
    store.docker_config(&json!({"auths": {address: {"username": "me", "password": "secret"}}}));
}

fn a_redirect_does_not_learn() {
    let registry = Registry::start();
    large(&registry);
    let elsewhere = Arc::new(Proxy::start(registry.address(), |_| Fate::Pass));
    let away = elsewhere.clone();
    let wants_login =
        Proxy::start(registry.address(), move |request| match request.header("authorization") {
            None if request.path != "/v2/" => {
                answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"kit\"\r\n")
            }
            Some(_) if request.is_blob() => {
                let location = format!("Location: http://{}{}\r\n", away.address(), request.path);
                answer("307 Temporary Redirect", &location)
            }
            _ => Fate::Pass,
        });
    let store = Store::new();
    login(&store, wants_login.address());
    store.ok(&["pull", &wants_login.reference("app")]);
    let there = elsewhere.seen();
    assert!(there.len() >= 2, "the blobs came from elsewhere");
    assert!(there.iter().all(|request| request.header("authorization").is_none()));
    let circle = Proxy::start(registry.address(), |request| {
        answer("302 Found", &format!("Location: {}\r\n", request.path))
    });
    let error = store.err(&["pull", &circle.reference("app")]);
    assert!(error.contains("redirects in circles"), "{error}");
}

fn a_token_server_is_asked_once() {
    let registry = Registry::start();
    large(&registry);
    let tokens = Arc::new(Proxy::start(registry.address(), |request| {
        let basic = request.header("authorization") == Some("Basic bWU6c2VjcmV0");
        let scope = request.path.contains("scope=repository%3Aapp%3Apull&")
            || request.path.ends_with("scope=repository%3Aapp%3Apull");
        match basic && scope {
            true => Fate::Answer {
                status: "200 OK",
                headers: String::new(),
                body: r#"{"token": "abc"}"#.into(),
            },
            false => answer("401 Unauthorized", ""),
        }
    }));
    let realm = format!("http://{}/token", tokens.address());
    let front = Proxy::start(registry.address(), move |request| {
        match request.header("authorization") {
            Some("Bearer abc") => Fate::Pass,
            _ => answer(
                "401 Unauthorized",
                &format!(
                    "WWW-Authenticate: Bearer realm=\"{realm}\",service=\"kit\",scope=\"repository:app:pull\"\r\n"
                ),
            ),
        }
    });
    let store = Store::new();
    let denied = store.err(&["pull", &front.reference("app")]);
    assert!(denied.contains("access denied"), "{denied}");
    login(&store, front.address());
    let before = tokens.seen().len();
    store.ok(&["pull", &front.reference("app")]);
    assert_eq!(tokens.seen().len() - before, 1);
}

/// Pulls through a proxy that hangs in the middle of the layer, and is killed there.
fn kill_in_the_middle(store: &Store, hangs: &Proxy) {
    let mut pull = store.command(&["pull", &hangs.reference("app")]).spawn().unwrap();
    let stuck = || {
        let files =
            fs::read_dir(store.root().join("images/ingest")).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).any(|data| data.len() == 500_000)
    };
    assert!(wait_until(Duration::from_secs(20), stuck));
    pull.kill().unwrap();
    pull.wait().unwrap();
}

fn a_killed_pull_is_taken_up() {
    // The config comes first: only the layer's first request may hang.
    let (_registry, proxy, content) =
        start(|request| match is_layer(request) && request.earlier == 0 {
            true => Fate::Hang(500_000),
            false => Fate::Pass,
        });
    let store = Store::new();
    kill_in_the_middle(&store, &proxy);
    assert_eq!(store.ok(&["images", "-q"]), "");
    store.ok(&["pull", &proxy.reference("app")]);
    assert_eq!(store.layer_file("file0").unwrap(), content);
    assert_eq!(layer_requests(&proxy).last().unwrap().header("range"), Some("bytes=500000-"));
    assert_eq!(store.names("layers").len(), 2, "no rubbish: {:?}", store.names("layers"));
    assert_eq!(store.names("images/ingest"), [""; 0]);
}

fn wrong_bytes_of_a_killed_pull() {
    let (_registry, proxy, content) =
        start(|request| match is_layer(request) && request.earlier == 0 {
            true => Fate::Hang(500_000),
            false => Fate::Pass,
        });
    let store = Store::new();
    kill_in_the_middle(&store, &proxy);
    // As after a power cut: the length is right, and the bytes never reached the disk.
    let [name] = &store.names("images/ingest")[..] else { panic!("one download") };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(store.root().join("images/ingest").join(name))
        .unwrap();
    file.write_all(&[0; 4096]).unwrap();
    store.ok(&["pull", &proxy.reference("app")]);
    assert_eq!(store.layer_file("file0").unwrap(), content);
}

fn an_image_that_is_not_there() {
    let (registry, store) = (Registry::start(), Store::new());
    let error = store.err(&["pull", &registry.reference("nothing:v1")]);
    assert!(error.contains("nothing:v1: the registry has no such image or tag"), "{error}");
    let closed = "127.0.0.1:1/app";
    let error = store.err(&["pull", closed]);
    assert!(error.contains("registry 127.0.0.1:1: Connection refused"), "{error}");
    let error = store.err(&["pull", "registry.invalid/app"]);
    assert!(error.contains("registry registry.invalid: "), "{error}");
    for command in ["inspect", "rmi"] {
        let error = store.err(&[command, "nothing"]);
        assert_eq!(error, "images: no such image: nothing");
    }
    let error = store.err(&["tag", "nothing", "other"]);
    assert_eq!(error, "images: no such image: nothing");
    store.assert_empty();
}

fn a_bad_name() {
    let store = Store::new();
    let told = [
        (&["pull", "r.io/App"][..], "invalid reference format \"r.io/App\": the repository name"),
        (&["tag", "host", "a//b"], "invalid reference format \"a//b\": two slashes"),
        (&["pull", "--platform=linux", "app"], "invalid platform \"linux\": write it as"),
    ];
    for (args, sentence) in told {
        let output = store.command(args).output().unwrap();
        let said = support::stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with(&format!("images: {sentence}")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

fn a_full_disk_is_told() {
    let registry = Registry::start();
    large(&registry);
    on_a_small_disk("3m", &["pull", &registry.reference("app")], 1);
}

/// Too small for its blob, and for what comes out of it.
fn no_space_for_the_host() {
    for size in ["1m", "24m"] {
        on_a_small_disk(size, &["run", "host", "true"], 125);
    }
}

fn on_a_small_disk(size: &str, args: &[&str], status: u8) {
    // The mount lives in a namespace of its own: nothing of it can stay.
    let folder = testkit::temp_dir();
    let script = "at=$1; size=$2; shift 2; mount -t tmpfs -o size=$size tmpfs $at && \
        \"$0\" --root $at/root \"$@\"; echo status $?; \
        find $at/root/layers $at/root/images/ingest $at/root/images/blobs/sha256 -mindepth 1";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, support::IMAGES])
        .arg(folder.path())
        .arg(size)
        .args(args)
        .output()
        .unwrap();
    let said = support::stderr(&output);
    assert!(said.contains("No space left on device: free some space"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("status {status}\n"));
}

fn a_newer_store_is_refused() {
    let store = Store::new();
    store.ok(&["images"]);
    fs::write(store.root().join("images/coracle.json"), r#"{"version": 2, "more": []}"#).unwrap();
    let error = store.err(&["images"]);
    assert!(error.contains("was written by a newer version (its layout is 2)"), "{error}");
}
