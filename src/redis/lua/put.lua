-- Tasks as they come in: read from the arguments, checked against what is known, and put in their places.
--
-- Behind what the script itself needs stand the limit and the numbers of both lists, then what became of needed tasks, in
-- twos, then the tasks, in fourteens. A task's text stands beside its record; one that comes without it keeps its own.

local ended, new, together, parks, texts = {}, {}, {}, {}, {}

-- What became of needed tasks, and where the tasks begin.
local function read_ended(at)
  for _ = 1, tonumber(ARGV[at + 1]) do
    ended[ARGV[at + 3]] = tonumber(ARGV[at + 4])
    at = at + 2
  end
  return at + 3
end

local function read_entry(at)
  local task = ARGV[at]
  parks[task] = ARGV[at + 12] ~= ''
  texts[task] = ARGV[at + 13]
  return task, { ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], tonumber(ARGV[at + 6]),
    ARGV[at + 7], ARGV[at + 8], ARGV[at + 9], tonumber(ARGV[at + 10]), BLOCKED, 0, ARGV[at + 11], 0, 0, '', 0, NOWHERE, '' }
end

local ENTRY = 14

local function take(task, slot)
  new[#new + 1] = task
  together[task] = slot
end

-- Those that need what nobody knows, and new ones that wait for each other.
local function unknown_needs()
  local unknown, inside, waiting, ready = {}, {}, {}, {}
  for _, task in ipairs(new) do
    inside[task] = 0
    for need in each_need(together[task]) do
      if together[need] then
        inside[task] = inside[task] + 1
        waiting[need] = waiting[need] or {}
        table.insert(waiting[need], task)
      else
        local other = load(need)
        -- It may be forgotten while others take their places.
        if other and is_over(other[STATE]) then ended[need] = other[STATE] end
        if not other and not ended[need] then unknown[#unknown + 1] = need end
      end
    end
    if inside[task] == 0 then ready[#ready + 1] = task end
  end
  local begun = #ready
  while #ready > 0 do
    for _, other in ipairs(waiting[table.remove(ready)] or {}) do
      inside[other] = inside[other] - 1
      if inside[other] == 0 then
        ready[#ready + 1] = other
        begun = begun + 1
      end
    end
  end
  if begun == #new then return unknown end
  for task, open in pairs(inside) do
    if open > 0 then unknown[#unknown + 1] = task end
  end
  return unknown
end

-- Why they cannot be taken, if so.
local function refusal(most)
  local more = 0
  for _, task in ipairs(new) do
    local before = load(task)
    if not before or is_over(before[STATE]) then more = more + 1 end
  end
  if more > 0 and open_tasks + more > most then return refuse('full') end
  local unknown = unknown_needs()
  return #unknown > 0 and refuse('needs', unknown)
end

-- Only needs that are not completed are kept, and whoever waits for them.
local function tie(task, slot)
  for need in each_need(slot) do
    local other = load(need)
    local state = other and other[STATE] or ended[need]
    if state ~= COMPLETED then
      call('ZADD', P .. 'n:' .. task, state and is_over(state) and 1 or 0, need)
      call('ZADD', P .. 'd:' .. need, 0, task)
    end
  end
end

-- Makes room for what takes a task's place.
local function clear(task, before)
  let_go(task, before)
  take_down(task, before)
  if not is_over(before[STATE]) then
    turn(task, before, BLOCKED)
    open_tasks = open_tasks - 1
  end
  erase(task, before)
end

local function put(task)
  local before, slot = load(task), together[task]
  if before then clear(task, before) end
  arrivals = arrivals + 1
  open_tasks = open_tasks + 1
  slot[ARRIVAL] = arrivals
  slots[task], changed[task] = slot, true
  if texts[task] ~= '' then call('SET', P .. 'x:' .. task, texts[task]) end
  count(slot, BLOCKED, 1)
  note_in(P .. 'i', task, 0)
  if slot[HOLD] ~= '' and slot[STORY] ~= '' then call('ZADD', phase_key(slot), 0, task) end
  tie(task, slot)
  if before then
    -- What only the earlier one needed is nothing to it any more, and perhaps to nobody.
    local kept, idle = {}, {}
    for need in each_need(slot) do kept[need] = true end
    leave_needs(task, before, idle, kept)
    for _, need in ipairs(idle) do forget(need) end
  end
  if parks[task] then turn(task, slot, PARKED) end
end
