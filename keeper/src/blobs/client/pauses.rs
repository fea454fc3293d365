//! Waiting between attempts.

use std::time::Duration;

/// How often a call is made before it is given up.
const ATTEMPTS: u32 = 6;
/// First pause between two of them; each is twice the one before, at most [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Pauses between attempts, each twice as long as the one before, with some chance in it so that many clients do not
/// come back at the same moment.
pub(super) struct Pauses {
    left: u32,
    next: Duration,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { left: ATTEMPTS - 1, next: FIRST_PAUSE }
    }

    /// Waits, or says at once that it was often enough.
    pub(super) async fn take(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        tokio::time::sleep(self.next.mul_f64(0.75 + 0.5 * rand::random::<f64>())).await;
        self.next = (self.next * 2).min(MAX_PAUSE);
        true
    }
}
