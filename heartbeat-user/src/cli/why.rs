//! `heartbeat why`.

use std::path::Path;

use super::{WhyArgs, output};
use crate::api::{Client, Request};
use crate::why::About;

pub(super) const HELP: &str = "\
What a verdict rests on, with the time of each: the last heartbeat on each
network, the intervals missed, what every survivor reported, the stages of the
regroup, the votes, the rule that decided, and when a takeover was safe; what
led to it, and what followed. Of a link that was late: the cause, in numbers.

A node explains the verdicts that it knows of, those of its earlier runs too.
Of itself it tells why it stopped or stood still.

Examples:
  heartbeat why              the last verdict on anybody
  heartbeat why charlie      the last one on charlie
  heartbeat why 4711         the event with this number (heartbeat events --json)";

pub(super) fn why(socket: &Path, args: &WhyArgs) -> anyhow::Result<u8> {
    let about = args.about.as_deref().map(About::typed);
    let mut client = Client::connect(socket)?;
    if args.json {
        output::print(&format!("{}\n", client.raw(&Request::Why { about })?))?;
    } else {
        output::print(&client.why(about)?.text(output::coloured()))?;
    }
    Ok(0)
}
