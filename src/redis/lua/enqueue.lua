-- Takes tasks, all or none; or puts back those that a journal knows and the queue has lost.
--
-- First stand whether a journal is said, and the epoch in which whoever asks has said all of it last.

local puts_back, said = ARGV[FIRST] == 'reassert', ARGV[FIRST + 1]
if not proven and not puts_back then return unproven() end

-- What the queue knows better than a journal that has been heard since this epoch began.
local in_doubt = puts_back and (not proven or said ~= whole(epoch))

local AS_WANTED = { ROLE, STORY, PLAN, PRIORITY, AT, ON_FAILURE, HOLD }

local function are_among(some, all)
  local known = {}
  for need in each_need(all) do known[need] = true end
  for need in each_need(some) do
    if not known[need] then return false end
  end
  return true
end

-- Whether this run stands here otherwise than the journal wants it: a change to it was forgotten. What is at work by an old
-- lease is left to whoever works on it, unless it was parked or is wanted otherwise since, and so must have been given back.
local function is_out_of_date(task, before, slot)
  if before[RUN] ~= slot[RUN] or is_over(before[STATE]) then return false end
  local is_held = before[HOLDER] ~= ''
  if is_held and before[EPOCH] == epoch then return false end
  for _, field in ipairs(AS_WANTED) do
    if before[field] ~= slot[field] then return true end
  end
  if not are_among(slot, before) then return true end
  if is_held then return parks[task] end
  return parks[task] ~= (before[STATE] == PARKED) or not are_among(before, slot)
end

-- A run whose final stands here has ended, whatever the journal of whoever asks knows by now; they are answered in twos.
local finals = {}
local function has_final(task, slot)
  local made = call('GET', P .. 'f:' .. whole(slot[RUN]) .. ':' .. task)
  if not made then return false end
  ended[task] = cmsgpack.unpack(made)[4]
  finals[#finals + 1] = { task, ended[task] }
  return true
end

local at, entries = read_ended(FIRST + 2), tonumber(ARGV[FIRST + 4])
local named = {}
for place = 1, entries do named[place] = ARGV[at + (place - 1) * ENTRY] end
preload(named)
for _ = 1, entries do
  local task, slot = read_entry(at)
  local before = load(task)
  if before and before[RUN] >= slot[RUN] then
    if in_doubt and is_out_of_date(task, before, slot) then take(task, slot) end
  elseif not has_final(task, slot) then
    take(task, slot)
  end
  at = at + ENTRY
end

-- The limit is for those who come, not for what was there before.
local refused = refusal(puts_back and math.huge or tonumber(ARGV[FIRST + 2]))
if refused then return refused end

for _, task in ipairs(new) do put(task) end
for _, task in ipairs(new) do
  settle(task, task)
  -- Those that wait for an earlier run of it have one to wait for again.
  spread(task)
end
return answer({ news, finals })
