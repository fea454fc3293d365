//! What goes wrong on purpose: processes killed at random moments, blocks taken back.

use std::{sync::Arc, time::Duration};

use alloy::providers::{DynProvider, Provider};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::Mutex;

use crate::{actors::Actor, show::Show};

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Processes killed and started again.
    pub kills: u32,
    /// Reorganisations.
    pub reorgs: u32,
    /// Blocks each takes back.
    pub depth: u64,
    /// Decides the moments.
    pub seed: u64,
}

impl Plan {
    /// Makes it happen; returns when all is done and everybody is back.
    ///
    /// # Errors
    /// When an actor does not come back.
    pub(crate) async fn happen(self, cast: Arc<Mutex<Vec<Actor>>>, chain: DynProvider, show: Show) -> eyre::Result<()> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let (mut kills, mut reorgs) = (self.kills, self.reorgs);
        while kills + reorgs > 0 {
            tokio::time::sleep(Duration::from_millis(random.gen_range(500..4_000))).await;
            if random.gen_range(0..kills + reorgs) < kills {
                kills -= 1;
                let away = Duration::from_millis(random.gen_range(100..3_000));
                let mut cast = cast.lock().await;
                let chosen = random.gen_range(0..cast.len());
                let actor = &mut cast[chosen];
                actor.crash().await?;
                show.line("chaos", &format!("{} killed, back in {:.1} s", actor.name, away.as_secs_f64()));
                tokio::time::sleep(away).await;
                actor.restart().await?;
                show.line("chaos", &format!("{} is back", actor.name));
            } else {
                reorgs -= 1;
                chain.raw_request::<_, ()>("anvil_reorg".into(), (self.depth, Vec::<()>::new())).await?;
                show.line("chaos", &format!("{} blocks are taken back", self.depth));
            }
        }
        Ok(())
    }
}
