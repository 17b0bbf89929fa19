//! The live line: how far the load is and how fast it goes. Only for people who watch a terminal.

use crate::rendezvous::Broken;
use crate::settings::Length;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The line of one phase.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    length: Length,
    start: Instant,
}

/// Seldom enough to cost the load nothing.
const TICK: Duration = Duration::from_millis(200);

impl Progress {
    pub(crate) fn start(what: &'static str, length: Length, is_quiet: bool) -> Progress {
        let shows = !is_quiet && std::io::stderr().is_terminal();
        let bar = shows.then(|| {
            let total = match length {
                Length::Ops(ops) => ops,
                Length::Time(time) => time.as_millis() as u64,
            };
            let style = ProgressStyle::with_template("{prefix:10} {wide_bar} {percent:>3} % {msg}");
            let bar = ProgressBar::new(total).with_prefix(what);
            bar.with_style(style.expect("the template is right"))
        });
        Progress { bar, length, start: Instant::now() }
    }

    /// Shows `done` until `wait` returns.
    pub(crate) fn watch(
        self,
        done: impl Fn() -> u64 + Sync,
        wait: impl FnOnce() -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let Some(bar) = &self.bar else { return wait() };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let show = || {
                let mut last = (Instant::now(), done());
                while !is_over.load(Ordering::Relaxed) {
                    std::thread::park_timeout(TICK);
                    let now = (Instant::now(), done());
                    let rate = now.1.saturating_sub(last.1) as f64 / (now.0 - last.0).as_secs_f64();
                    bar.set_message(format!("{:.0} k/s", rate / 1e3));
                    bar.set_position(match self.length {
                        Length::Ops(_) => now.1,
                        Length::Time(_) => self.start.elapsed().as_millis() as u64,
                    });
                    last = now;
                }
            };
            let shows = scope.spawn(show);
            let waited = wait();
            is_over.store(true, Ordering::Relaxed);
            shows.thread().unpark();
            waited
        })
        .inspect(|()| bar.finish_and_clear())
    }
}
