//! Work on the store in a process of its own: `coracle worker OPERATION …`.
//!
//! Unpacking an image is work on hostile input, and for an ordinary user it must
//! happen in a user namespace, which only a process with a single thread can
//! enter. So the engine hands such work to a process that does nothing else, and
//! reads what it says: JSON lines in the form of Docker's `POST /images/create`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bollard_stubs::models::{CreateImageInfo, ErrorDetail, ProgressDetail};
use images::{
    Digest, Event, Image, Login, Progress, PullOptions, Reference, RemoveOptions, Removed, Store,
};
use namespaces::userns;
use serde_json::json;

use super::archive;
use super::containers::Containers;
use super::error::{Error, Result};
use super::images::HOST;
use crate::runtime::shim;
use crate::store::Root;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "worker";

/// What a worker is asked for.
#[derive(Debug, Clone)]
pub enum Job {
    /// Download an image, or make the built-in one.
    Pull {
        /// Which.
        reference: String,
        /// For which platform; the host's where none is given.
        platform: Option<String>,
        /// Who wants it; whoever Docker's config file says where nobody is named.
        login: Option<Login>,
    },
    /// Unpack the layers of an image, by id.
    Unpack(String),
    /// Remove an image that no container needs.
    Remove {
        /// By name or id.
        image: String,
        /// Even though it has several names.
        force: bool,
    },
    /// Remove what is left of a container that was killed in the making, by the
    /// name of its folder.
    RemoveRemains(String),
    /// Remove the folder of a container, by id.
    RemoveContainer(String),
    /// Tell what a container has changed in its image, by id.
    Changes(String),
}

impl Job {
    fn arguments(&self) -> Vec<OsString> {
        match self {
            Job::Pull { reference, platform, .. } => {
                let platform = platform.clone().unwrap_or_default();
                vec!["pull".into(), reference.into(), platform.into()]
            }
            Job::Unpack(image) => vec!["unpack".into(), image.into()],
            Job::Remove { image, force } => {
                vec!["rmi".into(), image.into(), force.to_string().into()]
            }
            Job::RemoveRemains(name) => vec!["remains".into(), name.into()],
            Job::RemoveContainer(id) => vec!["rm".into(), id.into()],
            Job::Changes(id) => vec!["diff".into(), id.into()],
        }
    }

    /// What the worker is told on its standard input: everybody may read its arguments.
    fn secret(&self) -> Option<&Login> {
        match self {
            Job::Pull { login, .. } => login.as_ref(),
            _ => None,
        }
    }
}

/// Runs a job, and hands each line that it says to `each`, until that says no: then
/// the job is called off.
///
/// # Errors
/// What the job could not do.
pub fn run(root: &Path, job: &Job, mut each: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let mut worker = Command::new("/proc/self/exe")
        .arg(SUBCOMMAND)
        .arg(root)
        .args(job.arguments())
        .stdin(if job.secret().is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::system(format!("start a worker: {error}")))?;
    if let (Some(stdin), Some(secret)) = (worker.stdin.take(), job.secret()) {
        // It fits into a pipe. Who does not read it says why by itself.
        let _ = serde_json::to_writer(stdin, secret);
    }
    let stdout = worker.stdout.take().expect("it was asked for");
    let mut refusal = None;
    for line in BufReader::new(stdout).split(b'\n') {
        let Ok(mut line) = line else { break };
        let said: Option<Said> = serde_json::from_slice(&line).ok();
        if let Some(said) = said.filter(|said| said.refused.is_some()) {
            refusal = said.refused;
            continue;
        }
        line.push(b'\n');
        if !each(&line) {
            let _ = worker.kill();
            break;
        }
    }
    let status = worker.wait()?;
    match refusal {
        Some(refusal) => Err(refusal.into()),
        None if status.success() => Ok(()),
        None => Err(Error::system(format!("the worker ended before its work did: {status}"))),
    }
}

/// A worker's last word, if it could not do its work.
#[derive(serde::Serialize, serde::Deserialize)]
struct Said {
    refused: Option<images::Error>,
}

/// The worker's own `main`: the arguments after the subcommand.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let [root, job @ ..] = arguments else { return ExitCode::FAILURE };
    let root = Path::new(root);
    if let Some(job) = archive::Job::parse(job) {
        return archive::work(root, &job);
    }
    let work = || Ok(perform(root, job).err());
    let done = if userns::needed() { userns::run_in(work) } else { work() };
    match done.unwrap_or_else(|error| Some(images::Error::System(error))) {
        None => ExitCode::SUCCESS,
        refused => {
            say(&Said { refused });
            ExitCode::FAILURE
        }
    }
}

/// Says a line of JSON.
fn say(value: &impl serde::Serialize) {
    let line = serde_json::to_string(value).expect("plain data");
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn perform(root: &Path, job: &[OsString]) -> images::Result<()> {
    let texts: Vec<_> = job.iter().map(|text| text.to_string_lossy()).collect();
    match texts.iter().map(|text| &**text).collect::<Vec<_>>().as_slice() {
        ["pull", reference, platform] => pull(root, reference, platform),
        ["unpack", image] => unpack(root, image),
        ["rmi", image, force] => remove(root, image, *force == "true"),
        ["remains", name] => remove_remains(root, name),
        ["rm", id] => Ok(shim::remove(&Root::open(Some(root))?.container(id))?),
        ["diff", id] => {
            let changes = super::changes::compare(&Root::open(Some(root))?.container(id))?;
            changes.iter().for_each(say);
            Ok(())
        }
        _ => Err(images::Error::Input("the worker was asked for what it does not know".into())),
    }
}

fn pull(root: &Path, reference: &str, platform: &str) -> images::Result<()> {
    let store = Store::open(root)?;
    let status =
        |status: String| say(&CreateImageInfo { status: Some(status), ..Default::default() });
    let reference: Reference = reference.parse()?;
    if reference.familiar() == format!("{HOST}:latest") {
        status("Making the image 'host' from this host's own programs".into());
        let image = images::host::build(&store)?;
        status(format!("Digest: {}", image.manifest_digest));
        status(format!("Status: Made a newer image for {}", reference.familiar()));
        return Ok(());
    }
    let platform = if platform.is_empty() { None } else { Some(platform.parse()?) };
    let known = store.resolve(&reference.familiar()).map(|image| image.id).ok();
    say(&CreateImageInfo {
        id: Some(reference.tag().unwrap_or_default().to_owned()),
        status: Some(format!("Pulling from {}", reference.path())),
        ..Default::default()
    });
    let login: Option<Login> = serde_json::from_reader(std::io::stdin().lock()).ok();
    let credentials = login.map(|login| login.credentials(reference.domain())).transpose()?;
    let options = PullOptions { platform, credentials: credentials.flatten() };
    let image = images::pull(&store, &reference, &options, &Teller::default())?;
    status(format!("Digest: {}", image.manifest_digest));
    let news = match known == Some(image.id) {
        true => "Image is up to date",
        false => "Downloaded newer image",
    };
    status(format!("Status: {news} for {}", reference.familiar()));
    Ok(())
}

fn unpack(root: &Path, image: &str) -> images::Result<()> {
    let store = Store::open(root)?;
    store.layers(&store.resolve(image)?).map(drop)
}

fn remove(root: &Path, image: &str, force: bool) -> images::Result<()> {
    let containers = Containers::new(Root::open(Some(root))?);
    let in_use = |image: &Image| {
        let all = containers.all().ok()?;
        let id = image.id.to_string();
        let user = all.iter().find(|container| container.record.image_id == id)?;
        let runs = user.dir.state().is_ok_and(|state| state.is_alive());
        let how = if runs { "is running on it" } else { "was made from it" };
        Some(format!("container {} ({}) {how}", user.short_id(), user.record.name))
    };
    let options = RemoveOptions { force, in_use: Some(&in_use) };
    for removed in Store::open(root)?.remove(image, &options)? {
        match removed {
            Removed::Untagged(name) => say(&json!({ "Untagged": name.familiar() })),
            Removed::Deleted(id) => say(&json!({ "Deleted": id.to_string() })),
        }
    }
    Ok(())
}

fn remove_remains(root: &Path, name: &str) -> images::Result<()> {
    let path = Root::open(Some(root))?.containers().join(name);
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(namespaces::Error::os(format!("remove {}", path.display()), error).into())
        }
        _ => Ok(()),
    }
}

/// Tells a pull's progress in Docker's words, but not more often than one can read.
#[derive(Default)]
struct Teller {
    last: Mutex<Option<Instant>>,
}

const PAUSE: Duration = Duration::from_millis(100);

impl Progress for Teller {
    fn layer(&self, layer: &Digest, event: Event) {
        let (status, detail) = match event {
            Event::Exists => ("Already exists".into(), None),
            Event::Waiting => ("Waiting".into(), None),
            Event::Downloading { done, total } => {
                let mut last = self.last.lock().expect("no holder of this lock panics");
                if done < total && last.is_some_and(|last| last.elapsed() < PAUSE) {
                    return;
                }
                *last = Some(Instant::now());
                let detail =
                    ProgressDetail { current: Some(done as i64), total: Some(total as i64) };
                ("Downloading".into(), Some(detail))
            }
            Event::Retrying { why, after } => {
                (format!("Retrying in {} s: {why}", after.as_secs()), None)
            }
            Event::Unpacking => ("Extracting".into(), None),
            Event::Done => ("Pull complete".into(), None),
        };
        let info = CreateImageInfo {
            id: Some(layer.short()),
            status: Some(status),
            progress_detail: detail,
            ..Default::default()
        };
        say(&info);
    }

    fn note(&self, sentence: &str) {
        say(&CreateImageInfo { status: Some(sentence.into()), ..Default::default() });
    }
}

/// A refusal in the midst of a stream, as Docker's API writes it.
pub fn error_line(error: &Error) -> Vec<u8> {
    let detail = ErrorDetail { code: None, message: Some(error.message.clone()) };
    let mut line =
        serde_json::to_value(CreateImageInfo { error_detail: Some(detail), ..Default::default() })
            .expect("plain data");
    line["error"] = serde_json::json!(error.message);
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}
