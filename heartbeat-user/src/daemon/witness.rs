//! The witness of a node that runs: its thread, and what is told when it cannot be asked.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::{
    config::Config,
    event::{Draft, kind},
    keys,
    witness::{Content, Exchange, FileWitness, WitnessReport, start},
};

/// Between two reports that the witness fails: one that comes and goes is told once in a while.
const TELL_AGAIN_NS: u64 = 60_000_000_000;

/// Starts the thread that asks the witness, where one is configured.
///
/// # Errors
/// When the kernel gives no descriptor or thread. A witness that cannot be asked is no error: it may come back.
pub(super) fn start_witness(config: &Config) -> Result<Option<Arc<Exchange>>> {
    let Some(directory) = &config.quorum.witness else { return Ok(None) };
    let exchange = Arc::new(Exchange::new().context("the witness has no descriptor")?);
    let witness = FileWitness::new(directory, keys::cluster_id(&config.cluster_name), config.local.node);
    start(Box::new(witness), Arc::clone(&exchange)).context("the witness has no thread")?;
    Ok(Some(exchange))
}

/// What has been told about the witness.
#[derive(Debug)]
pub(super) struct WitnessWatch {
    /// An operation that takes longer is told.
    patience_ns: u64,
    failing: bool,
    told_ns: Option<u64>,
    /// The epoch whose damage has been told.
    damaged: u64,
}

impl WitnessWatch {
    /// For records that hold for this long.
    pub(super) fn new(record_lease_ns: u64) -> Self {
        Self { patience_ns: record_lease_ns / 2, failing: false, told_ns: None, damaged: 0 }
    }

    /// What is to be told, if anything.
    pub(super) fn look(&mut self, report: &WitnessReport, now_ns: u64) -> Option<Draft> {
        let damage = report.standing.as_ref().and_then(|standing| match &standing.content {
            Content::Damaged(why) if standing.epoch != self.damaged => Some((standing.epoch, why.clone())),
            Content::Damaged(_) | Content::Held(_) | Content::Nobody => None,
        });
        if let Some((epoch, why)) = damage {
            self.damaged = epoch;
            let text = format!(
                "The newest record of the witness is damaged, and counts as held by somebody unknown until it has been \
                 unchanged for record_lease: {why}"
            );
            return Some(failed(now_ns, text, &why, report));
        }
        let hanging = report.busy_ns > self.patience_ns;
        let reason = if hanging {
            Some(format!("it has not answered for {} ms", report.busy_ns / 1_000_000))
        } else {
            report.error.clone()
        };
        match reason {
            Some(reason) if !self.failing => {
                if self.told_ns.is_some_and(|told_ns| now_ns.saturating_sub(told_ns) < TELL_AGAIN_NS) {
                    return None;
                }
                self.failing = true;
                self.told_ns = Some(now_ns);
                let text = format!("The witness cannot be asked, and its vote is missing meanwhile: {reason}");
                Some(failed(now_ns, text, &reason, report))
            }
            None if self.failing && report.busy_ns == 0 => {
                self.failing = false;
                let mut draft = Draft::new(&kind::WITNESS_RESTORED, now_ns, "The witness answers again");
                draft.detail = serde_json::json!({ "operations": report.operations, "failures": report.failures });
                Some(draft)
            }
            Some(_) | None => None,
        }
    }
}

fn failed(now_ns: u64, text: String, reason: &str, report: &WitnessReport) -> Draft {
    let mut draft = Draft::new(&kind::WITNESS_FAILED, now_ns, text);
    draft.detail = serde_json::json!({
        "reason": reason, "operations": report.operations, "failures": report.failures, "busy_ns": report.busy_ns,
    });
    draft
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::Standing;

    const SECOND: u64 = 1_000_000_000;

    fn report(busy: u64, error: Option<&str>) -> WitnessReport {
        WitnessReport { busy_ns: busy * SECOND, error: error.map(str::to_owned), ..WitnessReport::default() }
    }

    #[test]
    fn a_witness_that_fails_or_hangs_is_told_once_and_so_is_its_return() {
        let mut watch = WitnessWatch::new(10 * SECOND);
        let mut id =
            |report: &WitnessReport, second: u64| watch.look(report, second * SECOND).map(|draft| draft.kind.id);
        assert_eq!(id(&report(0, None), 100), None);
        assert_eq!(id(&report(4, None), 101), None, "slow is not failing");
        assert_eq!(id(&report(6, None), 103), Some(9040));
        assert_eq!(id(&report(60, None), 157), None);
        assert_eq!(id(&report(0, None), 158), Some(9041));
        assert_eq!(id(&report(0, Some("gone")), 159), None, "not again within a minute");
        assert_eq!(id(&report(0, Some("gone")), 164), Some(9040));
        assert_eq!(id(&report(0, None), 165), Some(9041));
    }

    #[test]
    fn a_damaged_record_is_told_once() {
        let mut watch = WitnessWatch::new(10 * SECOND);
        let standing = |epoch| Some(Standing { epoch, content: Content::Damaged("/w/x.7: it is empty".to_owned()) });
        let damaged = WitnessReport { standing: standing(7), ..WitnessReport::default() };
        let told = watch.look(&damaged, SECOND).unwrap();
        assert!(told.kind.id == 9040 && told.text.contains("/w/x.7"), "{}", told.text);
        assert!(watch.look(&damaged, 2 * SECOND).is_none());
        let next = WitnessReport { standing: standing(8), ..WitnessReport::default() };
        assert!(watch.look(&next, 3 * SECOND).is_some());
    }
}
