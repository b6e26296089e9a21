//! `[cluster]` and `[timing]`.

use std::path::Path;

use toml::Spanned;

use crate::config::checker::{Checker, NameRule};
use crate::config::file;
use crate::config::model::{KeyConfig, Timing};
use crate::keys::Secret;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
const DAY: u64 = 86_400 * SECOND;

/// The interval that Windows clusters used; slow enough for any network, and the default.
const DEFAULT_INTERVAL_NS: u64 = 1_200 * MILLISECOND;

/// Key slots on the wire.
const KEYS: i64 = 4;

/// A controller may be frozen for this many intervals, but not less than [`LEAST_DEFAULT_HANG_NS`].
const DEFAULT_HANG_INTERVALS: u64 = 50;
/// A bound of a second trips on a machine that is only busy.
const LEAST_DEFAULT_HANG_NS: u64 = 10 * SECOND;

#[derive(Default)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) keys: Vec<KeyConfig>,
    pub(super) send_key: u8,
}

pub(super) fn cluster(checker: &mut Checker<'_>, table: Option<&Spanned<file::Cluster>>, directory: &Path) -> Cluster {
    let Some(table) = table else {
        checker.report_missing(None, "[cluster]", "it holds name, send_key and at least one [[cluster.key]]");
        return Cluster::default();
    };
    let span = table.span();
    let table = table.get_ref();
    let mut cluster = Cluster::default();
    match &table.name {
        Some(name) => {
            if checker.name(name, "[cluster] name", &NameRule { longest: 64, free_text: true }) {
                cluster.name = name.get_ref().clone();
            }
        }
        None => checker.report_missing(Some(span.clone()), "[cluster] name", "the name of the cluster"),
    }
    cluster.keys = keys(checker, &table.key, directory);
    if table.key.is_empty() {
        checker.report_missing(
            Some(span.clone()),
            "[[cluster.key]]",
            "at least one: id = 1 and file = \"...\"; `heartbeat keygen --out FILE` makes the file",
        );
    }
    match &table.send_key {
        Some(send_key) => {
            if let Some(id) = checker.integer(&table.send_key, "[cluster] send_key", 1..=KEYS) {
                let listed = table.key.iter().any(|key| key.get_ref().id.as_ref().is_some_and(|id| id == send_key));
                if !listed {
                    checker.report(
                        send_key.span(),
                        "[cluster] send_key",
                        format!("there is no [[cluster.key]] with id {id}"),
                        "allowed: the id of a key in this file",
                    );
                }
                cluster.send_key = u8::try_from(id).unwrap_or_default();
            }
        }
        None => {
            checker.report_missing(Some(span), "[cluster] send_key", "the id of the [[cluster.key]] to send with");
        }
    }
    cluster
}

fn keys(checker: &mut Checker<'_>, tables: &[Spanned<file::Key>], directory: &Path) -> Vec<KeyConfig> {
    let mut keys: Vec<KeyConfig> = Vec::new();
    for table in tables {
        let span = table.span();
        let table = table.get_ref();
        let id = match &table.id {
            Some(_) => checker.integer(&table.id, "[[cluster.key]] id", 1..=KEYS),
            None => {
                checker.report_missing(Some(span.clone()), "[[cluster.key]] id", "allowed: 1 to 4");
                None
            }
        };
        let id = id.and_then(|id| u8::try_from(id).ok());
        if let (Some(id), Some(place)) = (id, &table.id)
            && keys.iter().any(|key| key.id == id)
        {
            checker.report(
                place.span(),
                "[[cluster.key]] id",
                format!("key {id} is there twice"),
                "allowed: each id once, 1 to 4",
            );
            continue;
        }
        let Some(file) = &table.file else {
            checker.report_missing(
                Some(span),
                "[[cluster.key]] file",
                "the path of a file that `heartbeat keygen` made",
            );
            continue;
        };
        let path = directory.join(file.get_ref());
        match Secret::read(&path) {
            Ok(secret) => keys.extend(id.map(|id| KeyConfig { id, file: path, secret })),
            Err(error) => checker.report(file.span(), "[[cluster.key]] file", error.to_string(), error.remedy()),
        }
    }
    keys.sort_by_key(|key| key.id);
    keys
}

pub(super) fn timing(checker: &mut Checker<'_>, table: Option<&file::Timing>) -> Timing {
    let empty = file::Timing::default();
    let table = table.unwrap_or(&empty);
    let interval_ns = checker
        .duration(&table.interval, "[timing] interval", MILLISECOND..=60 * SECOND)
        .unwrap_or(DEFAULT_INTERVAL_NS);
    // A link record counts misses in a byte; more than 255 would never be noticed anyway.
    let late_after = checker.integer(&table.late_after, "[timing] late_after", 1..=254).unwrap_or(2);
    let lost_after = checker.integer(&table.lost_after, "[timing] lost_after", 2..=255).unwrap_or(6);
    if late_after >= lost_after {
        let place = table.late_after.as_ref().or(table.lost_after.as_ref());
        checker.report(
            place.map(Spanned::span).unwrap_or_default(),
            "[timing] late_after",
            format!("late_after = {late_after} is not less than lost_after = {lost_after}"),
            "allowed: 1 <= late_after < lost_after <= 255; a peer is late before it is lost",
        );
    }
    let mut timing = Timing {
        interval_ns,
        late_after: u32::try_from(late_after).unwrap_or_default(),
        lost_after: u32::try_from(lost_after).unwrap_or_default(),
        grace_ns: 0,
        hang_timeout_ns: 0,
    };
    timing.grace_ns =
        checker.duration(&table.grace, "[timing] grace", 0..=DAY).unwrap_or(u64::from(timing.lost_after) * interval_ns);
    timing.hang_timeout_ns = checker
        .duration(&table.hang_timeout, "[timing] hang_timeout", SECOND..=DAY)
        // Whatever the interval: what is judged frozen must have been given longer than what is judged silent.
        .unwrap_or((DEFAULT_HANG_INTERVALS * interval_ns).max(LEAST_DEFAULT_HANG_NS).max(timing.silent_timeout_ns()));
    if let Some(place) = &table.hang_timeout
        && timing.hang_timeout_ns < timing.silent_timeout_ns()
    {
        let least = super::super::format_duration_ns(timing.silent_timeout_ns());
        checker.report(
            place.span(),
            "[timing] hang_timeout",
            format!("{} is shorter than the {least} after which a peer is silent", place.get_ref()),
            format!("allowed: {least} to 24h"),
        );
    }
    timing
}
