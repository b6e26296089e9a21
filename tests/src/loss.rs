//! Networks that lose a part of what they carry, drawn frame by frame.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};

use crate::{namespace::Namespace, nft::nft};

const TABLE: &str = "heartbeat-loss";

/// What one network loses: of which port's frames, how many of a hundred.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<BTreeMap<String, u8>>);

impl Losses {
    /// From now on so many of a hundred frames from this port are lost; 0 ends it.
    pub(crate) fn set(&self, bridge: &Namespace, port: &str, percent: u8) -> Result<()> {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = losses.clone();
        if percent == 0 {
            wanted.remove(port);
        } else {
            wanted.insert(port.to_owned(), percent);
        }
        // A table has to be there to be deleted; both and the new one are one transaction.
        nft(bridge, &rules(&wanted)).with_context(|| format!("cannot lose frames in {}", bridge.name()))?;
        *losses = wanted;
        Ok(())
    }

    /// Nothing is lost any more.
    pub(crate) fn clear(&self, bridge: &Namespace) -> Result<()> {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !losses.is_empty() {
            nft(bridge, &rules(&BTreeMap::new()))?;
            losses.clear();
        }
        Ok(())
    }
}

fn rules(losses: &BTreeMap<String, u8>) -> String {
    let mut text = format!("table bridge {TABLE}\ndelete table bridge {TABLE}\n");
    if losses.is_empty() {
        return text;
    }
    // Behind the cuts, whose chain has priority 0.
    text.push_str(&format!("table bridge {TABLE} {{ chain forward {{ type filter hook forward priority 10;\n"));
    for (port, percent) in losses {
        text.push_str(&format!("iifname \"{port}\" numgen random mod 100 < {percent} counter drop\n"));
    }
    text.push_str("}\n}\n");
    text
}
