//! `heartbeat leave`, `form`, `confirm-fenced` and `quarantine clear`.

use std::path::Path;
use std::time::Duration;

use super::{EXIT_USAGE, FormArgs, NodeArgs, OrderArgs, output};
use crate::api::{Client, Done, NodeName, Request};

pub(super) const LEAVE_HELP: &str = "\
The node stops acting, gives up its lease, tells the others, and its process ends,
as after SIGTERM. They install a view without it and report no loss (9006, 9007).
Its votes stay configured: leaving does not make the others' majority easier.

Example, before work on this machine:
  heartbeat leave && systemctl poweroff";

pub(super) const FORM_HELP: &str = "\
A cluster forms by itself once a majority of all configured votes is there. This
command is for the case that the others are off and will not come back soon.

--force is YOUR WORD THAT ALL OTHER NODES ARE OFF, or fenced. Nothing checks it:
if one of them still acts, two sides act at the same time, and data is lost.
Look at their power, not at the network.

The node forms a view alone, under a higher form epoch. Nodes that are started
afterwards join it; a cluster of an earlier epoch stops where it meets this one.

Example, on the one node that is left of three:
  heartbeat form --force";

pub(super) const CONFIRM_FENCED_HELP: &str = "\
After a node was removed (1135), what it did may be taken over once its lease,
its grace and its stop time have certainly passed (9008). This command says on
YOUR WORD, or that of a fencing agent, that the node is off: 9008 comes at once.
Nothing checks it. Say it on every node that is to take over.

Example, as the last step of a fencing agent:
  heartbeat confirm-fenced charlie";

pub(super) const QUARANTINE_HELP: &str = "\
A node that was removed three times within an hour is kept out for two hours, so
that it does not regroup the others for ever. `heartbeat nodes` shows it as
quarantined; each node counts for itself, and the leader (the lowest id in the
view) is who lets nodes in.

Example, on the leader, once charlie's cable is replaced:
  heartbeat quarantine clear charlie";

/// How long a node may take to leave: hooks that run end, or are ended, meanwhile.
const LEAVING: Duration = Duration::from_secs(30);

pub(super) fn leave(socket: &Path, args: &OrderArgs) -> anyhow::Result<u8> {
    let mut client = Client::connect(socket)?;
    let done = client.order(&Request::Leave {})?;
    tell(&done, args.json)?;
    client.wait_for_end(LEAVING)?;
    if !args.json {
        output::print("It has left.\n")?;
    }
    Ok(0)
}

pub(super) fn form(socket: &Path, args: &FormArgs) -> anyhow::Result<u8> {
    if !args.force {
        output::complain(
            "heartbeat: a cluster forms by itself once a majority of the votes is there. If all other nodes are off, say so \
             with --force; `heartbeat form --help` says what follows if they are not",
        )?;
        return Ok(EXIT_USAGE);
    }
    order(socket, &Request::Form { force: true }, args.json)
}

pub(super) fn confirm_fenced(socket: &Path, args: &NodeArgs) -> anyhow::Result<u8> {
    order(socket, &Request::ConfirmFenced { node: NodeName::typed(&args.node) }, args.json)
}

pub(super) fn clear_quarantine(socket: &Path, args: &NodeArgs) -> anyhow::Result<u8> {
    order(socket, &Request::ClearQuarantine { node: NodeName::typed(&args.node) }, args.json)
}

fn order(socket: &Path, request: &Request, json: bool) -> anyhow::Result<u8> {
    tell(&Client::connect(socket)?.order(request)?, json)?;
    Ok(0)
}

fn tell(done: &Done, json: bool) -> anyhow::Result<()> {
    if json {
        return output::print(&format!("{}\n", serde_json::to_string(done)?));
    }
    output::print(&format!("{}\n", done.text))
}
