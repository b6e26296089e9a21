-- Wireshark and tshark: heartbeats and control messages of docs/protocol.md, byte by byte.
--
--     tshark -X lua_script:heartbeat.lua -i eth1 -f 'udp port 3343' -V
--     wireshark -X lua_script:heartbeat.lua
--
-- Filters begin with `clhb`. Port 3343 belongs to others as well: a datagram is taken only if it begins with the magic, and
-- everything else goes to the dissector that had the port before (Wireshark has MSRCP there). Tags and HMACs are shown, not
-- verified: that takes the secret.

local clhb = Proto("clhb", "Cluster heartbeat")

local PORT = 3343
local MAGIC = 0x434c4842
local HEADER_LENGTH = 56
local HEARTBEAT_LENGTH = 96
local TAG_LENGTH = 16
local MAC_LENGTH = 32
local CONTROL_LENGTH_MIN = HEADER_LENGTH + TAG_LENGTH + MAC_LENGTH
local MESSAGE_LENGTH_MAX = 1452
local HEARTBEAT = 1
local CONTROL_FIRST = 16
local HOLD_UNKNOWN = 0xffffffff

local KINDS = {
    [1] = "heartbeat", [16] = "hello", [17] = "hello-ack", [18] = "hello-done", [20] = "connectivity",
    [24] = "regroup", [28] = "join", [29] = "leave", [30] = "poison", [32] = "network states",
}
local STAGES = {
    [1] = "activate", [2] = "closing", [3] = "pruning", [4] = "cleanup 1", [5] = "cleanup 2", [6] = "stabilized",
}
local REASONS = {
    [1] = "silent", [2] = "left", [3] = "restarted", [4] = "mute", [5] = "hung", [6] = "join", [7] = "form",
    [8] = "another configuration",
}
local NETWORK_STATES = { [0] = "unavailable", [1] = "down", [2] = "partitioned", [3] = "up" }

local f = {
    magic = ProtoField.string("clhb.magic", "Magic"),
    version = ProtoField.uint8("clhb.version", "Version"),
    kind = ProtoField.uint8("clhb.kind", "Kind", base.DEC, KINDS),
    flags = ProtoField.uint8("clhb.flags", "Flags", base.HEX),
    lease_lapsed = ProtoField.bool("clhb.flags.lease_lapsed", "The sender's lease has lapsed", 8, nil, 0x01),
    multicast = ProtoField.bool("clhb.flags.multicast", "Sent to a multicast group", 8, nil, 0x02),
    metronome = ProtoField.bool("clhb.flags.metronome", "Sent by a timer in the kernel", 8, nil, 0x04),
    flags_reserved = ProtoField.uint8("clhb.flags.reserved", "Reserved", base.HEX, nil, 0xf8),
    key_id = ProtoField.uint8("clhb.key_id", "Key slot"),
    cluster_id = ProtoField.bytes("clhb.cluster_id", "Cluster id"),
    source = ProtoField.uint16("clhb.source", "Source node"),
    destination = ProtoField.uint16("clhb.destination", "Destination node"),
    network = ProtoField.uint8("clhb.network", "Network"),
    reserved = ProtoField.uint8("clhb.reserved", "Reserved", base.HEX),
    length = ProtoField.uint16("clhb.length", "Length"),
    incarnation = ProtoField.uint64("clhb.incarnation", "Incarnation"),
    incarnation_time = ProtoField.absolute_time("clhb.incarnation.time", "Incarnation as a time", base.UTC),
    sequence = ProtoField.uint64("clhb.sequence", "Sequence"),
    sent_ns = ProtoField.uint64("clhb.sent_ns", "Sent at (ns, sender's monotonic clock)"),
    view = ProtoField.uint64("clhb.view", "View"),
    view_epoch = ProtoField.uint32("clhb.view.epoch", "Form epoch"),
    view_counter = ProtoField.uint32("clhb.view.counter", "Counter"),

    echo_sent_ns = ProtoField.uint64("clhb.echo_sent_ns", "Echo: newest heartbeat heard was sent at (ns)"),
    echo_hold_us = ProtoField.uint32("clhb.echo_hold_us", "Echo: held for (us)"),
    controller_age_ms = ProtoField.uint32("clhb.controller_age_ms", "Controller: last pass before (ms)"),
    controller_beat = ProtoField.uint64("clhb.controller_beat", "Controller: passes"),
    tag = ProtoField.bytes("clhb.tag", "Tag (SipHash-2-4-128)"),
    echo_of = ProtoField.framenum("clhb.echo_of", "Echo of the heartbeat in frame", base.NONE),
    round_trip_us = ProtoField.double("clhb.round_trip_us", "Round trip from here (us)"),

    body = ProtoField.none("clhb.body", "Body"),
    body_unknown = ProtoField.bytes("clhb.body.unknown", "Bytes that this dissector has no name for"),
    mac = ProtoField.bytes("clhb.mac", "HMAC-SHA256"),

    challenge = ProtoField.bytes("clhb.hello.challenge", "Challenge"),
    answer = ProtoField.bytes("clhb.hello.answer", "Answers the challenge"),
    hello_incarnation = ProtoField.uint64("clhb.hello.incarnation", "Sender's incarnation"),
    receiver_incarnation = ProtoField.uint64("clhb.hello.receiver_incarnation", "Receiver's incarnation"),
    highest_incarnation = ProtoField.uint64("clhb.hello.highest_incarnation", "Receiver's highest proven incarnation"),
    abi = ProtoField.uint32("clhb.hello.abi", "Version of kernel records (ABI)"),
    hello_flags = ProtoField.uint32("clhb.hello.flags", "Flags", base.HEX),
    in_view = ProtoField.bool("clhb.hello.flags.in_view", "The sender is in a view", 32, nil, 0x01),
    digest = ProtoField.bytes("clhb.hello.config_digest", "Digest of the configuration"),
    staged_digest = ProtoField.bytes("clhb.hello.staged_digest", "Digest of the staged configuration"),
    next = ProtoField.none("clhb.hello.next", "Next numbers on network"),
    next_network = ProtoField.uint8("clhb.hello.next.network", "Network"),
    next_unicast = ProtoField.uint64("clhb.hello.next.unicast", "Next unicast heartbeat"),
    next_multicast = ProtoField.uint64("clhb.hello.next.multicast", "Next multicast heartbeat"),
    next_control = ProtoField.uint64("clhb.hello.next.control", "Next control message"),

    networks = ProtoField.uint8("clhb.networks", "Number of networks"),
    mask_length = ProtoField.uint8("clhb.mask_length", "Bytes of a mask"),
    body_reserved = ProtoField.bytes("clhb.body.reserved", "Reserved"),

    report_view = ProtoField.uint64("clhb.connectivity.view", "View"),
    report_version = ProtoField.uint64("clhb.connectivity.version", "Version of the report"),
    report = ProtoField.none("clhb.connectivity.report", "On network"),
    report_network = ProtoField.uint8("clhb.connectivity.network", "Network"),
    report_flags = ProtoField.uint8("clhb.connectivity.flags", "Flags", base.HEX),
    interface_broken = ProtoField.bool("clhb.connectivity.flags.broken", "The sender's interface is broken", 8, nil, 1),
    outside_asked = ProtoField.bool("clhb.connectivity.flags.asked", "Hosts outside were asked", 8, nil, 2),
    outside_answered = ProtoField.bool("clhb.connectivity.flags.answered", "A host outside answered", 8, nil, 4),
    report_staged = ProtoField.bytes("clhb.connectivity.staged_digest", "Digest of the staged configuration"),
    report_hears = ProtoField.string("clhb.connectivity.hears", "Hears nodes"),

    regroup_sequence = ProtoField.uint64("clhb.regroup.sequence", "Sequence of the regroup"),
    base_view = ProtoField.uint64("clhb.regroup.base_view", "View being regrouped"),
    base_digest = ProtoField.bytes("clhb.regroup.base_digest", "Its digest"),
    stage = ProtoField.uint8("clhb.regroup.stage", "Stage", base.DEC, STAGES),
    reason = ProtoField.uint8("clhb.regroup.reason", "Reason", base.DEC, REASONS),
    regroup_flags = ProtoField.uint8("clhb.regroup.flags", "Flags", base.HEX),
    is_reply = ProtoField.bool("clhb.regroup.flags.reply", "An answer that wants none", 8, nil, 0x01),
    is_decided = ProtoField.bool("clhb.regroup.flags.decided", "A decision follows", 8, nil, 0x02),
    is_forced = ProtoField.bool("clhb.regroup.flags.forced", "Formed by force, no majority yet", 8, nil, 0x04),
    trigger = ProtoField.uint16("clhb.regroup.trigger", "Caused by node"),
    joiner = ProtoField.uint16("clhb.regroup.joiner", "Joining node"),
    joiner_incarnation = ProtoField.uint64("clhb.regroup.joiner_incarnation", "Its incarnation"),
    epoch = ProtoField.uint32("clhb.regroup.epoch", "Highest form epoch known"),
    masks = ProtoField.uint8("clhb.regroup.masks", "Masks that follow", base.HEX),
    bound = ProtoField.uint64("clhb.regroup.bound", "Bound to views up to"),
    decided_view = ProtoField.uint64("clhb.regroup.decided_view", "View decided on"),
    decided_digest = ProtoField.bytes("clhb.regroup.decided_digest", "Its digest"),
    decider = ProtoField.uint16("clhb.regroup.decider", "Decided by node"),
    row_count = ProtoField.uint16("clhb.regroup.row_count", "Number of rows"),
    age_count = ProtoField.uint16("clhb.regroup.age_count", "Number of ages"),
    reached_pruning = ProtoField.string("clhb.regroup.reached_pruning", "Reached pruning"),
    reached_cleanup_1 = ProtoField.string("clhb.regroup.reached_cleanup_1", "Reached cleanup 1"),
    reached_cleanup_2 = ProtoField.string("clhb.regroup.reached_cleanup_2", "Reached cleanup 2"),
    reached_stabilized = ProtoField.string("clhb.regroup.reached_stabilized", "Stabilized"),
    left = ProtoField.string("clhb.regroup.left", "Left in order"),
    may_form = ProtoField.string("clhb.regroup.may_form", "May form"),
    members = ProtoField.string("clhb.regroup.members", "Members decided on"),
    age = ProtoField.none("clhb.regroup.age", "Newest heartbeat of an excluded node"),
    age_node = ProtoField.uint16("clhb.regroup.age.node", "Node"),
    age_ns = ProtoField.uint64("clhb.regroup.age.ns", "Age (ns)"),
    age_heard_on = ProtoField.string("clhb.regroup.age.heard_on", "Still heard when bound, on networks"),
    new_config = ProtoField.bytes("clhb.regroup.config_digest", "Digest of the configuration that comes into force"),
    weak_count = ProtoField.uint16("clhb.regroup.weak_count", "Number of nodes that hear some badly"),
    weak = ProtoField.none("clhb.regroup.weak", "Hears badly"),
    weak_node = ProtoField.uint16("clhb.regroup.weak.node", "Node"),
    weak_hears = ProtoField.string("clhb.regroup.weak.hears", "Hears nodes badly"),
    row = ProtoField.none("clhb.regroup.row", "Row"),
    row_node = ProtoField.uint16("clhb.regroup.row.node", "Node"),
    row_hears = ProtoField.string("clhb.regroup.row.hears", "Hears nodes"),

    join_incarnation = ProtoField.uint64("clhb.join.incarnation", "Incarnation that asks"),
    join_sequence = ProtoField.uint64("clhb.join.sequence", "Highest regroup sequence seen"),
    join_epoch = ProtoField.uint32("clhb.join.epoch", "Highest form epoch known"),
    join_hears = ProtoField.string("clhb.join.hears", "Hears nodes"),

    leave_incarnation = ProtoField.uint64("clhb.leave.incarnation", "Incarnation that leaves"),

    poison_incarnation = ProtoField.uint64("clhb.poison.incarnation", "Incarnation that was removed"),
    poison_view = ProtoField.uint64("clhb.poison.view", "Sender's view"),
    poison_digest = ProtoField.bytes("clhb.poison.digest", "Its digest"),

    states_view = ProtoField.uint64("clhb.states.view", "View"),
    states_version = ProtoField.uint64("clhb.states.version", "Version of the states"),
    states = ProtoField.none("clhb.states.report", "Network"),
    states_network = ProtoField.uint8("clhb.states.network", "Network"),
    states_state = ProtoField.uint8("clhb.states.state", "State", base.DEC, NETWORK_STATES),
    states_up = ProtoField.string("clhb.states.up", "Interfaces up, of nodes"),
    states_unreachable = ProtoField.string("clhb.states.unreachable", "Interfaces unreachable, of nodes"),
    states_failed = ProtoField.string("clhb.states.failed", "Interfaces failed, of nodes"),
}

local all_fields = {}
for _, field in pairs(f) do all_fields[#all_fields + 1] = field end
clhb.fields = all_fields

local ends_early = ProtoExpert.new("clhb.ends_early", "Ends before its last field",
    expert.group.MALFORMED, expert.severity.ERROR)
local refused = ProtoExpert.new("clhb.refused", "Refused by receivers", expert.group.PROTOCOL, expert.severity.WARN)
local other_version = ProtoExpert.new("clhb.other_version", "A version that this dissector does not know",
    expert.group.UNDECODED, expert.severity.WARN)
clhb.experts = { ends_early, refused, other_version }

-- Heartbeats by source, destination, network and send time; and what was found for each frame. Wireshark dissects a
-- frame again whenever it shows it, and out of order: both are filled in the first pass.
local sent = {}
local echoes = {}

function clhb.init()
    sent = {}
    echoes = {}
end

-- Reads one field behind the other up to a limit. Once a field did not fit, nothing more is read: every read then gives
-- nil, so that a truncated message shows what is there and raises no error.
local Cursor = {}
Cursor.__index = Cursor

local function cursor(tvb, offset, limit)
    return setmetatable({ tvb = tvb, offset = offset, limit = math.min(limit, tvb:len()), short = false }, Cursor)
end

function Cursor:take(size)
    if self.short or self.offset + size > self.limit then
        self.short = true
        return nil
    end
    local range = self.tvb(self.offset, size)
    self.offset = self.offset + size
    return range
end

-- Whether fields are there that earlier senders do not write.
function Cursor:has(size)
    return not self.short and self.offset + size <= self.limit
end

-- Adds a field; gives its range and its line in the tree.
function Cursor:add(tree, field, size)
    local range = self:take(size)
    if range == nil then return nil, nil end
    return range, tree:add(field, range)
end

-- Adds a field of at most 4 bytes; gives its number.
function Cursor:number(tree, field, size)
    local range, item = self:add(tree, field, size)
    if range == nil then return nil, nil end
    return range:uint(), item
end

-- Adds a mask as the list of its nodes: bit 0 of byte 0 is node 1.
function Cursor:mask(tree, field, size)
    local range = self:take(size)
    if range == nil then return end
    local nodes = {}
    local bytes = range:bytes()
    for index = 0, size - 1 do
        local byte = bytes:get_index(index)
        for bit_number = 0, 7 do
            if bit.band(byte, bit.lshift(1, bit_number)) ~= 0 then nodes[#nodes + 1] = index * 8 + bit_number + 1 end
        end
    end
    tree:add(field, range, table.concat(nodes, ","))
end

-- A line for an entry of a list. Its extent is known once its parts have been read.
function Cursor:entry(tree, field)
    if self.short or self.offset >= self.limit then
        self.short = true
        return nil
    end
    return tree:add(field, self.tvb(self.offset, self.limit - self.offset)), self.offset
end

function Cursor:close(item, start)
    item:set_len(self.offset - start)
end

local function statement(at, tree)
    at:add(tree, f.hello_incarnation, 8)
    at:add(tree, f.receiver_incarnation, 8)
    at:add(tree, f.highest_incarnation, 8)
    at:number(tree, f.abi, 4)
    local range, flags = at:add(tree, f.hello_flags, 4)
    if range ~= nil then flags:add(f.in_view, range) end
    at:add(tree, f.digest, 32)
    at:add(tree, f.staged_digest, 32)
end

local function hello(at, tree)
    at:add(tree, f.challenge, 16)
    statement(at, tree)
end

local function hello_answer(at, tree)
    at:add(tree, f.challenge, 16)
    at:add(tree, f.answer, 16)
    statement(at, tree)
    local count = at:number(tree, f.networks, 1)
    at:add(tree, f.body_reserved, 7)
    for _ = 1, count or 0 do
        local entry, start = at:entry(tree, f.next)
        if entry == nil then return end
        local network = at:number(entry, f.next_network, 1)
        at:add(entry, f.body_reserved, 7)
        at:add(entry, f.next_unicast, 8)
        at:add(entry, f.next_multicast, 8)
        at:add(entry, f.next_control, 8)
        entry:append_text(" " .. tostring(network or "?"))
        at:close(entry, start)
    end
end

-- Head of the two reports by network: gives the number of networks and the length of a mask.
local function report_head(at, tree, view, version)
    at:add(tree, view, 8)
    at:add(tree, version, 8)
    local count = at:number(tree, f.networks, 1)
    local mask_length = at:number(tree, f.mask_length, 1)
    at:add(tree, f.body_reserved, 6)
    return count or 0, mask_length or 0
end

local function connectivity(at, tree)
    local count, mask_length = report_head(at, tree, f.report_view, f.report_version)
    for _ = 1, count do
        local entry, start = at:entry(tree, f.report)
        if entry == nil then return end
        local network = at:number(entry, f.report_network, 1)
        local range, flags = at:add(entry, f.report_flags, 1)
        if range ~= nil then
            flags:add(f.interface_broken, range)
            flags:add(f.outside_asked, range)
            flags:add(f.outside_answered, range)
        end
        at:mask(entry, f.report_hears, mask_length)
        entry:append_text(" " .. tostring(network or "?"))
        at:close(entry, start)
    end
    if at:has(32) then at:add(tree, f.report_staged, 32) end
end

local function network_states(at, tree)
    local count, mask_length = report_head(at, tree, f.states_view, f.states_version)
    for _ = 1, count do
        local entry, start = at:entry(tree, f.states)
        if entry == nil then return end
        local network = at:number(entry, f.states_network, 1)
        local state = at:number(entry, f.states_state, 1)
        at:mask(entry, f.states_up, mask_length)
        at:mask(entry, f.states_unreachable, mask_length)
        at:mask(entry, f.states_failed, mask_length)
        entry:append_text(" " .. tostring(network or "?") .. ": " .. (NETWORK_STATES[state] or "?"))
        at:close(entry, start)
    end
end

local REGROUP_MASKS = {
    f.reached_pruning, f.reached_cleanup_1, f.reached_cleanup_2, f.reached_stabilized, f.left, f.may_form, f.members,
}

local function regroup(at, tree, info)
    at:add(tree, f.regroup_sequence, 8)
    at:add(tree, f.base_view, 8)
    at:add(tree, f.base_digest, 16)
    local stage = at:number(tree, f.stage, 1)
    local reason = at:number(tree, f.reason, 1)
    local range, flags = at:add(tree, f.regroup_flags, 1)
    if range ~= nil then
        flags:add(f.is_reply, range)
        flags:add(f.is_decided, range)
        flags:add(f.is_forced, range)
    end
    local mask_length = at:number(tree, f.mask_length, 1) or 0
    at:add(tree, f.trigger, 2)
    at:add(tree, f.joiner, 2)
    at:add(tree, f.joiner_incarnation, 8)
    at:add(tree, f.epoch, 4)
    local masks = at:number(tree, f.masks, 1) or 0
    at:add(tree, f.body_reserved, 3)
    at:add(tree, f.bound, 8)
    at:add(tree, f.decided_view, 8)
    at:add(tree, f.decided_digest, 16)
    at:add(tree, f.decider, 2)
    local rows = at:number(tree, f.row_count, 2) or 0
    local ages = at:number(tree, f.age_count, 2) or 0
    at:add(tree, f.body_reserved, 2)
    info[#info + 1] = (STAGES[stage] or "?") .. ", " .. (REASONS[reason] or "?")
    for index, field in ipairs(REGROUP_MASKS) do
        if bit.band(masks, bit.lshift(1, index - 1)) ~= 0 then at:mask(tree, field, mask_length) end
    end
    for _ = 1, ages do
        local entry, start = at:entry(tree, f.age)
        if entry == nil then return end
        local node = at:number(entry, f.age_node, 2)
        at:add(entry, f.age_ns, 8)
        entry:append_text(": " .. tostring(node or "?"))
        at:close(entry, start)
    end
    for _ = 1, rows do
        local entry, start = at:entry(tree, f.row)
        if entry == nil then return end
        local node = at:number(entry, f.row_node, 2)
        at:mask(entry, f.row_hears, mask_length)
        entry:append_text(" of node " .. tostring(node or "?"))
        at:close(entry, start)
    end
    if at:has(ages) then
        for _ = 1, ages do at:mask(tree, f.age_heard_on, 1) end
    end
    if at:has(32) then at:add(tree, f.new_config, 32) end
    local weak = at:has(2) and at:number(tree, f.weak_count, 2) or 0
    for _ = 1, weak do
        local entry, start = at:entry(tree, f.weak)
        if entry == nil then return end
        local node = at:number(entry, f.weak_node, 2)
        at:mask(entry, f.weak_hears, mask_length)
        entry:append_text(": node " .. tostring(node or "?"))
        at:close(entry, start)
    end
end

local function join(at, tree)
    at:add(tree, f.join_incarnation, 8)
    at:add(tree, f.join_sequence, 8)
    at:add(tree, f.join_epoch, 4)
    local mask_length = at:number(tree, f.mask_length, 1) or 0
    at:add(tree, f.body_reserved, 3)
    at:mask(tree, f.join_hears, mask_length)
end

local function leave(at, tree)
    at:add(tree, f.leave_incarnation, 8)
end

local function poison(at, tree)
    at:add(tree, f.poison_incarnation, 8)
    at:add(tree, f.poison_view, 8)
    at:add(tree, f.poison_digest, 16)
end

local BODIES = {
    [16] = hello, [17] = hello_answer, [18] = hello_answer, [20] = connectivity, [24] = regroup, [28] = join,
    [29] = leave, [30] = poison, [32] = network_states,
}

local function control_body(tvb, tree, kind, length, info)
    local limit = math.max(math.min(length, tvb:len()) - MAC_LENGTH, HEADER_LENGTH + TAG_LENGTH)
    local at = cursor(tvb, HEADER_LENGTH, tvb:len())
    at:add(tree, f.tag, TAG_LENGTH)
    if at.short then return true end
    at = cursor(tvb, at.offset, limit)
    if at.limit > at.offset then
        local body = tree:add(f.body, tvb(at.offset, at.limit - at.offset))
        body:append_text(": " .. (KINDS[kind] or "of an unknown kind"))
        local dissect = BODIES[kind]
        if dissect ~= nil then dissect(at, body, info) end
        if at.short then body:add_proto_expert_info(ends_early) end
        -- Later versions of a body have more fields at the end.
        if at.offset < at.limit then body:add(f.body_unknown, tvb(at.offset, at.limit - at.offset)) end
    elseif BODIES[kind] ~= nil then
        at.short = true
    end
    local mac = cursor(tvb, limit, math.min(length, tvb:len()))
    mac:add(tree, f.mac, MAC_LENGTH)
    return at.short or mac.short
end

local function heartbeat_rest(tvb, pinfo, tree, header)
    local at = cursor(tvb, HEADER_LENGTH, tvb:len())
    local echo_range, echo_item = at:add(tree, f.echo_sent_ns, 8)
    local hold, hold_item = at:number(tree, f.echo_hold_us, 4)
    at:add(tree, f.controller_age_ms, 4)
    at:add(tree, f.controller_beat, 8)
    at:add(tree, f.tag, TAG_LENGTH)
    if at.short then return true end
    if hold == HOLD_UNKNOWN then hold_item:append_text(" (unknown)") end
    if echo_range:uint64() == UInt64(0) then echo_item:append_text(" (none)") end

    local function key(source, destination, time)
        return table.concat({ header.cluster, source, destination, header.network, time }, "/")
    end
    if not pinfo.visited then
        local own = key(header.source, header.destination, header.sent)
        sent[own] = { frame = pinfo.number, time = pinfo.rel_ts }
        -- What the sender heard came from the destination, to itself or to a group.
        local time = tostring(echo_range:bytes())
        local origin = sent[key(header.destination, header.source, time)] or sent[key(header.destination, 0, time)]
        if origin ~= nil and hold ~= HOLD_UNKNOWN then
            echoes[pinfo.number] = { frame = origin.frame, trip = (pinfo.rel_ts - origin.time) * 1e6 - hold }
        end
    end
    local echo = echoes[pinfo.number]
    if echo ~= nil then
        tree:add(f.echo_of, echo.frame):set_generated()
        tree:add(f.round_trip_us, echo.trip):set_generated()
    end
    return false
end

-- Gives what the rest needs of the header; nil where it ends early.
local function header_fields(tvb, tree)
    local at = cursor(tvb, 0, tvb:len())
    local header = {}
    at:add(tree, f.magic, 4)
    header.version = at:number(tree, f.version, 1)
    if header.version ~= nil and header.version ~= 1 then return header end
    header.kind = at:number(tree, f.kind, 1)
    local range, flags = at:add(tree, f.flags, 1)
    if range ~= nil then
        header.flags = range:uint()
        flags:add(f.flags_reserved, range)
        flags:add(f.metronome, range)
        flags:add(f.multicast, range)
        flags:add(f.lease_lapsed, range)
    end
    header.key_id = at:number(tree, f.key_id, 1)
    range = at:add(tree, f.cluster_id, 8)
    header.cluster = range and tostring(range:bytes())
    header.source = at:number(tree, f.source, 2)
    local item
    header.destination, item = at:number(tree, f.destination, 2)
    if header.destination == 0 then item:append_text(" (every node)") end
    header.network = at:number(tree, f.network, 1)
    header.reserved = at:number(tree, f.reserved, 1)
    header.length = at:number(tree, f.length, 2)
    range, item = at:add(tree, f.incarnation, 8)
    if range ~= nil then
        local second = UInt64(1000000000)
        local value = range:uint64()
        local time = NSTime((value / second):tonumber(), (value % second):tonumber())
        item:add(f.incarnation_time, range, time)
        header.no_incarnation = value == UInt64(0)
    end
    range = at:add(tree, f.sequence, 8)
    header.sequence = range and range:uint64()
    range = at:add(tree, f.sent_ns, 8)
    header.sent = range and tostring(range:bytes())
    range, item = at:add(tree, f.view, 8)
    if range ~= nil then
        header.view = range:uint64()
        item:add(f.view_epoch, range(0, 4))
        item:add(f.view_counter, range(4, 4))
    end
    header.short = at.short
    return header
end

-- Why every receiver refuses the message, whoever it is for; nil where only its receiver can tell.
local function fault(header, length)
    local is_control = header.kind >= CONTROL_FIRST
    if header.length ~= length then return "the length field is not the datagram's length" end
    if bit.band(header.flags, 0xf8) ~= 0 then return "reserved flags are set" end
    if header.reserved ~= 0 then return "the reserved byte is not 0" end
    if not is_control and header.kind ~= HEARTBEAT then return "there is no such kind" end
    if not is_control and length ~= HEARTBEAT_LENGTH then return "a heartbeat has 96 bytes" end
    if is_control and (length < CONTROL_LENGTH_MIN or length > MESSAGE_LENGTH_MAX) then
        return "a control message has 104 to 1452 bytes"
    end
    if header.source == 0 or header.source > 1024 then return "the source is not 1 to 1024" end
    if header.network == 0 or header.network > 8 then return "the network is not 1 to 8" end
    if (header.destination == 0) ~= (bit.band(header.flags, 2) ~= 0) then
        return "destination and multicast flag contradict each other"
    end
    if header.key_id == 0 or header.key_id > 4 then return "the key slot is not 1 to 4" end
    if header.no_incarnation then return "the incarnation is 0" end
    return nil
end

local function message(tvb, pinfo, tree)
    pinfo.cols.protocol = "CLHB"
    local root = tree:add(clhb, tvb())
    local header = header_fields(tvb, root)
    if header.version ~= nil and header.version ~= 1 then
        pinfo.cols.info = "Version " .. header.version
        root:add_proto_expert_info(other_version)
        return tvb:len()
    end
    if header.short then
        pinfo.cols.info = "Truncated"
        root:add_proto_expert_info(ends_early)
        return tvb:len()
    end
    local info = {}
    local short
    if header.kind >= CONTROL_FIRST then
        short = control_body(tvb, root, header.kind, header.length, info)
    elseif header.kind == HEARTBEAT then
        short = heartbeat_rest(tvb, pinfo, root, header)
    end
    if short then root:add_proto_expert_info(ends_early) end
    local why = fault(header, tvb:reported_len())
    if why ~= nil then root:add_proto_expert_info(refused, "Refused by receivers: " .. why) end

    local receiver = header.destination == 0 and "all" or tostring(header.destination)
    local line = string.format("%s %d > %s, network %d, sequence %s, view %s", KINDS[header.kind] or "kind " .. header.kind,
        header.source, receiver, header.network, tostring(header.sequence), tostring(header.view))
    if #info > 0 then line = line .. ", " .. table.concat(info, ", ") end
    if why ~= nil then line = line .. " [refused]" end
    if tvb:len() < tvb:reported_len() then line = line .. " [cut by the capture]" end
    pinfo.cols.info = line
    root:append_text(", " .. line)
    return tvb:len()
end

local ports = DissectorTable.get("udp.port")
local previous = ports:get_dissector(PORT)

function clhb.dissector(tvb, pinfo, tree)
    if tvb:len() >= 4 and tvb(0, 4):uint() == MAGIC then return message(tvb, pinfo, tree) end
    if previous == nil then return 0 end
    -- It throws on what is malformed to it, after it has said so in the tree.
    local is_whole, taken = pcall(previous.call, previous, tvb, pinfo, tree)
    return is_whole and taken or tvb:len()
end

ports:add(PORT, clhb)
