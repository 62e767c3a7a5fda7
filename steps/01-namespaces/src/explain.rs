//! Every container can say how it was made.
//!
//! A mechanism wraps each request to the kernel in [`step`]. Nothing is recorded
//! unless somebody listens: then a step costs two clock readings. The listener
//! sits in the parent. The child has none: its steps cross the socket as JSON
//! lines (see `channel.rs`), and the parent hands them to the listener.

use std::cell::RefCell;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{Result, cli};

/// Which process asked the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The process that clones: the lesson's binary, or the engine's shim.
    Parent,
    /// The process that becomes the container's first one.
    Child,
}

/// One request to the kernel, as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who asked.
    pub side: Side,
    /// What was asked, in the words of the man page.
    pub call: String,
    /// How long the answer took, in microseconds.
    pub micros: u64,
    /// The chapter of the book that explains it.
    pub chapter: u8,
    /// The error, if the kernel refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

type Sink = Box<dyn FnMut(&Step)>;

struct Recorder {
    side: Side,
    sink: Sink,
}

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

// ANCHOR: step
/// Makes one request to the kernel, and tells the listener, if there is one.
///
/// `call` is only asked for its text when somebody listens.
pub fn step<T>(
    chapter: u8,
    call: impl FnOnce() -> String,
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if !listening() {
        return act();
    }
    let pid = std::process::id();
    let begin = Instant::now();
    let result = act();
    let micros = begin.elapsed().as_micros() as u64;
    // A clone returns twice: it is told once, by the one that asked for it.
    if std::process::id() != pid {
        return result;
    }
    let refused = result.as_ref().err().map(|error| error.to_string());
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(Recorder { side, sink }) = recorder {
            sink(&Step { side: *side, call: call(), micros, chapter, refused });
        }
    });
    result
}
// ANCHOR_END: step

/// True if steps are being recorded in this process.
pub fn listening() -> bool {
    RECORDER.with_borrow(Option::is_some)
}

/// Hands every step from now on to `sink`, the child's included.
pub fn listen(sink: impl FnMut(&Step) + 'static) {
    RECORDER.set(Some(Recorder { side: Side::Parent, sink: Box::new(sink) }));
}

/// Records nothing from now on.
pub fn stop_listening() {
    RECORDER.set(None);
}

/// In the child: steps go to the socket from now on, not to the parent's sink,
/// which this process has only inherited.
pub(crate) fn listen_in_child(sink: impl FnMut(&Step) + 'static) {
    RECORDER.set(Some(Recorder { side: Side::Child, sink: Box::new(sink) }));
}

/// In the parent: a step that the child made.
pub(crate) fn relay(step: &Step) {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder {
            (recorder.sink)(step);
        }
    });
}

/// One line of the timeline: side, call, time, chapter.
///
/// ```text
///  child  mount overlay on /  lower=3 layers                   48 µs   ch. 3
/// ```
pub fn render(step: &Step) -> String {
    let side = match step.side {
        Side::Parent => "parent",
        Side::Child => "child",
    };
    let refused = step.refused.as_ref().map(|why| format!("   refused: {why}")).unwrap_or_default();
    format!("{side:>7}  {:<52} {:>6} µs   ch. {}{refused}", step.call, step.micros, step.chapter)
}

/// Prints the timeline to standard error while it happens: `run --explain`.
pub fn print_live() {
    listen(|step| cli::tell(render(step)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_with_its_side_time_and_chapter() {
        let step = Step {
            side: Side::Child,
            call: "pivot_root(\".\", \".\")".into(),
            micros: 9,
            chapter: 3,
            refused: None,
        };
        assert_eq!(
            render(&step),
            "  child  pivot_root(\".\", \".\")                                      9 µs   ch. 3"
        );
    }

    #[test]
    fn nobody_listening_means_no_text_is_made() {
        stop_listening();
        let result = step(1, || panic!("the text was asked for"), || Ok(7));
        assert_eq!(result, Ok(7));
    }
}
