-- The most urgent tasks of a role, story by story in turn.

local role, most, per_story = ARGV[FIRST], tonumber(ARGV[FIRST + 1]), tonumber(ARGV[FIRST + 2])
local holder, length, own_epoch = ARGV[FIRST + 3], tonumber(ARGV[FIRST + 4]), ARGV[FIRST + 5]

if not proven then return unproven() end
if own_epoch ~= '' and own_epoch ~= whole(epoch) then
  return refuse('unproven', 'this daemon has not said what its journal knows since the queue began anew')
end
local time = now()
if not pass(time) then return more() end

-- Stories without room are passed over in growing steps: there are no more of them than tasks in progress.
local function first_with_room(from)
  local step = 1
  while true do
    local stories = call('ZRANGEBYLEX', P .. 's:' .. role, from, '+', 'LIMIT', 0, step)
    for _, story in ipairs(stories) do
      if in_progress(role, story) < per_story then return story end
    end
    if #stories < step then return nil end
    from, step = '(' .. stories[#stories], math.min(step * 4, 256)
  end
end

local last = call('HGET', P .. 'v', role)

local function next_story()
  return (last and first_with_room('(' .. last)) or first_with_room('-')
end

local claimed = {}
while #claimed < most and per_story > 0 do
  local story = next_story()
  if not story then break end
  local task = string.sub(call('ZRANGE', P .. 'l:' .. role .. ':' .. story, 0, 0)[1], 17)
  local slot = load(task)
  take_down(task, slot)
  turn(task, slot, IN_PROGRESS)
  lease(task, slot, holder, time + length)
  claimed[#claimed + 1] = { task, slot }
  last = story
end
if #claimed > 0 then call('HSET', P .. 'v', role, last) end
return answer(claimed)
