//! Death on purpose, for tests of recovery: a keeper started with `KEEPER_CRASH_AT=signed.after:3` kills itself, as `kill -9`
//! would, right after the third transaction was stored. Without the variable nothing here does anything.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// Names the point and the passage.
pub const VARIABLE: &str = "KEEPER_CRASH_AT";

/// The journal's writes, each with a moment before and one after.
pub const WRITES: [&str; 8] = ["planned", "signed", "included", "done", "failed", "job", "job-ended", "result"];

struct Wish {
    point: String,
    passage: u32,
    passed: AtomicU32,
}

/// A moment of the keeper's life at which a test may want it to die.
pub(crate) fn point(write: &str, moment: Moment) {
    static WISH: OnceLock<Option<Wish>> = OnceLock::new();
    let Some(wish) = WISH.get_or_init(|| wish(&std::env::var(VARIABLE).ok()?)) else { return };
    if wish.point.strip_prefix(write) != Some(moment.suffix()) {
        return;
    }
    if wish.passed.fetch_add(1, Ordering::SeqCst) + 1 == wish.passage {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Side of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// Nothing is on disk yet.
    Before,
    /// It is on disk, and nothing was done about it yet.
    After,
}

impl Moment {
    fn suffix(self) -> &'static str {
        match self {
            Self::Before => ".before",
            Self::After => ".after",
        }
    }
}

/// `POINT:PASSAGE`, the first passage if none is named.
fn wish(text: &str) -> Option<Wish> {
    let (point, passage) = text.split_once(':').unwrap_or((text, "1"));
    Some(Wish { point: point.to_owned(), passage: passage.parse().ok()?, passed: AtomicU32::new(0) })
}
