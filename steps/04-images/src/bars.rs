//! A pull as a person sees it: bars on a terminal, lines elsewhere, on stderr.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use namespaces::cli::tell;

use crate::digest::Digest;
use crate::progress::{Event, Progress};

/// Shows the progress of one pull.
pub struct Bars {
    /// None where stderr is no terminal: then a layer says only how it ends.
    screen: Option<MultiProgress>,
    bars: Mutex<BTreeMap<Digest, ProgressBar>>,
}

impl Bars {
    /// Bars if stderr is a terminal.
    pub fn new() -> Self {
        let screen = stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15)));
        Self { screen, bars: Mutex::default() }
    }

    fn bar(&self, screen: &MultiProgress, layer: &Digest) -> ProgressBar {
        let mut bars = self.bars.lock().expect("no panic holds it");
        let new = || {
            let bar = screen.add(ProgressBar::new(0));
            bar.set_prefix(layer.short());
            bar.set_style(style("{prefix}: {msg}"));
            bar
        };
        bars.entry(*layer).or_insert_with(new).clone()
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bars {
    fn layer(&self, layer: &Digest, event: Event) {
        let Some(screen) = &self.screen else {
            return line(layer, &event);
        };
        let bar = self.bar(screen, layer);
        match event {
            Event::Waiting => bar.set_message("Waiting"),
            Event::Downloading { done, total } => {
                if bar.length() != Some(total) {
                    bar.set_length(total);
                    bar.set_style(style(
                        "{prefix}: {wide_bar:.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec}",
                    ));
                }
                bar.set_position(done);
            }
            Event::Retrying { why, after } => {
                bar.set_length(0);
                bar.set_style(style("{prefix}: {msg}"));
                bar.set_message(format!("{why}; again in {:.1} s", after.as_secs_f64()));
            }
            Event::Unpacking => bar.set_message("Unpacking"),
            Event::Exists => finish(&bar, "Already exists"),
            Event::Done => finish(&bar, "Pull complete"),
        }
    }

    fn note(&self, sentence: &str) {
        match &self.screen {
            Some(screen) => drop(screen.println(sentence)),
            None => tell(sentence),
        }
    }
}

fn finish(bar: &ProgressBar, how: &str) {
    bar.set_style(style("{prefix}: {msg}"));
    bar.finish_with_message(how.to_owned());
}

fn line(layer: &Digest, event: &Event) {
    let layer = layer.short();
    match event {
        Event::Exists => tell(format_args!("{layer}: Already exists")),
        Event::Done => tell(format_args!("{layer}: Pull complete")),
        Event::Retrying { why, after } => {
            tell(format_args!("{layer}: {why}; again in {:.1} s", after.as_secs_f64()));
        }
        Event::Waiting | Event::Downloading { .. } | Event::Unpacking => {}
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of this file").progress_chars("━━─")
}
