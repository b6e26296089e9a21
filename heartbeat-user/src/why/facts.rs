//! From a verdict and the events around it to facts.

use std::sync::Arc;

use heartbeat_membership::{
    Cause, Detail, Enforcement, HaltReason, LinkState, NodeId, Rule, Stage, StallSource,
    evidence::{LinkEvidence, StageTime, SurvivorReport, VoteCount},
};

use serde::Deserialize as _;

use super::{Fact, FactKind, Names, Why};
use crate::{
    event::{Event, Timestamp, kind},
    history::Arrivals,
};

/// How far back events belong to the same story, when nothing says that all was well in between.
const STORY_NS: u64 = 600_000_000_000;
/// Facts of what came before: an hour of flapping is told by its newest part.
const BEFORE_MAX: usize = 40;

/// Collects facts.
struct Collector<'a> {
    names: Names<'a>,
    facts: Vec<Fact>,
}

pub(super) fn story(events: &[Arc<Event>], verdict: &Arc<Event>, names: Names<'_>) -> Why {
    let mut collector = Collector { names, facts: Vec::new() };
    collector.verdict(verdict);
    let left_out = collector.before(events, verdict);
    collector.after(events, verdict);
    let mut facts = collector.facts;
    facts.sort_by_key(|fact| (fact.mono_ns, fact.kind));
    Why { verdict: (**verdict).clone(), summary: summary(verdict, names), facts, left_out, earlier: Vec::new() }
}

fn summary(verdict: &Event, names: Names<'_>) -> String {
    let Some(Detail::Removed { reason, decider, rule, .. }) = detail(verdict) else { return verdict.text.clone() };
    let reason = match serde_json::to_value(reason).ok().as_ref().and_then(|word| word.as_str()) {
        Some("silent") => "it was silent on all its networks".to_owned(),
        Some("hung") => "its controller hung while its kernel went on beating".to_owned(),
        Some("mute") => "it was heard, and took no part in the regroup".to_owned(),
        Some("restarted") => "it came back under another incarnation".to_owned(),
        Some(other) => format!("the regroup began because of: {other}"),
        None => "for a reason that is not known here".to_owned(),
    };
    format!("{} Because {reason}; {} decided, by {}.", verdict.text, names.node(decider.0), rule_in_words(rule))
}

impl Collector<'_> {
    fn add(&mut self, event: &Event, mono_ns: u64, kind: FactKind, text: String) {
        // A stamp of 0 is none.
        if mono_ns != 0 {
            let offset_ns = event.time.unix_ns().saturating_sub(event.mono_ns);
            let time = Timestamp::from_unix_ns(offset_ns.saturating_add(mono_ns));
            self.facts.push(Fact { time, mono_ns, kind, text, event: event.number });
        }
    }

    fn verdict(&mut self, event: &Event) {
        self.evidence(event);
        let text = format!("{} {}: {}", event.id, event.name, event.text);
        self.add(event, event.mono_ns, FactKind::Verdict, text);
    }

    /// What the detail of an event says.
    fn evidence(&mut self, event: &Event) {
        let Some(detail) = detail(event) else { return };
        match detail {
            Detail::Removed { safe_ns, rule, votes, survivors, links, stages, decider, sequence, .. } => {
                links.iter().for_each(|link| self.link(event, link));
                survivors.iter().for_each(|report| self.report(event, report));
                self.stages(event, &stages);
                self.votes(event, rule, votes, decider, sequence);
                let text = "not before now may its work be taken over, unless somebody confirms that it is off";
                self.add(event, safe_ns, FactKind::Safe, text.to_owned());
            }
            Detail::Installed { rule, votes, stages, decider, sequence, .. } => {
                self.stages(event, &stages);
                self.votes(event, rule, votes, decider, sequence);
            }
            Detail::Lost { stamp_ns, deadline_ns, judged_ns, missed, never_heard, marked_stall } => {
                let network = event.network.clone().unwrap_or_default();
                self.stamp(event, stamp_ns, &network);
                let missed = match (never_heard, missed) {
                    (true, _) => format!("nothing was heard on {network} since its incarnation was accepted"),
                    (false, 0) => format!("{network} counted as lost with all its networks"),
                    (false, missed) => format!("{missed} intervals without a heartbeat on {network}"),
                };
                let late_us = judged_ns.saturating_sub(deadline_ns) / 1_000;
                let stalled = if marked_stall { "; judged although this machine stuttered" } else { "" };
                let text = format!("{missed}: the deadline passed, judged {late_us} us later{stalled}");
                self.add(event, deadline_ns, FactKind::Missed, text);
            }
            Detail::Stopped { reason, lease_end_boot_ns } => {
                if lease_end_boot_ns != 0 {
                    let text = format!(
                        "the lease ended at {} s on CLOCK_BOOTTIME: until then a quorum had echoed this node",
                        seconds(lease_end_boot_ns)
                    );
                    self.add(event, event.mono_ns, FactKind::Missed, text);
                }
                if let Some(reason) = reason {
                    self.add(event, event.mono_ns, FactKind::Votes, halt_in_words(reason).to_owned());
                }
            }
            Detail::Restored { stamp_ns, previous_stamp_ns, first, lost, cause, .. } if !first => {
                let network = event.network.clone().unwrap_or_default();
                let gap_ms = stamp_ns.saturating_sub(previous_stamp_ns) / 1_000_000;
                let cause = cause.map_or("the cause is not known", cause_in_words);
                let gap = if previous_stamp_ns == 0 { String::new() } else { format!(" after a gap of {gap_ms} ms") };
                let text = format!("heard again on {network}{gap}, {lost} sequence numbers lost in between: {cause}");
                self.add(event, stamp_ns, FactKind::After, text);
            }
            Detail::Stall { length_ns, at_ns, source, budget_spent } => {
                let whose = match source {
                    StallSource::Machine => "this machine",
                    StallSource::Controller => "the controller of this node",
                    StallSource::Clock => "the clock of this machine",
                };
                let spent = if budget_spent { "; by now stalls excuse nobody any more" } else { "" };
                let text = format!("{whose} stood still for {} ms until now{spent}", length_ns / 1_000_000);
                self.add(event, at_ns, FactKind::Before, text);
            }
            Detail::Safe { enforced, lease_over_ns, .. } => {
                let text = "its lease had certainly ended".to_owned();
                if lease_over_ns <= event.mono_ns {
                    self.add(event, lease_over_ns, FactKind::Safe, text);
                }
                let how = match enforced {
                    Enforcement::LeaseCheckers => "by the time that has passed, for programs that check the lease",
                    Enforcement::Confirmed => "on the word of an operator or a fencing agent",
                };
                self.add(
                    event,
                    event.mono_ns,
                    FactKind::Safe,
                    format!("a takeover was safe from here on (9008): {how}"),
                );
            }
            Detail::Restored { .. }
            | Detail::Left { .. }
            | Detail::Joined { .. }
            | Detail::Interface { .. }
            | Detail::Network { .. }
            | Detail::Hung { .. }
            | Detail::ConfigDiffers { .. }
            | Detail::AbiDiffers { .. }
            | Detail::Duplicate { .. }
            | Detail::Quarantined { .. }
            | Detail::Released { .. }
            | Detail::Staged { .. }
            | Detail::ConfigInstalled { .. }
            | Detail::Witness { .. } => {}
        }
    }

    fn link(&mut self, event: &Event, link: &LinkEvidence) {
        let network = self.names.network(link.network.0);
        let Some(verdict) = link.verdict else {
            self.add(event, link.since_ns, FactKind::Before, format!("{network}: {} since", word(&link.state)));
            return;
        };
        self.stamp(event, verdict.stamp_ns, &network);
        let late_us = verdict.judged_ns.saturating_sub(verdict.deadline_ns) / 1_000;
        // The misses are those of the verdict of lateness; a peer is silent as a whole.
        let missed = if link.state == LinkState::Silent {
            ", on all its networks".to_owned()
        } else {
            format!(", {} intervals missed", verdict.missed)
        };
        let text = format!("{network}: {}{missed}; judged {late_us} us after the deadline", word(&link.state));
        self.add(event, verdict.deadline_ns, FactKind::Missed, text);
    }

    /// The last heartbeat, and how those before it came, as far as the event has them.
    fn stamp(&mut self, event: &Event, stamp_ns: u64, network: &str) {
        let arrivals: Vec<Arrivals> =
            event.detail.get("arrivals").and_then(|list| Vec::deserialize(list).ok()).unwrap_or_default();
        let on_it = arrivals.iter().find(|arrivals| arrivals.network == network);
        let gaps = on_it.and_then(Arrivals::gaps_in_words).map_or_else(String::new, |gaps| format!("; {gaps}"));
        self.add(event, stamp_ns, FactKind::Stamp, format!("last heartbeat on {network}{gaps}"));
    }

    fn report(&mut self, event: &Event, report: &SurvivorReport) {
        let who = self.names.node(report.node.0);
        let heard = if report.heard_on.is_empty() {
            "and did not hear it any more".to_owned()
        } else {
            let networks: Vec<String> = report.heard_on.iter().map(|network| self.names.network(network.0)).collect();
            format!("and still heard it on {}", networks.join(", "))
        };
        let text = if report.reported {
            format!("{who} reported: its newest heartbeat came now at the latest, {heard}")
        } else {
            format!("{who} did not report in time: it was bound before now, which counts as its newest heartbeat")
        };
        self.add(event, report.newest_ns, FactKind::Report, text);
    }

    fn stages(&mut self, event: &Event, stages: &[StageTime]) {
        for stage in stages {
            let what = match stage.stage {
                Stage::Activate => "every member says whom it hears",
                Stage::Closing => "the decider chooses the survivors",
                Stage::Pruning => "the survivors bind themselves to the decision",
                Stage::Cleanup1 => "all had bound themselves: the view is installed",
                Stage::Cleanup2 => "what the removed left behind is cleared away",
                Stage::Stabilized => "nothing more to do",
            };
            let text = format!("stage {} of regroup {}: {what}", word(&stage.stage), stage.sequence);
            self.add(event, stage.at_ns, FactKind::Stage, text);
        }
    }

    fn votes(&mut self, event: &Event, rule: Rule, votes: VoteCount, decider: NodeId, sequence: u64) {
        let witness = if votes.witness { ", the witness's among them" } else { "" };
        let text = format!(
            "{} decided regroup {sequence}: {} of {} votes{witness}: {}",
            self.names.node(decider.0),
            votes.own + u64::from(votes.witness),
            votes.total,
            rule_in_words(rule),
        );
        self.add(event, event.mono_ns, FactKind::Votes, text);
    }

    /// What led to it: everything about the same node since all was well, and what this machine did meanwhile.
    fn before(&mut self, events: &[Arc<Event>], verdict: &Event) -> u64 {
        let oldest = Timestamp::from_unix_ns(verdict.time.unix_ns().saturating_sub(STORY_NS));
        let mut earlier: Vec<&Arc<Event>> = Vec::new();
        for event in events.iter().rev().filter(|event| event.number < verdict.number) {
            if event.time < oldest {
                break;
            }
            let about_it = event.peer == verdict.peer && verdict.peer.is_some();
            let on_this_machine = matches!(event.id, id if id == kind::LOCAL_STALL.id || id == kind::SUSPENDED.id);
            // What befell a node itself is told by what it lost of the others.
            let of_others = verdict.peer.is_none() && event.id == kind::LINK_LOST.id;
            let began = about_it && (event.id == kind::NODE_JOINED.id || event.id == kind::REMOVAL_SAFE.id);
            if began || (verdict.peer.is_none() && event.id == kind::VIEW_INSTALLED.id) {
                break;
            }
            if about_it || on_this_machine || of_others {
                earlier.push(event);
            }
        }
        let left_out = earlier.len().saturating_sub(BEFORE_MAX);
        for event in earlier.iter().take(BEFORE_MAX) {
            if event.id == kind::LOCAL_STALL.id {
                self.evidence(event);
                continue;
            }
            let missed = match detail(event) {
                Some(Detail::Lost { missed: missed @ 1.., .. }) => format!(" {missed} intervals were missed."),
                Some(_) | None => String::new(),
            };
            let text = format!("{} {}: {}{missed}", event.id, event.name, event.text);
            self.add(event, event.mono_ns, FactKind::Before, text);
        }
        left_out as u64
    }

    /// What followed: the view, when a takeover was safe, contact again.
    fn after(&mut self, events: &[Arc<Event>], verdict: &Event) {
        let later = || events.iter().filter(|event| event.number > verdict.number);
        let about_it = |event: &&Arc<Event>| event.peer == verdict.peer && verdict.peer.is_some();
        let first = |id: u16| later().filter(about_it).find(|event| event.id == id);
        if verdict.id == kind::NODE_REMOVED.id {
            let view = later().find(|event| event.id == kind::VIEW_INSTALLED.id && event.view == verdict.view);
            let safe = first(kind::REMOVAL_SAFE.id);
            if let Some(safe) = safe {
                // The moment that was announced has been replaced by the real one.
                self.facts.retain(|fact| fact.kind != FactKind::Safe);
                self.evidence(safe);
            }
            for event in [view, first(kind::NODE_JOINED.id)].into_iter().flatten() {
                self.add(event, event.mono_ns, FactKind::After, format!("{} {}: {}", event.id, event.name, event.text));
            }
        } else if verdict.id == kind::LINK_LOST.id {
            let back = later()
                .filter(about_it)
                .find(|event| event.id == kind::LINK_RESTORED.id && event.network == verdict.network);
            if let Some(back) = back {
                self.evidence(back);
            }
        } else if verdict.peer.is_none()
            && let Some(view) = later().find(|event| event.id == kind::VIEW_INSTALLED.id)
        {
            self.add(view, view.mono_ns, FactKind::After, format!("{} {}: {}", view.id, view.name, view.text));
        }
    }
}

/// The detail of an event of the core; nothing for those of the rest of the program, and of other versions.
fn detail(event: &Event) -> Option<Detail> {
    serde_json::from_value(event.detail.clone()).ok()
}

/// A word of the core as JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1_000_000_000, nanoseconds / 1_000_000 % 1_000)
}

fn rule_in_words(rule: Rule) -> &'static str {
    match rule {
        Rule::Majority => "more than half of the votes",
        Rule::WitnessMajority => "more than half of the votes with that of the witness",
        Rule::TieBreaker => "exactly half of the votes, and the tie-breaker among them",
        Rule::HalfWithout => "exactly half of the votes, and nothing that decides: no quorum",
        Rule::Minority => "less than half of the votes: no quorum",
    }
}

fn halt_in_words(reason: HaltReason) -> &'static str {
    match reason {
        HaltReason::NoQuorum => {
            "the decision was that nobody survives: no group of nodes that hear each other had quorum"
        }
        HaltReason::LeaseLost => "no quorum had echoed this node for as long as its lease and its grace last",
        HaltReason::Pruned => "the others decided without this node, since not all of them reached it",
        HaltReason::Poisoned => "a view without this node had been installed meanwhile: a member of it said so",
        HaltReason::Abandoned => "the view that this node had agreed to never came about",
        HaltReason::Superseded => "a cluster of a higher form epoch was met, formed on an operator's word",
    }
}

fn cause_in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::SentLate => "it was sent late, so look at the machine that sent it",
        Cause::LostOnTheWay => "heartbeats were sent in time and lost on the way, so look at the network",
        Cause::DelayedOnTheWay => "it was sent in time and came late, so look at the network",
        Cause::HandledLateHere => "this machine stood still meanwhile, so look at this machine",
    }
}
