-- Tasks as they are stored, and what a script reads and writes of them.
--
-- Every script reads what it needs once, decides, and writes each record once, at its end. Fields are numbered, since a
-- packed list is a third of the size of a packed table.

local ROLE, STORY, PLAN, PRIORITY, AT, RANK, NEEDS, ON_FAILURE, HOLD = 1, 2, 3, 4, 5, 6, 7, 8, 9
local RUN, STATE, ARRIVAL, DUE, EPOCH, FENCE, HOLDER, UNTIL, PLACED = 10, 11, 12, 13, 14, 15, 16, 17, 18
-- Whose lease on this run ran out last.
local LOST_BY = 19

-- As the states are numbered on the other side of the wire.
local QUEUED, BLOCKED, IN_PROGRESS, DISPATCHED, COMPLETED, FAILED, CANCELLED, SKIPPED, PARKED = 1, 2, 3, 4, 5, 6, 7, 8, 9

-- Where a task that is QUEUED stands.
local NOWHERE, IN_LANE, LATER = 0, 1, 2

-- All keys begin with the one that was named: its hash tag keeps them on one node.
local META = KEYS[1]
local P = KEYS[1] .. ':'
local call = redis.call

local slots, changed = {}, {}
local counts, held, held_before = {}, {}, {}

-- What is to be written to the large sets at the end, many at once: by key, each member's score, or false if it goes.
local pending = {}

-- So many go into one command: the server's stack for arguments is short.
local AT_ONCE = 500

local function is_over(state)
  return state >= COMPLETED and state <= SKIPPED
end

local function whole(number)
  return string.format('%.0f', number)
end

-- The record of a task, or false.
local function load(task)
  local slot = slots[task]
  if slot == nil then
    local packed = call('GET', P .. 't:' .. task)
    slot = packed and cmsgpack.unpack(packed)
    slots[task] = slot
  end
  return slot
end

-- Records that will be wanted, in one command.
local function preload(tasks)
  for from = 1, #tasks, AT_ONCE do
    local keys = {}
    for place = from, math.min(from + AT_ONCE - 1, #tasks) do keys[#keys + 1] = P .. 't:' .. tasks[place] end
    for place, packed in ipairs(call('MGET', unpack(keys))) do
      slots[tasks[from + place - 1]] = packed and cmsgpack.unpack(packed)
    end
  end
end

-- Lists of names stand in one text: no name has a line's end in it.
local function each_need(slot)
  return string.gmatch(slot[NEEDS], '[^\n]+')
end

local function count(slot, state, by)
  local field = slot[ROLE] .. ':' .. state
  counts[field] = (counts[field] or 0) + by
end

-- How many of a story are in progress.
local function in_progress(role, story)
  local field = role .. ':' .. story
  if not held[field] then
    held[field] = tonumber(call('HGET', P .. 'h', field) or 0)
    held_before[field] = held[field]
  end
  return held[field]
end

-- The same for many tasks whose records are there, in one command. They are few enough for that.
local function preload_in_progress(tasks)
  local fields = {}
  for _, task in ipairs(tasks) do
    local slot = slots[task]
    local field = slot and slot[ROLE] .. ':' .. slot[STORY]
    if field and not held[field] then
      fields[#fields + 1] = field
      held[field] = 0
    end
  end
  if #fields == 0 then return end
  for place, number in ipairs(call('HMGET', P .. 'h', unpack(fields))) do
    held[fields[place]] = tonumber(number or 0)
    held_before[fields[place]] = held[fields[place]]
  end
end

local function note_in(key, member, score)
  local members = pending[key]
  if not members then
    members = {}
    pending[key] = members
  end
  members[member] = score or false
end

-- One command for many arguments, those of one thing side by side.
local function each_of(args, command, key)
  for from = 1, #args, AT_ONCE do
    local till = math.min(from + AT_ONCE - 1, #args)
    if key then call(command, key, unpack(args, from, till)) else call(command, unpack(args, from, till)) end
  end
end

local function flush()
  for key, members in pairs(pending) do
    local come, go = {}, {}
    for member, score in pairs(members) do
      if score then
        come[#come + 1], come[#come + 2] = score, member
      else
        go[#go + 1] = member
      end
    end
    each_of(come, 'ZADD', key)
    each_of(go, 'ZREM', key)
  end
  pending = {}
end

local function write_back()
  flush()
  local kept, gone = {}, {}
  for task in pairs(changed) do
    if slots[task] then
      kept[#kept + 1], kept[#kept + 2] = P .. 't:' .. task, cmsgpack.pack(slots[task])
    else
      gone[#gone + 1] = P .. 't:' .. task
    end
  end
  each_of(kept, 'MSET')
  each_of(gone, 'DEL')
  for field, by in pairs(counts) do
    if by ~= 0 then call('HINCRBY', P .. 'c', field, by) end
  end
end

-- What a list shows of a task: its name, its record, its open needs, and those of them that failed.
local function row(task)
  local slot = load(task)
  if slot[NEEDS] == '' then return { task, slot, 0, {} } end
  local needs = P .. 'n:' .. task
  return { task, slot, call('ZCARD', needs), call('ZRANGEBYSCORE', needs, 1, 1) }
end
