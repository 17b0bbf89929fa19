//! Performance, predicted: the protocols in closed loops, in the simulator's virtual time, under a cost model of NICs and
//! clients. First use: the curves that FUSEE (FAST'23) published, by its protocol and by ours.
//!
//! ```text
//!  figure     what the paper's axes are, what it shows, and the points that predict it
//!    └ point    one cluster under one workload -> Mops, latencies, and the resource that was busiest
//!        └ cluster (all keys in place) · client (ten tasks in a loop) · remembered (its cache, as after a long run)
//!  report     the document with the tables            plot     SVG
//! ```

mod client;
mod cluster;
mod figure;
mod one_index;
mod plot;
mod point;
mod popularity;
mod remembered;
mod report;

pub use figure::Figure;
pub use point::{LATENCY, Measured, Point, Program, Protocol, THROUGHPUT, Workload};
pub use report::DOCUMENT;

use cluster::KEYS;
use popularity::Popularity;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Figures with all their points.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The figures, in order.
    pub figures: Vec<Figure>,
    measured: BTreeMap<Point, Measured>,
}

/// A file that shows a prediction.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Runs all points of `figures` on all cores, each in a world of its own. `tick` is called after each with how many are
/// done, and how many there are.
pub fn predict(figures: &[Figure], tick: impl Fn(usize, usize) + Sync) -> Prediction {
    let figures: BTreeSet<Figure> = figures.iter().copied().collect();
    let points: BTreeSet<Point> = figures.iter().flat_map(|f| f.points()).collect();
    let measured = run_all(&points.into_iter().collect::<Vec<_>>(), tick);
    let measured = measured.into_iter().map(|m| (m.point, m)).collect();
    Prediction { figures: figures.into_iter().collect(), measured }
}

/// One row of the document's table of `workload` in `figure`, made anew.
pub fn row(figure: Figure, workload: Workload, value: u32) -> String {
    let points: Vec<_> = figure.protocols().iter().map(|p| figure.point(workload, *p, value)).collect();
    let measured = run_all(&points, |_, _| {}).into_iter().map(|m| (m.point, m)).collect();
    report::row(&Prediction { figures: vec![figure], measured }, figure, workload, value)
}

/// Runs points on all cores; what they came to, in no particular order.
pub fn run_all(points: &[Point], tick: impl Fn(usize, usize) + Sync) -> Vec<Measured> {
    let popularity = Arc::new(Popularity::zipfian(KEYS));
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let measured = point.run(&popularity);
                    let mut all = all.lock().expect("no point panics while it holds the list");
                    all.push(measured);
                    tick(all.len(), points.len());
                }
            });
        }
    });
    all.into_inner().expect("no point panics while it holds the list")
}

impl Prediction {
    /// What a point of its figures came to.
    ///
    /// # Panics
    /// If it is a point of another figure.
    pub fn at(&self, point: &Point) -> &Measured {
        &self.measured[point]
    }

    /// All points, in order.
    pub fn measured(&self) -> impl Iterator<Item = &Measured> {
        self.measured.values()
    }

    /// The document and its plots.
    pub fn files(&self) -> Vec<File> {
        let plots = self.figures.iter().map(|f| report::plot(self, *f));
        std::iter::once(report::document(self)).chain(plots).collect()
    }
}
