//! A daemon's watch over shims: a container whose shim is killed is seen at once, and
//! started again if its policy wants that.
//!
//! A shim keeps to the policy itself as long as it lives. When it is killed, its
//! container dies with it, and only somebody else can start that again. Without a
//! daemon nobody does, until one begins: see [`super::revive`].

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::containers::Container;
use super::{Engine, lifecycle, revive, time};
use crate::runtime::shim::{self, Shim};
use crate::store::events::{Event, EventReader, Kind};
use crate::store::{Asked, State, Status};

/// How often the log of events is looked at for containers that were started. Their
/// shims' ends are not waited for by looking.
const LOOK: Duration = Duration::from_millis(500);

/// The containers whose shims are being watched.
#[derive(Default)]
struct Watched(Mutex<HashSet<String>>);

/// Watches those that were found `running`, that run now, and all that are started from now
/// on, until the runtime ends. Whoever starts a container, by whichever engine, tells it in
/// the log of events.
///
/// # Errors
/// The log of events cannot be read.
pub fn guard(engine: Arc<Engine>, running: Vec<Container>) -> io::Result<impl Future<Output = ()>> {
    let mut starts = engine.events.read_from_now()?;
    Ok(async move {
        let watched = Arc::new(Watched::default());
        let mut run: Vec<_> = engine.containers.all().unwrap_or_default();
        run.retain(|container| open(container).is_some());
        run.into_iter()
            .chain(running)
            .for_each(|container| watch(&engine, &watched, container.record.id));
        loop {
            while let Some(id) = next_start(&mut starts) {
                watch(&engine, &watched, id);
            }
            tokio::time::sleep(LOOK).await;
        }
    })
}

/// The next container that was started; `None`, if there is none for now.
fn next_start(events: &mut EventReader) -> Option<String> {
    while let Ok(Some(line)) = events.next() {
        if let Ok(event) = serde_json::from_slice::<Event>(&line)
            && event.kind == Kind::Container
            && event.action == "start"
        {
            return Some(event.actor.id);
        }
    }
    None
}

/// Watches one container, unless somebody does.
fn watch(engine: &Arc<Engine>, watched: &Arc<Watched>, id: String) {
    if watched.insert(&id) {
        let (engine, watched) = (engine.clone(), watched.clone());
        tokio::spawn(async move {
            loop {
                watch_shims(&engine, &id).await;
                watched.remove(&id);
                // Somebody may have started it just before, and thought that it was watched.
                let runs = engine.containers.find(&id).is_ok_and(|found| open(&found).is_some());
                if !runs || !watched.insert(&id) {
                    return;
                }
            }
        });
    }
}

impl Watched {
    fn insert(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned())
    }

    fn remove(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// Follows a container from shim to shim, until it is to stay ended.
async fn watch_shims(engine: &Arc<Engine>, id: &str) {
    while let Ok(container) = engine.containers.find(id) {
        if let Some(mut shim) = open(&container) {
            // It has nothing to say to who asks for nothing, and closes when it ends.
            let _ = shim.read_u8().await;
        }
        let pause = match after(&container).await {
            // It was too early, or another one has taken its place.
            Next::Watch => continue,
            Next::Start { pause } => pause,
            Next::Stay => return,
        };
        tokio::time::sleep(pause).await;
        let engine = engine.clone();
        if !blocking(move || start_again(&engine, &container)).await.unwrap_or(false) {
            return;
        }
    }
}

/// A connection to the shim of a container, if there is one.
fn open(container: &Container) -> Option<UnixStream> {
    let stream = Shim::connect(&container.dir).ok()?.into_stream();
    stream.set_nonblocking(true).ok()?;
    UnixStream::from_std(stream).ok()
}

/// What is to be done with a container whose shim has closed a connection.
enum Next {
    /// There is a shim.
    Watch,
    /// It was killed, and is to be started again after a pause.
    Start { pause: Duration },
    /// It is to stay as it is, or is not there any more.
    Stay,
}

async fn after(container: &Container) -> Next {
    let container = container.clone();
    blocking(move || settled(&container)).await.unwrap_or(Next::Stay)
}

/// What is to be done, once nothing of the shim is left. A look is what puts it in order.
fn settled(container: &Container) -> Next {
    let patience = Instant::now() + lifecycle::LAST_BREATH;
    while container.dir.path().exists() {
        let Ok(state) = container.state() else { break };
        if !state.is_alive() {
            let wanted = wants_to_run(&Asked::of(&container.dir), &state);
            let pause = || shim::pause_before(state.restart_count, ran(&state));
            return if wanted { Next::Start { pause: pause() } } else { Next::Stay };
        }
        // Another shim may have taken its place. Or it is the same one: the kernel closes
        // what a killed process had one by one, and what listens perhaps after the rest.
        if open(container).is_some() {
            return Next::Watch;
        }
        if Instant::now() > patience {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Next::Stay
}

/// Starts it, if all is still as it was when that was decided.
fn start_again(engine: &Engine, container: &Container) -> bool {
    let wanted = || {
        let state = container.state().ok()?;
        wants_to_run(&Asked::of(&container.dir), &state).then_some(state)
    };
    let Some(state) = wanted() else { return false };
    let state = State { restart_count: state.restart_count + 1, ..state };
    let counted = container.dir.set_state(&state, false);
    // Why it does not start is in its state, as for any other start.
    counted.is_ok() && lifecycle::launch(engine, container, false).is_ok()
}

/// Only what was killed is our affair; and not what was stopped since.
fn wants_to_run(asked: &Asked, state: &State) -> bool {
    state.status == Status::Dead && !state.stopped_by_hand && revive::wants_to_run(asked, state)
}

/// How long it ran.
fn ran(state: &State) -> Duration {
    let end = state.finished_at.as_deref().map(time::age);
    let begin = state.started_at.as_deref().map(time::age);
    let seconds = begin.zip(end).map_or(0, |(begin, end)| begin - end);
    Duration::from_secs(seconds.max(0) as u64)
}

/// Runs what blocks where it holds up nobody.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(act).await.ok()
}
