//! What makes two states one, and what does not.

use heartbeat_model::{Broken, Cluster, Scope, Step, faults};

const SCOPE: Scope = Scope {
    nodes: 3,
    faults: 9,
    strikes: faults::any,
    broken: Broken { rule: None, echo_after_binding: false },
    within_intervals: false,
    recovery: false,
};

fn after(cluster: &Cluster, steps: &[Step]) -> Cluster {
    steps.iter().fold(cluster.clone(), |cluster, step| SCOPE.after(&cluster, *step))
}

/// As if the faults of its past had cost nothing.
fn with_full_budget(mut cluster: Cluster) -> Cluster {
    cluster.budget = SCOPE.faults;
    cluster
}

#[test]
fn a_cluster_to_which_nothing_happens_stays_the_same_state() {
    let formed = SCOPE.formed();
    let later = after(&formed, &[Step::Tick; 7]);
    assert_ne!(formed.ticks, later.ticks);
    assert!(formed == later, "{formed:?}\n{later:?}");
}

#[test]
fn each_interval_without_heartbeats_is_another_state() {
    let cut = after(&SCOPE.formed(), &[Step::Partition(1)]);
    let once = after(&cut, &[Step::Tick]);
    let twice = after(&once, &[Step::Tick]);
    assert!(cut != once && once != twice && cut != twice);
}

#[test]
fn who_was_removed_and_came_back_is_in_the_state_before_but_for_its_memory() {
    let formed = SCOPE.formed();
    let back = |cluster: &Cluster| {
        let cut = after(cluster, &[Step::Partition(1)]);
        let removed = after(&cut, &[Step::Tick; 12]);
        let mended = after(&removed, &[Step::Mend]);
        let back = after(&mended, &[Step::Tick; 60]);
        assert!(back.all_in(), "{back:?}");
        with_full_budget(back)
    };
    let (once, twice) = (back(&formed), back(&back(&formed)));
    let number = |cluster: &Cluster| cluster.machines[0].view.as_ref().map(|view| view.id.number);
    assert!(number(&formed) < number(&once) && number(&once) < number(&twice));
    // The quarantine counts removals: one more of them is another state, and nothing else is.
    assert!(once != formed);
    assert!(with_full_budget(after(&once, &[Step::Tick; 30])) == once);
}

#[test]
fn numbers_grow_and_the_state_stays() {
    let formed = SCOPE.formed();
    // All machines die and start anew, together: what they form has higher numbers and no other memory.
    let again = |cluster: &Cluster| {
        let steps = [Step::Crash(0b011), Step::Crash(0b100), Step::Start(heartbeat_membership::NodeId(1))];
        let started = [Step::Start(heartbeat_membership::NodeId(2)), Step::Start(heartbeat_membership::NodeId(3))];
        let cluster = after(&after(cluster, &steps), &started);
        let cluster = after(&cluster, &[Step::Tick; 80]);
        assert!(cluster.all_in(), "{cluster:?}");
        with_full_budget(cluster)
    };
    let (once, twice) = (again(&formed), again(&again(&formed)));
    let incarnation = |cluster: &Cluster| cluster.machines[0].incarnation;
    assert!(incarnation(&formed) < incarnation(&once) && incarnation(&once) < incarnation(&twice));
    assert!(once == twice, "{once:?}\n{twice:?}");
}
