//! What happens in all runs, for those who watch: progress, profiles, reports of a stall.
//!
//! Every thread that works has a [`Lane`]: what it does now, and a ring of what it has
//! done. Every run has a [`RunRecord`]. Both are there always and cost a task some
//! nanoseconds; a [`Recording`] keeps what goes through the rings. `README.md` tells
//! who writes and reads what when.

mod clock;
mod event;
mod lane;
mod recording;
mod runs;
mod timeline;
mod trace;

pub use clock::{Stamp, seconds};
pub use event::{Event, Kind, RunNumber};
pub use lane::{Doing, Lane, lanes};
pub(crate) use lane::{Visit, mine};
pub use recording::{Recorded, Recording, Thread, Total, is_on};
pub use runs::{Counts, Description, Places, RunRecord, Standing, Watch, Watched, live};
pub(crate) use runs::{begin, end};
pub use timeline::{Slice, timeline};
pub use trace::{Namer, write_trace};

/// Makes forked children start with nobody who records; only the first call does something.
fn prepare() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| crate::fork::in_children(recording::forget));
}

/// How it went with a task, in a word.
pub fn outcome(kind: Kind) -> &'static str {
    match kind {
        Kind::Finished => "finished",
        Kind::Failed => "failed",
        Kind::Promised => "promised",
        Kind::Again => "again",
        Kind::Attach | Kind::MakeRoom => "",
    }
}
