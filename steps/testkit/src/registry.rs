//! A real registry on loopback: Debian's docker-registry.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::nursery::{Tended, spawn};
use crate::{temp_dir, wait_until};

/// A registry with an empty store of its own; killed and removed on drop.
///
/// Say `Needs::Program("docker-registry")`, and `Needs::Program("skopeo")` to push.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    login: Option<(String, String)>,
    folder: TempDir,
    _server: Tended,
}

impl Registry {
    /// Starts a registry that asks for no password.
    pub fn start() -> Registry {
        Registry::launch(None)
    }

    /// Starts a registry with Basic authentication (needs the program `htpasswd`).
    pub fn with_login(user: &str, password: &str) -> Registry {
        Registry::launch(Some((user.to_owned(), password.to_owned())))
    }

    fn launch(login: Option<(String, String)>) -> Registry {
        // Between finding a free port and its use another process may take it.
        for _ in 0..5 {
            let (port, folder) = (free_port(), temp_dir());
            if let Some(server) = serve(port, folder.path(), login.as_ref()) {
                return Registry { port, login, folder, _server: server };
            }
        }
        panic!("docker-registry does not answer");
    }

    /// "127.0.0.1:PORT", the domain of its references.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The reference of a name on this registry: `reference("busybox:1")`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// The folder of its files, to corrupt a blob: `docker/registry/v2/…` below it.
    pub fn store(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    /// Copies the image `latest` of an OCI layout here, and returns its reference.
    #[track_caller]
    pub fn push(&self, layout: &Path, name: &str) -> String {
        let reference = self.reference(name);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        if let Some((user, password)) = &self.login {
            skopeo.arg(format!("--dest-creds={user}:{password}"));
        }
        skopeo.arg(format!("oci:{}:latest", layout.display()));
        let output = skopeo.arg(format!("docker://{reference}")).output().expect("run skopeo");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skopeo copy to {reference}: {error}");
        reference
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    listener.local_addr().expect("the bound address").port()
}

/// Starts the server; `None` when it ends before it answers.
fn serve(port: u16, folder: &Path, login: Option<&(String, String)>) -> Option<Tended> {
    let store = folder.join("store");
    let mut config = format!(
        "version: 0.1\nlog: {{level: error}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '127.0.0.1:{port}'}}\n",
        store.display()
    );
    if let Some((user, password)) = login {
        let passwords = folder.join("htpasswd");
        let output = Command::new("htpasswd").args(["-Bbn", user, password]).output();
        fs::write(&passwords, output.expect("run htpasswd").stdout).expect("write htpasswd");
        config +=
            &format!("auth: {{htpasswd: {{realm: testkit, path: {}}}}}\n", passwords.display());
    }
    let file = folder.join("config.yml");
    fs::write(&file, config).expect("write config.yml");
    let mut server = Command::new("docker-registry");
    server.arg("serve").arg(file);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = spawn(server).expect("start docker-registry");
    let mut ended = false;
    let answers = wait_until(Duration::from_secs(10), || {
        ended = server.0.try_wait().is_ok_and(|status| status.is_some());
        ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (answers && !ended).then_some(server)
}
