//! A daemon on TCP: both sides show a certificate, or nobody is served.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testkit::wait_until;

use crate::engine::Engine;
use crate::served::SOON;

/// An authority, and what it has signed, as files in a folder.
struct Authority(PathBuf);

impl Authority {
    fn new(folder: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        let authority = Self(folder.to_owned());
        let key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let rest = ["-nodes", "-days", "2", "-subj", "/CN=authority"];
        let files = ["-keyout", "ca-key.pem", "-out", "ca.pem"];
        authority.openssl(&[&key[..], &rest, &files].concat());
        authority
    }

    /// A certificate and its key, for one side.
    fn sign(&self, name: &str, usage: &str) {
        let (key, request) = (format!("{name}-key.pem"), format!("{name}.csr"));
        let (certificate, extensions) = (format!("{name}.pem"), format!("{name}.ext"));
        let text = format!("subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n");
        std::fs::write(self.0.join(&extensions), text).unwrap();
        let begin = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let subject = format!("/CN={name}");
        let rest = ["-nodes", "-subj", &subject, "-keyout", &key, "-out", &request];
        self.openssl(&[&begin[..], &rest].concat());
        let begin = ["x509", "-req", "-days", "2", "-in", &request, "-out", &certificate];
        let authority = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial"];
        self.openssl(&[&begin[..], &authority, &["-extfile", &extensions]].concat());
    }

    fn openssl(&self, words: &[&str]) {
        let output = Command::new("openssl").args(words).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// What docker says with these options, over TCP.
fn docker(port: u16, tls: &[String]) -> Output {
    let mut docker = Command::new("docker");
    docker.env_remove("DOCKER_HOST").env_remove("DOCKER_TLS_VERIFY").stdin(Stdio::null());
    docker.args(["-H", &format!("tcp://127.0.0.1:{port}")]).args(tls);
    docker.args(["version", "--format", "{{.Server.Version}}"]).output().unwrap()
}

/// The options of a client: whom it trusts, and who it is.
fn client(trusted: &Authority, own: Option<&Authority>) -> Vec<String> {
    let mut options = vec!["--tlsverify".to_owned(), "--tlscacert".into(), trusted.file("ca.pem")];
    let own = own.into_iter().flat_map(|own| {
        let (certificate, key) = (own.file("client.pem"), own.file("client-key.pem"));
        ["--tlscert".to_owned(), certificate, "--tlskey".into(), key]
    });
    options.extend(own);
    options
}

pub fn a_daemon_on_tcp_serves_who_has_a_certificate_of_its_authority() {
    let engine = Engine::new();
    let folder = testkit::temp_dir();
    let ours = Authority::new(&folder.path().join("ours"));
    ours.sign("server", "serverAuth");
    ours.sign("client", "clientAuth");
    let foreign = Authority::new(&folder.path().join("foreign"));
    foreign.sign("client", "clientAuth");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("tcp://127.0.0.1:{port}");
    // Without certificates it does not even begin; with some of them it does not either.
    let open = engine.ask(&["daemon", "-H", &host]);
    assert_eq!((open.code, open.err.lines().count()), (1, 1), "{open:?}");
    assert!(open.err.contains("would be root on this machine"), "{open:?}");
    let half = engine.ask(&["daemon", "-H", &host, "--tlscacert", &ours.file("ca.pem")]);
    assert_ne!(half.code, 0, "{half:?}");

    let tls = ["--tlscacert", "ca.pem", "--tlscert", "server.pem", "--tlskey", "server-key.pem"];
    let mut daemon = engine.command(&["daemon", "-H", &host]);
    daemon.args(tls).current_dir(&ours.0).stdout(Stdio::null()).stderr(Stdio::null());
    let daemon = testkit::spawn(daemon).unwrap();
    let served = || docker(port, &client(&ours, Some(&ours)));
    assert!(wait_until(SOON, || served().status.success()), "{:?}", served());
    assert_eq!(String::from_utf8_lossy(&served().stdout).trim(), env!("CARGO_PKG_VERSION"));

    // No certificate; one of another authority; a client that trusts another one; no TLS.
    let refused = [
        client(&ours, None),
        client(&ours, Some(&foreign)),
        client(&foreign, Some(&ours)),
        Vec::new(),
    ];
    for options in refused {
        let output = docker(port, &options);
        assert!(!output.status.success(), "{options:?}: {output:?}");
        assert!(output.stdout.trim_ascii().is_empty(), "{options:?}: {output:?}");
    }
    // They have done no harm.
    assert!(served().status.success());
    drop(daemon);
    engine.assert_nothing_left();
}
