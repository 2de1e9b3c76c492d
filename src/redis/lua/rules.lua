-- The rules of the board: what waits for what, who is next, and what time brings. All walks are loops, since a plan is
-- as deep as its author likes and a stack is not.

-- What changed for other tasks, as it is answered.
local news = {}

-- So many tasks are moved by time in one step.
local STEP = 512

-- Lanes whose story is known to stand among those of its role.
local has_lane = {}

local function take_down(task, slot)
  if slot[PLACED] == IN_LANE then
    local lane = P .. 'l:' .. slot[ROLE] .. ':' .. slot[STORY]
    call('ZREM', lane, string.format('%016.0f', slot[ARRIVAL]) .. task)
    if call('EXISTS', lane) == 0 then
      call('ZREM', P .. 's:' .. slot[ROLE], slot[STORY])
      has_lane[lane] = nil
    end
  elseif slot[PLACED] == LATER then
    call('ZREM', P .. 'w', task)
  end
  slot[PLACED] = NOWHERE
  changed[task] = true
end

-- Where a QUEUED task can be claimed from, now or later. Among those of one rank the order is that of arrival.
local function put_up(task, slot)
  changed[task] = true
  if slot[DUE] ~= '' then
    slot[PLACED] = LATER
    call('ZADD', P .. 'w', slot[DUE], task)
    return
  end
  slot[PLACED] = IN_LANE
  local lane = P .. 'l:' .. slot[ROLE] .. ':' .. slot[STORY]
  call('ZADD', lane, slot[RANK], string.format('%016.0f', slot[ARRIVAL]) .. task)
  if not has_lane[lane] then
    call('ZADD', P .. 's:' .. slot[ROLE], 0, slot[STORY])
    has_lane[lane] = true
  end
end

local function turn(task, slot, state)
  local before = slot[STATE]
  slot[STATE] = state
  changed[task] = true
  if before == state then return end
  count(slot, before, -1)
  count(slot, state, 1)
  -- A dispatched task needs no agent of the council any more.
  if before == IN_PROGRESS or state == IN_PROGRESS then
    local by = state == IN_PROGRESS and 1 or -1
    local field = slot[ROLE] .. ':' .. slot[STORY]
    held[field] = in_progress(slot[ROLE], slot[STORY]) + by
  end
end

local function let_go(task, slot)
  if slot[HOLDER] == '' then return end
  note_in(P .. 'e', task)
  note_in(P .. 'o:' .. slot[HOLDER], task)
  slot[EPOCH], slot[FENCE], slot[HOLDER], slot[UNTIL] = 0, 0, '', 0
  changed[task] = true
end

local function lease(task, slot, holder, till)
  fences = fences + 1
  slot[EPOCH], slot[FENCE], slot[HOLDER], slot[UNTIL] = epoch, fences, holder, till
  note_in(P .. 'o:' .. holder, task, fences)
  if till > 0 then note_in(P .. 'e', task, till) end
  changed[task] = true
end

-- Whether this fence is the one under which the task is held.
local function holds(slot, run, of_epoch, number)
  return slot and slot[HOLDER] ~= '' and slot[EPOCH] == epoch and whole(slot[RUN]) == run
    and whole(slot[EPOCH]) == of_epoch and whole(slot[FENCE]) == number
end

-- The end of a run, kept for all: the first one counts.
local function keep_final(task, run, state, of_epoch, number, event)
  local id = whole(run) .. ':' .. task
  local key = P .. 'f:' .. id
  if call('EXISTS', key) == 1 then return end
  local place = call('HINCRBY', META, 'finals', 1)
  call('SET', key, cmsgpack.pack({ of_epoch, number, news, state, event, place }))
  call('ZADD', P .. 'u', place, id)
  call('ZADD', P .. 'a', place, id)
end

-- Nobody works on a task that is skipped, so that the queue itself tells of its end.
local function keep_skipped(task, slot, cause)
  local event = { type = 'TaskSkipped', payload = { run = slot[RUN], cause = cause } }
  local text = cjson.encode({
    event = event, at = now(), role = slot[ROLE], story = string.sub(slot[STORY], 2), plan = string.sub(slot[PLAN], 2),
  })
  local told = news
  news = {}
  keep_final(task, slot[RUN], SKIPPED, '0', '0', text)
  news = told
end

-- What a task that waits is by now.
local function standing(task, slot)
  local open, failed = 0, 0
  if slot[NEEDS] ~= '' then
    open, failed = call('ZCARD', P .. 'n:' .. task), call('ZCOUNT', P .. 'n:' .. task, 1, 1)
  end
  if failed > 0 and slot[ON_FAILURE] == 'skip' then return SKIPPED end
  if failed > 0 and slot[ON_FAILURE] == 'block' then return BLOCKED end
  if slot[HOLD] ~= '' or open > failed then return BLOCKED end
  return QUEUED
end

local function is_news(task, slot, cause, state)
  if state == SKIPPED then return true end
  if state == QUEUED then return task ~= cause and slot[STATE] ~= state end
  if slot[STATE] ~= state then return true end
  return slot[NEEDS] ~= '' and call('ZSCORE', P .. 'n:' .. task, cause) == '1'
end

-- Puts a task that waits where it belongs by now. What it is since, if that is new.
local function settle(task, cause)
  local slot = load(task)
  if not slot or slot[STATE] > BLOCKED then return nil end
  local state = standing(task, slot)
  if is_news(task, slot, cause, state) then
    news[#news + 1] = { task, slot[RUN], state, cause }
  end
  if state == slot[STATE] then return nil end
  take_down(task, slot)
  turn(task, slot, state)
  if state == QUEUED then put_up(task, slot) end
  if state == SKIPPED then
    open_tasks = open_tasks - 1
    keep_skipped(task, slot, cause)
  end
  return state
end

local function phase_key(slot)
  return P .. 'p:' .. #slot[STORY] .. ':' .. slot[STORY] .. slot[HOLD]
end

-- Takes a record out, with all that points at it but those that wait for it.
local function erase(task, slot)
  count(slot, slot[STATE], -1)
  if slot[HOLD] ~= '' and slot[STORY] ~= '' then call('ZREM', phase_key(slot), task) end
  if slot[NEEDS] ~= '' then call('DEL', P .. 'n:' .. task) end
  note_in(P .. 'i', task)
  slots[task], changed[task] = false, true
end

-- Nobody waits any more for what this one needs, but for what it still does; those that idle by that.
local function leave_needs(task, slot, idle, kept)
  for need in each_need(slot) do
    if not (kept and kept[need]) and call('ZREM', P .. 'd:' .. need, task) == 1 and call('EXISTS', P .. 'd:' .. need) == 0 then
      idle[#idle + 1] = need
    end
  end
end

-- A task that is over and that nobody waits for is the journal's alone, and then perhaps those that it needed.
-- `is_alone`: it is known that nobody does.
local function forget(task, is_alone)
  local idle = { task }
  while #idle > 0 do
    local one = table.remove(idle)
    local slot = load(one)
    if slot and is_over(slot[STATE]) and (is_alone or call('EXISTS', P .. 'd:' .. one) == 0) then
      erase(one, slot)
      call('DEL', P .. 'x:' .. one)
      leave_needs(one, slot, idle)
    end
    is_alone = false
  end
end

-- What became of a task that this one needs: 0 = open, 1 = failed.
local function learn(task, need, state)
  local needs = P .. 'n:' .. task
  if state == COMPLETED then
    call('ZREM', needs, need)
  else
    call('ZADD', needs, is_over(state) and 1 or 0, need)
  end
end

-- Tells those that wait for a task what became of it, and those that wait for them when they are skipped. `gone`: what
-- became of one that the queue has forgotten.
local function spread(task, gone)
  local causes, first = { task }, 1
  while causes[first] do
    local cause = causes[first]
    first = first + 1
    local slot = load(cause)
    local state = slot and slot[STATE] or cause == task and gone
    if state then
      local waiting = call('ZRANGE', P .. 'd:' .. cause, 0, -1)
      for _, other in ipairs(waiting) do
        learn(other, cause, state)
        if settle(other, cause) == SKIPPED then causes[#causes + 1] = other end
      end
      if state == COMPLETED and #waiting > 0 then call('DEL', P .. 'd:' .. cause) end
      forget(cause, state == COMPLETED or #waiting == 0)
    end
  end
end

-- A run has ended: it counts for those who wait for it.
local function finish(task, slot, state)
  turn(task, slot, state)
  open_tasks = open_tasks - 1
  spread(task)
end

-- A task waits again: as it was, or under a later run.
local function again(task, slot, runs, due)
  slot[RUN], slot[DUE] = slot[RUN] + runs, due
  if runs > 0 then slot[LOST_BY] = '' end
  turn(task, slot, BLOCKED)
  settle(task, task)
  spread(task)
end

-- What time brings: tasks whose time has come, leases that ran out. Whether that was all of it.
local function pass(time)
  local due = call('ZRANGEBYSCORE', P .. 'w', '-inf', whole(time), 'LIMIT', 0, STEP)
  for _, task in ipairs(due) do
    local slot = load(task)
    take_down(task, slot)
    slot[DUE] = ''
    put_up(task, slot)
  end
  local lost = call('ZRANGEBYSCORE', P .. 'e', '-inf', '(' .. whole(time), 'LIMIT', 0, STEP)
  for _, task in ipairs(lost) do
    local slot = load(task)
    slot[LOST_BY] = slot[HOLDER]
    let_go(task, slot)
    -- What it was passed over may be tried again by now; nobody has to be told that it waits for that.
    turn(task, slot, BLOCKED)
    settle(task, task)
  end
  if #lost > 0 then flush() end
  return #due < STEP and #lost < STEP
end
